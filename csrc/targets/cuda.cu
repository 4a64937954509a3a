// The CUDA target: every step a grid of threads on the caller's stream. The generic kernels; tuned ones come beside them.
#include <cuda_runtime.h>

#include "targets/device.h"
#include "targets/target.h"

namespace irk {
namespace {

constexpr int kThreads = 128;                  // of a block
constexpr int64_t kMostBlocks = 0x7fffffff;  // of a grid, in x; threads take more than one item beyond

template <class Body>
__global__ void __launch_bounds__(kThreads) kernel(const __grid_constant__ Launch x) {
  serve<Body>(x, int64_t(blockIdx.x) * kThreads + threadIdx.x, int64_t(gridDim.x) * kThreads);
}

void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA, ") + what + ": " + cudaGetErrorString(error));
}

struct Cuda {
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

const TargetTable kTable{"cuda", run, nullptr, nullptr, Device<Cuda>::arenas, nullptr, nullptr};

}  // namespace
}  // namespace irk

const irk::TargetTable* irk_target() { return &irk::kTable; }
