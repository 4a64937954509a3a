// The small steps of a training program as machine code, a function for each run of them: made once for a fit, shared by
// its trials. What is not written is interpreted; the bits are the same.
#pragma once
#include "fast/contract_code.h"
#include "fast/executable.h"
#include "fast/loss_code.h"
#include "fast/numbers_code.h"
#include "plan/fit_program.h"
#include "run/buffers.h"

namespace irk {

class StepCode {
 public:
  static constexpr int64_t kFewest = 200;  // steps of a fit that make up for the writing

  // What a trial's list of addresses holds behind those of the buffers.
  struct Places {
    int32_t values, loss, room, count;
    explicit Places(const Program& program)
        : values(kOperands + 2 * program.n_operands), loss(values + 1), room(loss + 1), count(room + 1) {}
  };

  // Empty where machine code is not to be had, or not worth the while.
  StepCode(const Program& program, const FitCall& fit) : program_(program), fit_(fit), places_(program) {
    const bool computed = program.dtype == Dtype::f32 || program.dtype == Dtype::f64;
    if (!computed || fit.steps < kFewest || !Executable::possible()) return;
    for (int32_t s = 0, next; s < program.n_steps; s = std::max(next, s + 1)) next = write(s);
  }

  // A run of steps that is written.
  struct Run {
    int32_t first, last;
    Executable code;

    void operator()(char** addresses) const { code.as<void(char**)>()(addresses); }
  };
  const std::vector<Run>& runs() const { return runs_; }

 private:
  // The run of written steps that begins at `first`; where it ends.
  int32_t write(int32_t first) {
    Assembler out(program_.dtype == Dtype::f64);
    int32_t last = first;
    while (last < program_.n_steps && written(out, program_.steps[last])) ++last;
    if (last == first) return last;
    out.leave();
    Executable code(out.finished());
    if (code) runs_.push_back({first, last, std::move(code)});
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
      case Op::contract: return written(ContractCode(out, step, pool, places_.room));
      case Op::fill: return written(FillCode(out, step, pool));
      case Op::loss: return written(LossCode(out, step, *fit_.call.target, places_.values, places_.loss));
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
    if (step.op == Op::sampled_dot) return written(SampledNumbersCode<Index>(out, step, pool, entries));
    return written(SampledRowsCode<Index>(out, step, pool, entries));
  }

  const Program& program_;
  const FitCall& fit_;
  const Places places_;
  std::vector<Run> runs_;
};

}  // namespace irk
