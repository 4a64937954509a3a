// Who computes one trial. The contract that every step is written against:
//   * a team has `size` members, each calls every step with the same arguments and does its own share, range(n);
//   * shares are contiguous and cover 0..n; what one member writes nobody else reads before the next sync();
//   * how the work is shared never changes a result: each number is made by one member, in the order that
//     steps/ prescribes (products accumulate in index order inside blocks of kBlock, fma only where it is written).
#pragma once
#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstdint>

#include "core/divide.h"

namespace irk {

constexpr int64_t kBlock = 128;  // contracted indices whose products share one running sum

// Spins for at most 20 us, then yields: a waiting member must not keep a working one off its core. Time spent yielding is
// summed up: members that are off their cores show there.
class Barrier {
 public:
  explicit Barrier(int size) : size_(size) {}
  void wait() {
    const int phase = phase_.load(std::memory_order_relaxed);
    if (waiting_.fetch_add(1, std::memory_order_acq_rel) == size_ - 1) {
      waiting_.store(0, std::memory_order_relaxed);
      phase_.store(phase + 1, std::memory_order_release);
      return;
    }
    for (int spin = 0; spin < kSpins; ++spin) {
      if (phase_.load(std::memory_order_acquire) != phase) return;
      IRK_RELAX();
    }
    const auto since = Clock::now();
    while (phase_.load(std::memory_order_acquire) == phase) sched_yield();
    stalled_.fetch_add((Clock::now() - since) / std::chrono::nanoseconds(1), std::memory_order_relaxed);
  }
  // Nanoseconds that a member has waited for others beyond spinning, in the mean over those who wait for one.
  int64_t stalled() const { return stalled_.load(std::memory_order_relaxed) / (size_ - 1); }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr int kSpins = 500;  // about 20 us at 40 ns a pause
  const int size_;
  std::atomic<int> waiting_{0}, phase_{0};
  std::atomic<int64_t> stalled_{0};
};

struct Team {
  int rank = 0, size = 1;
  Barrier* barrier = nullptr;
  const std::atomic<int>* stop = nullptr;  // or null; where it is set, what a step has yet to do need not be done

  bool stopped() const { return stop && stop->load(std::memory_order_relaxed); }
  void sync() const { if (size > 1) barrier->wait(); }
  void raise(int* flag) const { __atomic_store_n(flag, 1, __ATOMIC_RELAXED); }  // by several members at once
  IRK_FN int64_t begin(int64_t n) const { return part(n, rank); }
  IRK_FN int64_t end(int64_t n) const { return part(n, rank + 1); }

 private:
  // Where the first so many of equal shares end.
  IRK_FN int64_t part(int64_t n, int64_t shares) const { return size == 1 ? n * shares : n == size ? shares : divide(n * shares, size).quotient; }
};

}  // namespace irk
