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

class StepTrace {
 protected:
  StepTrace(const Program& program, const Call& call)
      : program_(program),
        call_(call),
        recording_(program.dtype == Dtype::f64),
        buffers_(size_t(kOperands + 2 * program.n_operands)) {
    recording = &recording_;
    scratch().resize(size_t(program.scratch));
    buffers_[kOne].assign(1, Traced(1));
  }
  ~StepTrace() { recording = nullptr; }
  StepTrace(const StepTrace&) = delete;

  std::vector<Traced>& scratch() { return buffers_[kScratch]; }
  Traced* at(Ref ref) { return buffers_[size_t(ref.buffer)].data() + ref.offset; }
  void run() {
    for (const Step* step = program_.steps; step < program_.steps + program_.n_steps; ++step) run(*step);
  }

 private:
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
      values.push_back(Traced::of(recording_.leaf(LeafKind::value, 0, i)));
      if (call_.target->weights) weights.push_back(Traced::of(recording_.leaf(LeafKind::weight, 0, i)));
    }
    Target target = *call_.target;
    target.values = values.data();
    target.weights = target.weights ? weights.data() : nullptr;
    target.values_stride = target.weights_stride = 0;
    target.loss = &loss_;
    loss_terms<Traced>(step, at(step.a), at(step.c), at(step.b), target, 0, Team());
    loss_divide<Traced>(step, at(step.c), at(step.b), target, 0, Team());
  }

 protected:
  const Program& program_;
  const Call& call_;
  Recording recording_;
  std::vector<std::vector<Traced>> buffers_;
  Traced loss_;
};

}  // namespace irk
