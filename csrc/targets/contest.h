// Whether a team or one thread takes the steps of a training run, by what each last took for a step: on some machines what
// cores tell each other costs more than a small step. Who wins changes how long a result takes, never its bits.
#pragma once
#include <chrono>
#include <cstdint>
#include <mutex>

namespace irk {

class Contest {
 public:
  using Time = std::chrono::nanoseconds;

  // Who has the next call: who was faster, or, seldom enough, the other one again.
  bool for_team(Time now) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!team_.tried || !alone_.tried) return !team_.tried;
    const bool better = team_.step < alone_.step;
    const Side& other = better ? alone_ : team_;
    return (now - other.ended > kRarely * other.lasted) != better;
  }

  void took(bool team, Time began, Time ended, int64_t steps) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Side& side = team ? team_ : alone_;
    if (side.tried && ended - began < kShortest) return;  // says more of its beginning than of its steps
    side = Side{true, double((ended - began).count()) / double(steps), ended - began, ended};
  }

 private:
  static constexpr int kRarely = 20;  // at most a twentieth of the time goes into trying the slower one
  static constexpr std::chrono::milliseconds kShortest{1};
  struct Side {
    bool tried = false;
    double step = 0;      // nanoseconds of one, in its last call
    Time lasted{}, ended{};
  };
  std::mutex mutex_;
  Side team_, alone_;
};

// A contest for each size of step: by the powers of two between which its multiply-adds lie.
class Contests {
 public:
  Contest& of(int64_t work) {
    int size = 0;
    while (work >>= 1) ++size;
    return contests_[size];
  }

 private:
  Contest contests_[64];
};

}  // namespace irk
