// The small steps of a training program as machine code, a function for each run of them, and what becomes of the
// gradients: made once for a fit, shared by its trials. What is not written is interpreted; the bits are the same.
#pragma once
#include "fast/contract_code.h"
#include "fast/dots_code.h"
#include "fast/executable.h"
#include "fast/loss_code.h"
#include "fast/numbers_code.h"
#include "fast/update_code.h"
#include "run/buffers.h"

namespace irk {

// What a trial's list of addresses holds behind those of the buffers: of its target values, of its loss, of kRoom
// numbers, of each group's coefficients, and of the numbers and the moments of each factor.
struct CodePlaces {
  int32_t values, loss, room, coefficients, factors, count;

  CodePlaces(const Program& program, const FitCall& fit)
      : values(kOperands + 2 * program.n_operands),
        loss(values + 1),
        room(loss + 1),
        coefficients(room + 1),
        factors(coefficients + fit.rule.groups),
        count(factors + fit.n_factors * (1 + kMoments)) {}
};

// Of a trial, on its list of addresses.
class StepFunction {
 public:
  StepFunction() = default;
  explicit StepFunction(Assembler& out) {
    out.leave();
    code_ = Executable(out.finished());
  }
  explicit operator bool() const { return bool(code_); }
  int64_t operator()(char** addresses) const { return code_.as<int64_t(char**)>()(addresses); }

 private:
  Executable code_;
};

class StepCode {
 public:
  static constexpr int64_t kFewest = 200;  // steps of a fit that make up for the writing

  // Without any function where machine code is not to be had, or not worth the while, or where members share a step:
  // how they do is not written.  alone: each trial has one member
  StepCode(const Program& program, const FitCall& fit, bool alone)
      : places(program, fit), program_(program), fit_(fit) {
    const bool computed = program.dtype == Dtype::f32 || program.dtype == Dtype::f64;
    if (!computed || !alone || fit.steps < kFewest || !Executable::possible()) return;
    for (int32_t s = 0; s < program.n_steps; s = std::max(write(s), s + 1));
    if (!wants_norm(fit.rule)) {
      Assembler out = assembler();
      FiniteCode(out, fit).write();
      broken = StepFunction(out);
    }
    Assembler out = assembler();
    if (written(UpdateCode(out, fit, places.factors, places.coefficients))) update = StepFunction(out);
  }

  struct Run {
    int32_t first, last;
    StepFunction code;
  };
  // How many steps of the list are written.
  int32_t steps() const {
    int32_t n = 0;
    for (const Run& run : runs) n += run.last - run.first;
    return n;
  }

  const CodePlaces places;
  std::vector<Run> runs;  // of steps of the list that are written, in order
  StepFunction broken;    // not 0 where some gradient is not finite
  StepFunction update;    // of all factors

 private:
  Assembler assembler() const { return Assembler(program_.dtype == Dtype::f64); }

  // The run of written steps that begins at `first`; where it ends.
  int32_t write(int32_t first) {
    Assembler out = assembler();
    int32_t last = first;
    while (last < program_.n_steps && written(out, program_.steps[last])) ++last;
    if (last == first) return last;
    if (StepFunction code(out); code) runs.push_back({first, last, std::move(code)});
    return last;
  }

  template <class Code>
  static bool written(Code code) {
    if (!code.fits()) return false;
    code.write();
    return true;
  }
  bool written(Assembler& out, const Step& step) const {
    const Loop* pool = program_.loops;
    switch (step.op) {
      case Op::contract: return written(ContractCode(out, step, pool, places.room));
      case Op::fill: return written(FillCode(out, step, pool));
      case Op::loss: return written(LossCode(out, step, *fit_.call.target, places.values, places.loss));
      case Op::sampled_dot:
      case Op::sampled_axpy:
        if (fit_.batches && fit_.batches->entries) return false;  // other places in every step
        return fit_.call.entries->wide ? sampled<int64_t>(out, step) : sampled<int32_t>(out, step);
      default: return false;
    }
  }
  template <class Index>
  bool sampled(Assembler& out, const Step& step) const {
    const Loop* pool = program_.loops;
    const Entries& entries = *fit_.call.entries;
    if (step.op == Op::sampled_axpy) return written(SampledRowsCode<Index>(out, step, pool, entries));
    if (step.k.count) return written(SampledDotsCode<Index>(out, step, pool, entries));
    return written(SampledNumbersCode<Index>(out, step, pool, entries));
  }

  const Program& program_;
  const FitCall& fit_;
};

}  // namespace irk
