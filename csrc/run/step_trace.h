// A step list run once on Traced numbers: the steps are those of steps/, the buffers hold names of numbers.
#pragma once
#include "run/buffers.h"
#include "run/slots.h"
#include "run/traced.h"
#include "steps/contract.h"
#include "steps/convert.h"
#include "steps/loss.h"
#include "steps/sampled.h"

namespace irk {

// Elements of one trial that dense steps reach in a buffer.
inline int64_t span_of(const Program& program, int buffer) {
  int64_t span = 0;
  for (const Step* step = program.steps; step < program.steps + program.n_steps; ++step) {
    const auto reach = [&](const Ref& ref, int64_t Loop::*stride) {
      if (ref.buffer != buffer) return;
      int64_t last =
          ref.offset + (step->row.extent - 1) * (step->row.*stride) + (step->lane.extent - 1) * (step->lane.*stride);
      if (step->op == Op::fill) last = ref.offset + step->count - 1;
      for (const Span& loops : {step->outer, step->k})
        for (int i = loops.first; i < loops.first + loops.count; ++i)
          last += (program.loops[i].extent - 1) * (program.loops[i].*stride);
      span = std::max(span, last + 1);
    };
    reach(step->a, &Loop::a);
    reach(step->b, &Loop::b);
    reach(step->c, &Loop::c);
  }
  return span;
}

class StepTrace {
 public:
  // On the recording under way.
  StepTrace(const Program& program, const Call& call)
      : program_(program), call_(call), buffers_(size_t(kOperands + 2 * program.n_operands)) {
    scratch().resize(size_t(program.scratch));
    buffers_[kOne].assign(1, Traced(1));
  }

  std::vector<Traced>& buffer(int b) { return buffers_[size_t(b)]; }
  std::vector<Traced>& scratch() { return buffers_[kScratch]; }
  Traced loss() const { return loss_; }
  void run() {
    for (const Step* step = program_.steps; step < program_.steps + program_.n_steps; ++step) run(*step);
  }

 private:
  Traced* at(Ref ref) { return buffers_[size_t(ref.buffer)].data() + ref.offset; }

  void run(const Step& step) {
    const Team alone;
    const Loop* pool = program_.loops;
    switch (step.op) {
      case Op::contract: return contract_step<Traced>(step, pool, at(step.a), at(step.b), at(step.c), alone);
      case Op::dot: return dot_step<Traced>(step, pool, at(step.a), at(step.b), at(step.c), alone);
      case Op::fill: return fill_step(step, pool, at(step.c), alone);
      case Op::sampled_dot:
      case Op::sampled_axpy: return call_.entries->wide ? sampled<int64_t>(step) : sampled<int32_t>(step);
      case Op::loss: return loss(step);
      case Op::widen:
      case Op::narrow: return;  // no half type is trained
      case Op::rows_value:
      case Op::rows_pull:
      case Op::exponents:
      case Op::normalize:
      case Op::level:
      case Op::scale: return;   // Plan::written_out() keeps such plans away
    }
  }

  template <class Index>
  void sampled(const Step& step) {
    const Entries& entries = *call_.entries;
    if (step.op == Op::sampled_dot)
      return sampled_dot_step<Traced, Index>(step, program_.loops, at(step.a), at(step.b), at(step.c), entries, Team());
    sampled_axpy_step<Traced, Index>(step, program_.loops, at(step.a), at(step.b), at(step.c), entries.orders[step.order],
                                     entries.nnz, Team());
  }

  void loss(const Step& step) {
    std::vector<Traced> values, weights;
    for (int64_t i = 0; i < step.count; ++i) {
      values.push_back(Traced::of(recording->leaf(LeafKind::value, 0, i)));
      if (call_.target->weights) weights.push_back(Traced::of(recording->leaf(LeafKind::weight, 0, i)));
    }
    Target target = *call_.target;
    target.values = values.data();
    target.weights = target.weights ? weights.data() : nullptr;
    target.values_stride = target.weights_stride = 0;
    target.loss = &loss_;
    loss_terms<Traced>(step, at(step.a), at(step.c), at(step.b), target, 0, Team());
    for (int64_t stride = 1; gathers<Traced>(step, stride); stride *= kGathered)
      loss_gather<Traced>(step, at(step.b), stride, Team());
    loss_divide<Traced>(step, at(step.c), at(step.b), target, 0, Team());
  }

  const Program& program_;
  const Call call_;
  std::vector<std::vector<Traced>> buffers_;
  Traced loss_;
};

}  // namespace irk
