// Training by launches on a GPU: who takes a trial, and the kernel around run/train.h.
#pragma once
#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "targets/device_fit.h"

namespace irk {

inline void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA, ") + what + ": " + cudaGetErrorString(error));
}

constexpr int kLoneThreads = 64;   // of a block whose threads each have a trial
constexpr int kCrewThreads = 256;  // at most, of a block that has one trial or a part of it
constexpr int kClusterBlocks = 8;  // of a cluster: as many as every GPU that has them grants

enum class Within { thread, block, cluster, grid };  // what holds the threads of a crew, whose barrier they wait at

// One type for all crews, and so one kernel: the code between two barriers is the same, and takes long to compile.
struct DeviceCrew : Team {
  Within within;

  __device__ void sync() const {
    if (within == Within::block) return __syncthreads();
    if (within == Within::grid) return cooperative_groups::this_grid().sync();
#if __CUDA_ARCH__ >= 900
    if (within == Within::cluster) asm volatile("barrier.cluster.arrive.release;\n barrier.cluster.wait.acquire;" ::: "memory");
#endif
  }
  __device__ void raise(int* flag) const { atomicExch(flag, 1); }
};

// blocks: of a crew; 0: each thread is one. Rooms lie in the workspace, or, x.rooms being null, in the block's own memory.
template <class T>
__global__ void __launch_bounds__(kCrewThreads, 1) train_crews(const __grid_constant__ Training x, Within within, int blocks) {
  extern __shared__ __align__(16) char shared[];
  const int size = blocks ? blocks * int(blockDim.x) : 1;
  const int64_t thread = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, own = thread / size;
  if (own < x.crews) train_in_turns<T>(x, DeviceCrew{{int(thread % size), size}, within}, own, x.rooms ? nullptr : shared);
}

class CudaTraining {
 public:
  template <class T>
  static Crews crews(Sharing tier, const Training& x, int64_t items) {
    const int64_t processors = attribute(cudaDevAttrMultiProcessorCount);
    const auto threads = int32_t(least<int64_t>(kCrewThreads, (items + 31) / 32 * 32));
    if (tier == Sharing::lanes) {
      const int64_t all = processors * resident<T>(kLoneThreads, 0) * kLoneThreads;
      return {tier, kLoneThreads, 0, least(x.trials, all), 1};
    }
    if (tier == Sharing::trials) {
      const int64_t shared = x.room.bytes <= most_shared() ? x.room.bytes : 0;
      return {tier, threads, shared, least(x.trials, processors * resident<T>(threads, shared)), 1};
    }
    // a cluster's barrier is the cheaper one, the whole device has more arithmetic
    if (attribute(cudaDevAttrClusterLaunch) && (items <= kClusterItems || x.trials > 1)) {
      Launching one({tier, threads, 0, 1, kClusterBlocks, true}, nullptr);
      int clusters = 0;
      check(cudaOccupancyMaxActiveClusters(&clusters, train_crews<T>, &one.config), "counting clusters");
      if (clusters > 0) return {tier, threads, 0, least<int64_t>(x.trials, clusters), kClusterBlocks, true};
    }
    const int64_t blocks = processors * resident<T>(threads, 0);
    return {tier, threads, 0, 1, int32_t(least(blocks, (items + threads - 1) / threads))};
  }

  // The caller's memory is its own again when this returns: what is not page-locked is copied aside first.
  static void send(const std::vector<char>& bytes, char* to, void* stream) {
    check(cudaMemcpyAsync(to, bytes.data(), bytes.size(), cudaMemcpyHostToDevice, static_cast<cudaStream_t>(stream)), "sending a call");
  }

  template <class T>
  static void train(const Training& x, const Crews& crews, void* stream) {
    Launching launching(crews, stream);
    const bool alone = crews.tier == Sharing::lanes;
    const Within within = alone ? Within::thread : crews.tier == Sharing::trials ? Within::block
                            : crews.near                                          ? Within::cluster
                                                                                  : Within::grid;
    grant<T>();
    check(cudaLaunchKernelEx(&launching.config, train_crews<T>, x, within, alone ? 0 : int(crews.blocks)), "launching training");
  }

 private:
  static constexpr int64_t kClusterItems = 4 * kClusterBlocks * kCrewThreads;  // of a step; by arithmetic, not measured

  // How crews are launched.
  struct Launching {
    Launching(const Crews& crews, void* stream) {
      const bool alone = crews.tier == Sharing::lanes;
      config.gridDim = dim3(unsigned(alone ? (crews.count + crews.threads - 1) / crews.threads : crews.count * crews.blocks));
      config.blockDim = dim3(unsigned(crews.threads));
      config.dynamicSmemBytes = size_t(crews.shared);
      config.stream = static_cast<cudaStream_t>(stream);
      if (crews.tier != Sharing::steps) return;
      if (crews.near) {
        together.id = cudaLaunchAttributeClusterDimension;
        together.val.clusterDim.x = kClusterBlocks;
        together.val.clusterDim.y = together.val.clusterDim.z = 1;
      } else {
        together.id = cudaLaunchAttributeCooperative;
        together.val.cooperative = 1;
      }
      config.attrs = &together;
      config.numAttrs = 1;
    }
    Launching(const Launching&) = delete;

    cudaLaunchConfig_t config{};
    cudaLaunchAttribute together{};
  };

  static int64_t attribute(cudaDeviceAttr wanted) {
    int device = 0, value = 0;
    check(cudaGetDevice(&device), "asking for the current device");
    check(cudaDeviceGetAttribute(&value, wanted, device), "asking for what it has");
    return value;
  }

  // Blocks that one processor runs at the same time.
  template <class T>
  static int64_t resident(int threads, int64_t shared) {
    grant<T>();
    int blocks = 0;
    check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, train_crews<T>, threads, size_t(shared)), "asking for occupancy");
    if (blocks < 1) throw std::runtime_error("CUDA: no block of training fits this device");
    return blocks;
  }

  static int64_t most_shared() { return attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin); }

  // Shared memory beyond what every kernel may have unasked: all there is, for another thread's call may need more than ours.
  template <class T>
  static void grant() {
    check(cudaFuncSetAttribute(train_crews<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, int(most_shared())), "asking for shared memory");
  }
};

}  // namespace irk
