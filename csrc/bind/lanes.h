// Training with a trial in each lane: a step traced once for a problem, then run in calls like those of fit.
#pragma once
#include <memory>
#include <sstream>
#include <string>

#include "bind/calls.h"
#include "plan/tier.h"

namespace irk {

class LanesStep {
 public:
  LanesStep(const LanesTable& table, const void* traced) : table_(table), traced_(traced, table.forget) {}

  int64_t length() const { return table_.length(traced_.get()); }
  bool compiled() const { return table_.compiled(traced_.get()); }
  int64_t bytes(int64_t trials, int threads) const { return table_.bytes(traced_.get(), trials, threads); }
  int64_t held() const { return table_.held(traced_.get()); }
  int64_t code() const { return table_.code(traced_.get()); }
  void fit(const Program& program, const FitCall& call) const { table_.fit(traced_.get(), program, call); }

  static void operator delete(void*) noexcept {}  // owned by shared pointers, as Plan is

 private:
  const LanesTable& table_;
  const std::shared_ptr<const void> traced_;
};

// Elements of one trial in each buffer: all that a stride reaches.
inline std::vector<int64_t> spans_of(const Plan& plan, const py::tuple& operands) {
  std::vector<int64_t> spans(kOperands + 2 * operands.size(), 0);
  for (size_t o = 0; o < operands.size(); ++o) {
    const TensorView v = framework.read(operands[o]);
    int64_t& span = spans[kOperands + o] = 1;
    const int own = int(plan.product.operands[o].shape.size());  // without a trial axis
    for (int i = v.ndim - own; i < v.ndim; ++i) span += (v.shape[i] - 1) * v.strides[i];
  }
  return spans;
}

// Why a step is not for the lanes, or, unless they are forced, why a core is better; empty where it is.
// numbers: of all operands of a trial; watched: multiply-adds of the entries of W that are watched.
inline std::string why_not_lanes(const Plan& plan, int64_t numbers, int64_t trials, int64_t watched, bool forced) {
  const TargetTable& target = targets.at({});
  if (!target.lanes) return std::string("the kernel target ") + target.name + " has no lanes";
  const auto beyond = [](const char* what, int64_t n) {
    return "a step of one trial has " + std::to_string(n) + " " + what + ", and lanes take at most " +
           std::to_string(kMostTraced);
  };
  if (plan.gather) return "lanes read no rows of listed entries";
  if (plan.scaled) return "lanes carry no exponents, which a product of so many factors needs";
  if (plan.work > kMostTraced) return beyond("multiply-adds", plan.work);
  if (watched > kMostTraced) return beyond("multiply-adds of what is recorded", watched);
  if (numbers > kMostTraced) return beyond("numbers", numbers);
  if (forced) return "";
  const int64_t width = target.lanes->vector_bytes / compute_bytes(plan);
  const TierCost cost = tier_cost(plan.program(), numbers, trials, width, target.lanes->compiles());
  if (cost.lanes <= cost.core) return "";
  std::ostringstream said;
  said.precision(2);
  said << "an estimated " << cost.core << " ns a step of all trials, " << cost.lanes << " in lanes";
  return said.str();
}
inline std::string why_not_lanes(const Plan& plan, const py::tuple& operands, int64_t watched, bool forced) {
  int64_t numbers = 0;
  for (const int64_t span : spans_of(plan, operands)) numbers += span;
  return why_not_lanes(plan, numbers, plan.trials, watched, forced);
}

// Who would take the steps of training so many trials, for the plan of one made from shapes.
inline std::string training_tier(const Plan& plan, int64_t trials, int threads) {
  int64_t numbers = 0;
  for (const Operand& operand : plan.product.operands) {
    int64_t elements = 1;
    for (const int64_t extent : operand.shape) elements *= extent;
    numbers += elements;
  }
  const std::string reason = why_not_lanes(plan, numbers, trials, 0, false);
  if (reason.empty()) return "lanes: a trial in each SIMD lane";
  return (share(plan.work, trials, threads, kTeamTraining).by_trial ? "core: " : "grid: ") + reason;
}

inline std::shared_ptr<LanesStep> lanes_trace(const Plan& plan, const py::args& arguments) {
  const FitArguments given(plan, arguments);
  const LanesTable& table = *targets.at({}).lanes;
  return std::make_shared<LanesStep>(table,
                                     table.trace(plan.program(), given.call, spans_of(plan, given.operands).data()));
}

inline void lanes_fit(const LanesStep& step, const Plan& plan, const py::args& arguments) {
  const FitArguments given(plan, arguments);
  const py::gil_scoped_release release;
  step.fit(plan.program(), given.call);
}

}  // namespace irk
