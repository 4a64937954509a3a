// Whether a team is worth its barriers: on a busy machine members lose their cores for milliseconds, in which all others wait.
// Who looks at these clocks changes how long a result takes, never its bits.
#pragma once
#include <algorithm>

#include "team/team.h"

namespace irk {

// Of one team, asked by one member after every step.
class Patience {
 public:
  bool ends(const Barrier& barrier) {
    const auto now = Clock::now();
    if (now - since_ > kSpan) {
      since_ = now;
      stalled_ = barrier.stalled();
    }
    return std::chrono::nanoseconds(barrier.stalled() - stalled_) > kMost;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kSpan{8}, kMost{2};  // stalls of a quarter of the time
  Clock::time_point since_ = Clock::now();
  int64_t stalled_ = 0;
};

// Between calls: for how long no team is tried after one that lost its patience, twice as long each time in a row.
class Rest {
 public:
  bool over() const { return now() >= until_.load(std::memory_order_relaxed); }
  void after(bool impatient) {
    const int64_t length = impatient ? std::min(std::max(2 * length_.load(std::memory_order_relaxed), kShortest), kLongest) : 0;
    length_.store(length, std::memory_order_relaxed);
    if (impatient) until_.store(now() + length, std::memory_order_relaxed);
  }

 private:
  static int64_t now() { return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1); }
  static constexpr int64_t kShortest = 100000000, kLongest = 2000000000;  // nanoseconds
  std::atomic<int64_t> until_{0}, length_{0};
};

}  // namespace irk
