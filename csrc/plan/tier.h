// Who takes the steps of a training run, by cost: a trial in each lane (the step written out), or a trial on each core.
// Times are nanoseconds, measured on one core with AVX-512; the bits are the same either way.
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

// numbers: elements of all operands of a trial; width: trials that a pack holds.
inline TierCost tier_cost(const Program& program, int64_t numbers, int64_t trials, int64_t width, bool machine_code) {
  constexpr double kStep = 35, kMultiplyAdd = 0.22;                 // core: a step interpreted, and what it does
  constexpr double kOne = 0.33, kPack = 0.55, kInterpreted = 6;     // lanes: an operation on one number, on a pack
  double operations = double(program.work) + 5 * double(numbers);   // the update and the check read every number
  for (int s = 0; s < program.n_steps; ++s)
    if (program.steps[s].op == Op::loss) operations += 6 * double(program.steps[s].count);
  const double each = (trials == 1 ? kOne : kPack) * (machine_code ? 1 : kInterpreted);
  const double packs = double(trials == 1 ? 1 : (trials + width - 1) / width);
  return {operations * each * packs, double(trials) * (kStep * program.n_steps + kMultiplyAdd * double(program.work))};
}

}  // namespace irk
