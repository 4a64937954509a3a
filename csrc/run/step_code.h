// The small steps of a training program as machine code, a function for each run of them, and what becomes of the
// gradients: made once for a fit, shared by its trials, or by each member of a team for its share of every step. What is
// not written is interpreted; the bits and the shares are the same.
#pragma once
#include <new>

#include "fast/contract_code.h"
#include "fast/dots_code.h"
#include "fast/executable.h"
#include "fast/loss_code.h"
#include "fast/numbers_code.h"
#include "fast/rows_code.h"
#include "fast/transpose_code.h"
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

class StepCode {
 public:
  static constexpr int64_t kFewest = 200;  // steps of a fit that make up for the writing

  // Without any function where machine code is not to be had or not worth the while, or for want of memory.  team: the share
  // of its member is written
  StepCode(const Program& program, const FitCall& fit, const Team& team)
      : places(program, fit), program_(program), fit_(fit), team_(team), out_(program.dtype == Dtype::f64) {
    const bool computed = program.dtype == Dtype::f32 || program.dtype == Dtype::f64;
    if (!computed || fit.steps < kFewest || !Executable::possible()) return;
    try {
      write();
    } catch (const std::bad_alloc&) {  // members make theirs in threads, which nothing may leave by an exception
    }
    if (!code_) runs.clear(), broken = update = kNone;
  }

  using Entry = int64_t;  // where a function begins
  static constexpr Entry kNone = -1;
  struct Run {
    int32_t first, last;
    Entry code;
  };
  // How many steps of the list are written.
  int32_t steps() const {
    int32_t n = 0;
    for (const Run& run : runs) n += run.last - run.first;
    return n;
  }

  const CodePlaces places;
  std::vector<Run> runs;  // of steps of the list that are written, in order
  Entry broken = kNone;   // not 0 where some gradient is not finite
  Entry update = kNone;   // of all factors

  // Of a trial, on its list of addresses.
  int64_t operator()(Entry function, char** addresses) const { return code_.at<int64_t(char**)>(function)(addresses); }

 private:
  void write() {
    for (int32_t s = 0; s < program_.n_steps; s = std::max(write_run(s), s + 1));
    broken = function([&] { return written(FiniteCode(out_, fit_, team_)); });
    update = function([&] { return written(UpdateCode(out_, fit_, places.factors, places.coefficients, team_)); });
    if (out_.sound()) code_ = Executable(out_.finished());
  }

  // What `write` adds to the code as a function, unless it adds nothing.
  template <class Write>
  Entry function(Write write) {
    out_.align();
    const Entry begin = Entry(out_.size());
    if (!write()) return kNone;
    out_.leave();
    return begin;
  }

  // The run of written steps that begins at `first`; where it ends, a team's before it must wait again.
  int32_t write_run(int32_t first) {
    int32_t last = first;
    const Entry code = function([&] {
      while (last < program_.n_steps && !(last > first && waits(last)) && written(program_.steps[last])) ++last;
      return last > first;
    });
    if (code != kNone) runs.push_back({first, last, code});
    return last;
  }

  bool drawn() const { return fit_.batches && fit_.batches->entries; }  // other entries in every step
  bool waits(int32_t step) const { return team_.size > 1 && program_.steps[step].fence; }

  template <class Code>
  static bool written(Code code) {
    if (!code.fits()) return false;
    code.write();
    return true;
  }
  bool written(const Step& step) {
    const Loop* pool = program_.loops;
    const bool sampled_step = step.op == Op::sampled_dot || step.op == Op::sampled_axpy;
    if (step.op == Op::fill && !drawn() && overwritten(step, fit_.call.entries)) return true;
    if (team_.size > 1 && !sampled_step) return false;  // how members share the others is not written
    switch (step.op) {
      case Op::contract:
        return written(TransposeCode(out_, step, pool)) || written(ContractCode(out_, step, pool, places.room));
      case Op::fill: return written(FillCode(out_, step, pool));
      case Op::loss: return written(LossCode(out_, step, *fit_.call.target, places.values, places.loss));
      case Op::sampled_dot:
      case Op::sampled_axpy:
        if (drawn()) return false;
        return fit_.call.entries->wide ? sampled<int64_t>(step) : sampled<int32_t>(step);
      default: return false;
    }
  }
  template <class Index>
  bool sampled(const Step& step) {
    const Loop* pool = program_.loops;
    const Entries& entries = *fit_.call.entries;
    if (step.op == Op::sampled_axpy) return written(SampledRowsCode<Index>(out_, step, pool, entries, team_));
    if (step.k.count) return written(SampledDotsCode<Index>(out_, step, pool, entries, team_));
    return team_.size == 1 && written(SampledNumbersCode<Index>(out_, step, pool, entries));
  }

  const Program& program_;
  const FitCall& fit_;
  const Team team_;
  Assembler out_;
  Executable code_;
};

}  // namespace irk
