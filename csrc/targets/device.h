// A call of a plan on a machine that runs threads by the launch: one launch a step (two for a loss, a few more where its
// entries are many), over trials x members.
// Machine::launch<Body>(launch, threads, stream) runs serve<Body> for every thread and orders launches of one stream.
// Machine::kAtOnce: threads of a launch that run side by side.
#pragma once
#include <stdexcept>
#include <string>

#include "run/buffers.h"
#include "plan/fit_program.h"
#include "run/thread.h"

namespace irk {

template <class Machine>
class Device {
 public:
  Device(const Program& program, const Call& call) : program_(program), call_(call) {}

  void run() const {
    with_compute_type(program_.dtype, [&](auto zero) {
      for (int s = call_.first_step; s < call_.last_step; ++s) step<decltype(zero)>(program_.steps[s]);
    });
  }

  // Every trial has a scratch of its own: they run side by side.
  static int64_t arenas(const Program&, int64_t trials, int32_t, Sharing) { return trials; }

 private:
  template <class T>
  void step(const Step& step) const {
    Launch x = launch_of(step);
    const int64_t items = items_of(x.step, x.loops, listed_of(step, call_.entries));
    const bool brain = program_.dtype == Dtype::bf16;
    switch (step.op) {
      case Op::contract: return contract<T>(x);
      case Op::dot: return launch<Dot<T>>(x, items);
      case Op::fill:
        if (holds_half(program_, step.c.buffer)) return launch<Fill<uint16_t>>(x, items);
        return launch<Fill<T>>(x, items);
      case Op::widen: return brain ? launch<Widen<Bfloat16>>(x, items) : launch<Widen<Float16>>(x, items);
      case Op::narrow: return brain ? launch<Narrow<Bfloat16>>(x, items) : launch<Narrow<Float16>>(x, items);
      case Op::sampled_dot:
        return x.entries.wide ? launch<SampledDot<T, int64_t>>(x, items) : launch<SampledDot<T, int32_t>>(x, items);
      case Op::sampled_axpy:
        return x.entries.wide ? launch<SampledPull<T, int64_t>>(x, items) : launch<SampledPull<T, int32_t>>(x, items);
      case Op::loss:
        launch<LossTerms<T>>(x, items);
        for (x.stride = 1; gathers<T>(step, x.stride); x.stride *= kGathered)
          launch<LossGather<T>>(x, loss_parts<T>(step, x.stride * kGathered));
        return launch<LossDivide<T>>(x, step.count);
      case Op::exponents: return launch<Exponents<T>>(x, items);
      case Op::normalize: return launch<Normalize<T>>(x, items);
      case Op::level: return launch<Level<T>>(x, items);
      case Op::scale: return launch<Scale<T>>(x, items);
      case Op::rows_value:
      case Op::rows_pull: throw std::logic_error("rows are gathered by torch on this machine");
    }
  }

  template <class T>
  void contract(Launch& x) const {
    const Patch patch = best_patch(x.step, x.loops, x.trials, Machine::kAtOnce);
    const int64_t items = items_of(x.step, x.loops, 0, patch);
    if (patch.rows > 1 && patch.lanes > 1) return launch<Contract<T, kPatchSide, kPatchSide>>(x, items);
    if (patch.rows > 1) return launch<Contract<T, kPatchSide, 1>>(x, items);
    if (patch.lanes > 1) return launch<Contract<T, 1, kPatchSide>>(x, items);
    launch<Contract<T, 1, 1>>(x, items);
  }

  template <class Body>
  void launch(Launch& x, int64_t items) const {
    x.members = least(items, kMostMembers);
    if (x.members && x.trials) Machine::template launch<Body>(x, x.trials * x.members, call_.stream);
  }

  Launch launch_of(const Step& step) const {
    Launch x{};
    x.step = step;
    int32_t used = 0;
    for (Span* span : {&x.step.outer, &x.step.k, &x.step.columns}) {
      for (int i = 0; i < span->count; ++i) room(x, used + i) = program_.loops[span->first + i];
      span->first = used;
      used += span->count;
    }
    x.first_trial = call_.first_trial;
    x.trials = call_.last_trial - call_.first_trial;
    x.trial_axes = {used, program_.n_trials};
    int64_t faster = 1;  // trials that one index of a trial axis passes over
    for (int i = 0; i < program_.n_trials; ++i) {  // the first axis is the fastest, a walk's last one is
      const TrialLoop& axis = program_.trials[i];
      const auto stride = [&](const Ref& ref) { return launched_stride(axis, ref, faster, program_.scratch); };
      room(x, used + program_.n_trials - 1 - i) = {axis.extent, stride(step.a), stride(step.b), stride(step.c)};
      faster *= axis.extent;
    }
    x.a = place(x.step.a);
    x.b = place(x.step.b);
    x.c = place(x.step.c);
    if (call_.entries) x.entries = *call_.entries;
    if (step.op == Op::sampled_axpy) x.order = x.entries.orders[step.order];
    x.entries.orders = nullptr;
    if (call_.target) x.target = *call_.target;
    return x;
  }

  static Loop& room(Launch& x, int32_t at) {
    if (at >= kMaxLoops)
      throw std::invalid_argument("a step of this product has more than " + std::to_string(kMaxLoops) +
                                  " loops, the most that a launch takes");
    return x.loops[at];
  }

  void* place(Ref& ref) const {
    if (ref.buffer == kOne) return nullptr;
    if (ref.buffer == kScratch) ref.offset -= call_.first_trial * program_.scratch;  // the first trial's scratch comes first
    return call_.buffers[ref.buffer];
  }

  const Program& program_;
  const Call& call_;
};

}  // namespace irk
