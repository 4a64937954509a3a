// Who takes the steps of a training run, by cost: a trial in each lane (the step written out), or a trial on each core.
// Times are nanoseconds, measured on one core, of machine code with AVX2; the bits are the same either way.
#pragma once
#include <algorithm>

#include "plan/program.h"

namespace irk {

constexpr int64_t kMostTraced = 16384;  // multiply-adds, and numbers, of a step that is written out

// Of calls: the longest product worth writing out, the fewest trials of a call, and after how many of them it pays.
constexpr int64_t kMostCalled = 1500, kFewestCalled = 32, kServedFirst = 2000;

struct TierCost {
  double lanes, core;  // of a step of all trials
};

// numbers: elements of all operands of a trial; width: trials that a pack holds; machine_code: of either tier's steps.
inline TierCost tier_cost(const Program& program, int64_t numbers, int64_t trials, int64_t width, bool machine_code) {
  constexpr double kStep = 35, kMultiplyAdd = 0.22;  // core: a step interpreted, and what it does,
  constexpr double kTrial = 70, kWrittenStep = 3, kWrittenMultiplyAdd = 0.065;  // or written, beside what a trial takes
  // lanes: an operation on one number, on a pack of so many bytes
  constexpr double kOne = 0.33, kPack64 = 0.55, kPack32 = 0.35, kInterpreted = 6;
  double operations = double(program.work) + 5 * double(numbers);   // the update and the check read every number
  for (int s = 0; s < program.n_steps; ++s)
    if (program.steps[s].op == Op::loss) operations += 6 * double(program.steps[s].count);
  const int64_t bytes = width * (program.dtype == Dtype::f64 ? 8 : 4);
  const double each = (trials == 1 ? kOne : bytes == 64 ? kPack64 : kPack32) * (machine_code ? 1 : kInterpreted);
  const double packs = double(trials == 1 ? 1 : (trials + width - 1) / width);
  const double steps = double(program.n_steps), work = double(program.work);
  const double core =
      machine_code ? kTrial + kWrittenStep * steps + kWrittenMultiplyAdd * work : kStep * steps + kMultiplyAdd * work;
  return {operations * each * packs, double(trials) * core};
}

}  // namespace irk
