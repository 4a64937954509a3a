#include "plan/penalty.h"

namespace irk {

void add_penalty(Plan& plan, const Plan& penalty, const std::vector<int>& operands) {
  const int32_t loops = int32_t(plan.loops.size());
  const int64_t base = plan.scratch;
  const size_t before = plan.steps.size();
  plan.loops.insert(plan.loops.end(), penalty.loops.begin(), penalty.loops.end());
  for (Step step : penalty.steps) {
    for (Ref* ref : {&step.a, &step.b, &step.c}) {
      if (ref->buffer == kScratch) ref->offset += base;
      else if (ref->buffer >= kOperands) ref->buffer = kOperands + operands[size_t(ref->buffer - kOperands)];
    }
    for (Span* span : {&step.outer, &step.k, &step.columns}) span->first += loops;
    if (plan.steps.size() == before) step.fence = 1;
    plan.steps.push_back(step);
  }
  plan.scratch += penalty.scratch;
  plan.work += penalty.work;
  plan.trial_strides[0][kCotangent] = 1;
  for (size_t i = 0; i < operands.size(); ++i) {
    if (penalty.gradient_offsets[i] < 0) continue;
    // The sum of two arrays of the arena is a contraction over a letter of extent 2, their distance being its stride.
    int64_t& gradient = plan.gradient_offsets[size_t(operands[i])];
    const int64_t n = checked_elements(penalty.product.operands[i].shape);
    Step sum{};
    sum.op = Op::contract;
    sum.a = {kOne, 0};
    sum.b = {kScratch, gradient};
    sum.c = {kScratch, plan.scratch};
    sum.outer = {int32_t(plan.loops.size()), 0};
    sum.k = {int32_t(plan.loops.size()), 1};
    sum.row = {1, 0, 0, 0};
    sum.lane = {n, 0, 1, 1};
    sum.work = 2 * n;
    sum.fence = 1;
    plan.loops.push_back({2, 0, base + penalty.gradient_offsets[i] - gradient, 0});
    plan.steps.push_back(sum);
    gradient = plan.scratch;
    plan.scratch += (n + 15) / 16 * 16;
    plan.work += sum.work;
  }
}

}  // namespace irk
