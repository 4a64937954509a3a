// A plan's steps run on addresses read from tensors: the verbs' calls and native training.
#pragma once
#include "bind/arguments.h"
#include "bind/batches.h"
#include "bind/buffers.h"
#include "bind/interrupt.h"
#include "bind/watching.h"
#include "plan/tier.h"

namespace irk {

inline int64_t compute_bytes(const Plan& plan) { return plan.dtype == Dtype::f64 ? 8 : 4; }

// trials: in place of the plan's own.
inline int64_t scratch_bytes(const Plan& plan, int threads, const Place& place = {}, Sharing asked = Sharing::cheapest, int64_t trials = -1) {
  int64_t bytes;
  if (__builtin_mul_overflow(plan.scratch * compute_bytes(plan), targets.at(place).arenas(plan.program(), trials < 0 ? plan.trials : trials, threads, asked), &bytes))
    throw std::overflow_error("the workspace would have more than 2^63 bytes");
  return bytes;
}

// Whether a tensor is what forward kept for backward, by its looks.
inline bool holds_kept(const Plan& plan, const TensorView& v) {
  return v.ndim == 1 && v.shape[0] == plan.saved * plan.trials && (v.shape[0] <= 1 || v.strides[0] == 1) &&
         v.scalar == (plan.dtype == Dtype::f64 ? Scalar::f64 : Scalar::f32);
}

// The steps of a small dense product over many trials, written out once the plan has served enough; null where not.
inline const void* lanes_of(const TargetTable& target, const Plan& plan, const Call& call) {
  Plan::Lanes& lanes = plan.lanes;
  if (lanes.traced || lanes.tried) return lanes.traced.get();
  if (!target.lanes || plan.trials < kFewestCalled || plan.work > kMostCalled || plan.tree.sampled || !plan.written_out() || int(plan.dtype) > int(Dtype::f64) ||
      plan.product.empty || (lanes.served += plan.trials) < kServedFirst)
    return nullptr;
  lanes.tried = true;
  if (const void* traced = target.lanes->trace_call(plan.program(), call)) lanes.traced = {traced, target.lanes->forget_call};
  return lanes.traced.get();
}

inline void run_steps(const TargetTable& target, const Plan& plan, const Call& call) {
  const bool whole = call.first_step == 0 && call.last_step == int32_t(plan.steps.size());
  const void* traced = whole ? lanes_of(target, plan, call) : nullptr;
  const auto run = [&] { traced ? target.lanes->run(traced, plan.program(), call) : target.run(plan.program(), call); };
  if (plan.work * plan.trials < kReleaseWork) return run();
  const py::gil_scoped_release release;
  run();
}

// Whether every number of a contiguous tensor is finite.
inline bool all_finite(const TensorView& v) {
  int64_t n = 1;
  for (int i = 0; i < v.ndim; ++i) n *= v.shape[i];
  bool finite = true;
  if (v.scalar == Scalar::f64)
    for (int64_t i = 0; i < n; ++i) finite &= (static_cast<const uint64_t*>(v.data)[i] >> 52 & 0x7ff) != 0x7ff;
  else if (v.scalar == Scalar::f32)
    for (int64_t i = 0; i < n; ++i) finite &= (static_cast<const uint32_t*>(v.data)[i] >> 23 & 0xff) != 0xff;
  else
    for (int64_t i = 0; i < n; ++i) {
      const uint16_t mask = v.scalar == Scalar::f16 ? 0x7c00 : 0x7f80;
      finite &= (static_cast<const uint16_t*>(v.data)[i] & mask) != mask;
    }
  return finite;
}

inline bool all_finite(const py::tuple& gradients) {
  bool finite = true;
  for (const auto& g : gradients)
    if (!g.is_none()) finite &= all_finite(framework.read(g));
  return finite;
}

// Returns whether the gradients of listed entries are finite: a NaN in a factor may have met an entry that is not listed.
// Gradients on another device are not looked at.
inline bool run(const Plan& plan, const py::tuple& operands, const py::object& output, const py::object& saved, const py::object& cotangent,
         const py::object& gradients, const py::object& scratch, int64_t nnz, const py::object& columns, const py::tuple& orders,
         const py::object& loss, int threads, uintptr_t stream, int64_t trial, int first_step, int last_step) {
  Place place;
  auto buffers = buffers_of(plan, operands, gradients, place);
  const bool on_cpu = place.kind == DeviceKind::cpu;
  const TargetTable& target = targets.at(place);
  buffers[kOutput] = fresh(output);
  if (plan.saved && (saved.is_none() || !holds_kept(plan, framework.read(saved))))
    throw std::invalid_argument("what forward kept for backward came back with another shape, dtype or strides (by saved-tensor hooks?)");
  buffers[kSaved] = fresh(saved);
  buffers[kCotangent] = address(cotangent);
  alignas(64) char small[kStackScratch];
  buffers[kScratch] = scratch.is_none() ? small : fresh(scratch);
  if (scratch.is_none() && scratch_bytes(plan, threads, place) > (on_cpu ? kStackScratch : 0)) throw std::logic_error("a plan ran without its workspace");
  const EntriesArgument entries(framework, plan, nnz, columns, orders);
  const Target t = loss.is_none() ? Target{} : target_of(framework, loss.cast<py::tuple>());
  const Call call{buffers.data(), entries.get(), loss.is_none() ? nullptr : &t, threads, trial < 0 ? 0 : trial,
                  trial < 0 ? plan.trials : trial + 1, first_step, last_step < 0 ? int32_t(plan.steps.size()) : last_step, place.number,
                  reinterpret_cast<void*>(stream)};
  run_steps(target, plan, call);
  return !(on_cpu && plan.tree.sampled && !plan.gather && !gradients.is_none()) || all_finite(gradients.cast<py::tuple>());
}

// kind, groups, nesterov, maximize, decoupled, hyper, clip, clip_value, step, v: see Rule
inline Rule rule_of(const py::tuple& r) {
  return {RuleKind(r[0].cast<int>()), r[1].cast<int32_t>(), r[2].cast<int32_t>(), r[3].cast<int32_t>(), r[4].cast<int32_t>(),
          static_cast<const double*>(address(r[5])), static_cast<const double*>(address(r[6])),
          static_cast<const double*>(address(r[7])), static_cast<int64_t*>(address(r[8])), static_cast<double*>(address(r[9]))};
}

// (tensor, its moments, parameter group, operand positions): see Factor and Tie
inline Factor factor_of(const Plan& plan, const py::tuple& f, std::vector<Tie>& ties) {
  const TensorView v = framework.read(f[0]);
  ask_for_large_pages(v, Pages::in_use);  // steps read its rows again and again
  const auto positions = f[3].cast<std::vector<size_t>>();
  Factor factor{v.data, {}, 1, plan.gradient_offsets.at(positions.at(0)), f[2].cast<int32_t>()};
  for (int i = 1; i < v.ndim; ++i) factor.elements *= v.shape[i];
  const auto moments = f[1].cast<py::tuple>();
  if (moments.size() > size_t(kMoments)) throw std::logic_error("a factor has more moments than any rule");
  for (size_t m = 0; m < moments.size(); ++m) factor.moments[m] = address(moments[m]);
  for (size_t i = 1; i < positions.size(); ++i) ties.push_back({factor.gradient_offset, plan.gradient_offsets.at(positions[i]), factor.elements});
  return factor;
}

// A native training call as plain data, and what it points to. From Python: (operands, factors, scratch, nnz, columns, orders,
// loss, rule, steps, active, done, threads, watching, batches, ridge, sharing, whether Ctrl-C ends it, stream); see factor_of,
// rule_of, Watching, BatchesArgument, Sharing.
class FitArguments {
 public:
  FitArguments(const Plan& plan, const py::tuple& given)
      : operands(given[0].cast<py::tuple>()), buffers_(buffers_of(plan, operands, py::none(), place)),
        entries_(framework, plan, given[3].cast<int64_t>(), given[4], given[5].cast<py::tuple>()),
        target_(target_of(framework, given[6].cast<py::tuple>())), watch_(given[12].cast<py::tuple>()),
        batches_(framework, plan, given[13], given[8].cast<int64_t>() + watch_.look_back) {
    buffers_[kScratch] = fresh(given[2]);
    buffers_[kCotangent] = address(given[14]);  // ridge: [trials] 2 ridge, in the plan's type
    for (const auto& item : given[1].cast<py::tuple>()) factors_.push_back(factor_of(plan, item.cast<py::tuple>(), ties_));
    call = {{buffers_.data(), entries_.get(), &target_, given[11].cast<int>(), 0, plan.trials, 0, int32_t(plan.steps.size()), place.number,
             reinterpret_cast<void*>(given[17].cast<uintptr_t>())},
            rule_of(given[7].cast<py::tuple>()), factors_.data(), int32_t(factors_.size()), ties_.data(), int32_t(ties_.size()), given[8].cast<int64_t>(),
            static_cast<const uint8_t*>(address(given[9])), static_cast<int64_t*>(address(given[10])), watch_.first,
            watch_.look_back, watch_.records(), watch_.limits(), watch_.verdicts, batches_.get(), Sharing(given[15].cast<int>()),
            given[16].cast<bool>() ? Interrupts::asked() : nullptr};
  }
  FitArguments(const FitArguments&) = delete;

  const py::tuple operands;
  Place place;
  FitCall call;

 private:
  std::vector<void*> buffers_;
  const EntriesArgument entries_;
  const Target target_;
  const Watching watch_;
  const BatchesArgument batches_;
  std::vector<Factor> factors_;
  std::vector<Tie> ties_;
};

// Returns how many steps of the plan were machine code.
inline int32_t fit(const Plan& plan, const py::args& arguments) {
  const FitArguments given(plan, arguments);
  const TargetTable& target = targets.at(given.place);
  if (!target.fit) throw std::runtime_error(std::string("the kernel target ") + target.name + " has no native training");
  const py::gil_scoped_release release;
  return target.fit(plan.program(), given.call);
}

// The workspace of such a call where threads come by the launch; the one among the arguments is not looked at.
inline int64_t fit_bytes(const Plan& plan, const py::args& arguments) {
  const FitArguments given(plan, arguments);
  return targets.at(given.place).fit_bytes(plan.program(), given.call);
}

// Who takes the trials where this tensor is, or, without one, on the CPU.
inline std::string launched_tier(const Plan& plan, int64_t trials, int sharing, const py::object& like) {
  const TargetTable& target = targets.at(like.is_none() ? Place{} : framework.read(like).place);
  switch (target.tier(plan.program(), trials, Sharing(sharing))) {
    case Sharing::lanes: return "lanes: a trial a thread";
    case Sharing::trials: return "core: a trial a block";
    default: return "grid: a trial over several blocks";
  }
}

}  // namespace irk
