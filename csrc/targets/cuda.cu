// The CUDA target: every step of a verb a grid of threads on the caller's stream, all steps of a training call one launch.
#include "targets/cuda_training.h"
#include "targets/device.h"
#include "targets/device_fit.h"
#include "targets/target.h"

namespace irk {
namespace cuda {  // a nameless one has a name after all, made of the folder of the build

constexpr int kThreads = 128;                // of a block; one of them on a processor is enough, so that nothing spills
constexpr int64_t kMostBlocks = 0x7fffffff;  // of a grid, in x; threads take more than one item beyond

template <class Body>
__global__ void __launch_bounds__(kThreads, 1) kernel(const __grid_constant__ Launch x) {
  serve<Body>(x, int64_t(blockIdx.x) * kThreads + threadIdx.x, int64_t(gridDim.x) * kThreads);
}

struct Cuda : CudaTraining {
  static constexpr int64_t kAtOnce = 1 << 16;  // about what a large GPU has room for

  template <class Body>
  static void launch(const Launch& x, int64_t threads, void* stream) {
    const int64_t blocks = least((threads + kThreads - 1) / kThreads, kMostBlocks);
    kernel<Body><<<unsigned(blocks), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(x);
    check(cudaGetLastError(), "launching a step");
  }
};

// Makes a device current for as long as it lives.
class Current {
 public:
  explicit Current(int device) {
    check(cudaGetDevice(&before_), "asking for the current device");
    if (device != before_) check(cudaSetDevice(device), "choosing a device");
    changed_ = device != before_;
  }
  ~Current() {
    if (changed_) cudaSetDevice(before_);
  }
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;

 private:
  int before_ = 0;
  bool changed_ = false;
};

void run(const Program& program, const Call& call) {
  const Current device(call.device);
  Device<Cuda>(program, call).run();
}

int32_t fit(const Program& program, const FitCall& fit) {
  const Current device(fit.call.device);
  DeviceFit<Cuda>(program, fit).run();
  return 0;  // steps written as machine code
}

int64_t fit_bytes(const Program& program, const FitCall& fit) {
  const Current device(fit.call.device);
  return DeviceFit<Cuda>(program, fit).bytes();
}

const TargetTable kTable{"cuda", run, fit, nullptr, Device<Cuda>::arenas, launched_tier, fit_bytes};

}  // namespace cuda
}  // namespace irk

const irk::TargetTable* irk_target() { return &irk::cuda::kTable; }
