// The CUDA target, on the caller's stream: a step of a verb is a launch, all steps of a call of training are one.
#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include "targets/device.h"
#include "targets/device_fit.h"
#include "targets/target.h"

namespace irk {
namespace {

constexpr int kThreads = 128;                  // of a block
constexpr int kCrew = 256, kCluster = 8;     // most threads of a block of a crew, blocks of a cluster
constexpr int64_t kMostRooms = 1 << 16;      // of crews of one thread
constexpr int64_t kMostBlocks = 0x7fffffff;  // of a grid, in x; threads take more than one item beyond

template <class Body>
__global__ void __launch_bounds__(kThreads) kernel(const __grid_constant__ Launch x) {
  serve<Body>(x, int64_t(blockIdx.x) * kThreads + threadIdx.x, int64_t(gridDim.x) * kThreads);
}

// Threads of a block, of all blocks of a cluster (from sm_90 on), of all blocks of a cooperative launch.
struct BlockCrew : Team {
  __device__ void sync() const { __syncthreads(); }
  __device__ void raise(int* flag) const { atomicExch(flag, 1); }
};
struct ClusterCrew : BlockCrew {
  __device__ void sync() const {
#if __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
  }
};
struct GridCrew : BlockCrew {
  __device__ void sync() const { cooperative_groups::this_grid().sync(); }
};

template <class T>
__global__ void __launch_bounds__(kThreads) train_by_thread(const __grid_constant__ Training x) {
  const int64_t own = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (own < x.crews) train_in_turns<T>(x, Alone{}, own);
}
template <class T>
__global__ void __launch_bounds__(kCrew) train_by_block(const __grid_constant__ Training x) {
  extern __shared__ __align__(16) char shared[];
  train_in_turns<T>(x, BlockCrew{{int(threadIdx.x), int(blockDim.x)}}, blockIdx.x, x.rooms ? nullptr : shared);
}
template <class T>
__global__ void __launch_bounds__(kCrew) train_by_cluster(const __grid_constant__ Training x) {
  const int block = int(blockIdx.x % kCluster);
  train_in_turns<T>(x, ClusterCrew{{{block * int(blockDim.x) + int(threadIdx.x), kCluster * int(blockDim.x)}}}, blockIdx.x / kCluster);
}
template <class T>
__global__ void __launch_bounds__(kCrew) train_by_grid(const __grid_constant__ Training x) {
  train_in_turns<T>(x, GridCrew{{{int(blockIdx.x * blockDim.x + threadIdx.x), int(gridDim.x * blockDim.x)}}}, 0);
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

  static Crews crews(Sharing tier, const Training& x, int64_t items, Dtype dtype) {
    if (tier == Sharing::lanes) return {tier, kThreads, 0, least(x.trials, kMostRooms), 1, false};
    const int32_t threads = int32_t(least<int64_t>((items + 31) / 32 * 32, kCrew));
    const auto resident = [&](auto* kernel, int64_t shared) {
      int blocks = 0;
      check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads, size_t(shared)), "asking for occupancy");
      return int64_t(least(blocks, kMostResident)) * property(cudaDevAttrMultiProcessorCount);
    };
    const bool wide = dtype == Dtype::f64;
    if (tier == Sharing::trials) {
      const int64_t shared = x.room.bytes <= property(cudaDevAttrMaxSharedMemoryPerBlockOptin) ? x.room.bytes : 0;
      auto* kernel = wide ? train_by_block<double> : train_by_block<float>;
      if (shared)
        check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared)), "asking for shared memory");
      return {tier, threads, shared, least(x.trials, resident(kernel, shared)), 1, false};
    }
    if (x.trials > 1 && property(cudaDevAttrComputeCapabilityMajor) >= 9) {
      auto* kernel = wide ? train_by_cluster<double> : train_by_cluster<float>;
      const int64_t most = resident(kernel, 0) / kCluster;
      return {tier, threads, 0, least(x.trials, most > 1 ? most : 1), kCluster, true};
    }
    const int64_t most = resident(wide ? train_by_grid<double> : train_by_grid<float>, 0), useful = (items + threads - 1) / threads;
    return {tier, threads, 0, 1, int32_t(least(most, useful)), false};
  }

  static void send(const std::vector<char>& bytes, char* to, void* stream) {
    check(cudaMemcpyAsync(to, bytes.data(), bytes.size(), cudaMemcpyHostToDevice, static_cast<cudaStream_t>(stream)),
          "copying a call of training");
  }

  template <class T>
  static void train(Training x, const Crews& crews, void* stream) {
    const int64_t blocks = crews.tier == Sharing::lanes ? (crews.count + kThreads - 1) / kThreads : crews.count * crews.blocks;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(unsigned(blocks));
    config.blockDim = dim3(unsigned(crews.threads));
    config.dynamicSmemBytes = size_t(crews.shared);
    config.stream = static_cast<cudaStream_t>(stream);
    cudaLaunchAttribute attribute{};
    const bool several = crews.tier == Sharing::steps;
    if (several) {
      attribute.id = crews.cluster ? cudaLaunchAttributeClusterDimension : cudaLaunchAttributeCooperative;
      if (crews.cluster) attribute.val.clusterDim = {kCluster, 1, 1};
      else attribute.val.cooperative = 1;
      config.attrs = &attribute;
      config.numAttrs = 1;
    }
    auto* kernel = crews.tier == Sharing::lanes    ? train_by_thread<T>
                   : crews.tier == Sharing::trials ? train_by_block<T>
                   : crews.cluster                 ? train_by_cluster<T>
                                                   : train_by_grid<T>;
    check(cudaLaunchKernelEx(&config, kernel, x), "launching a run of training");
  }

 private:
  static constexpr int kMostResident = 8;  // blocks of a multiprocessor: each has a room
  static int property(cudaDeviceAttr which) {
    int device = 0, value = 0;
    check(cudaGetDevice(&device), "asking for the current device");
    check(cudaDeviceGetAttribute(&value, which, device), "asking for a property of the device");
    return value;
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

void fit(const Program& program, const FitCall& fit) {
  const Current device(fit.call.device);
  DeviceFit<Cuda>(program, fit).run();
}

int64_t fit_bytes(const Program& program, const FitCall& fit) {
  const Current device(fit.call.device);
  return DeviceFit<Cuda>(program, fit).bytes();
}

const TargetTable kTable{"cuda", run, fit, nullptr, Device<Cuda>::arenas, launched_tier, fit_bytes};

}  // namespace
}  // namespace irk

const irk::TargetTable* irk_target() { return &irk::kTable; }
