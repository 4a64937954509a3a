// The buffers of one trial, and one step of the list applied to them.
#pragma once
#include "fast/contract.h"
#include "fast/transpose.h"
#include "plan/program.h"
#include "steps/convert.h"
#include "steps/loss.h"
#include "steps/sampled.h"

namespace irk {

constexpr int64_t kHalfBytes = 2;

template <class T>
struct Frame {
  const Program& program;
  const Entries* entries;
  const Target* target;
  char** base;  // [buffers], at this trial
  int64_t trial;

  T* at(Ref ref) const { return reinterpret_cast<T*>(base[ref.buffer]) + ref.offset; }
  template <class Half>
  Half* half(Ref ref) const { return reinterpret_cast<Half*>(base[ref.buffer]) + ref.offset; }

  void run(const Step& step, const Team& team) const {
    const Loop* pool = program.loops;
    switch (step.op) {
      case Op::contract:
        if (TransposeStep<T>::fits(step, pool)) return TransposeStep<T>(step, pool, at(step.b), at(step.c)).run(team);
        return ContractStep<T>(step, pool, at(step.a), at(step.b), at(step.c)).run(team);
      case Op::dot: return dot_step<T>(step, pool, at(step.a), at(step.b), at(step.c), team);
      case Op::fill: return fill(step, team);
      case Op::sampled_dot:
        return entries->wide ? sampled_dot_step<T, int64_t>(step, pool, at(step.a), at(step.b), at(step.c), *entries, team)
                             : sampled_dot_step<T, int32_t>(step, pool, at(step.a), at(step.b), at(step.c), *entries, team);
      case Op::sampled_axpy:
        return entries->wide ? SampledAxpy<T, int64_t>(step, pool, at(step.a), at(step.b), at(step.c), *entries).run(team)
                             : SampledAxpy<T, int32_t>(step, pool, at(step.a), at(step.b), at(step.c), *entries).run(team);
      case Op::loss: return loss_step<T>(step, at(step.a), at(step.c), at(step.b), *target, trial, team);
      case Op::widen:
      case Op::narrow: return convert(step, team);
    }
  }

 private:
  bool holds_half(int buffer) const {
    return (program.dtype == Dtype::bf16 || program.dtype == Dtype::f16) &&
           (buffer >= kOperands || (!program.sampled && (buffer == kOutput || buffer == kCotangent)));
  }
  void fill(const Step& step, const Team& team) const {
    if (holds_half(step.c.buffer)) fill_step(step, program.loops, half<uint16_t>(step.c), team);
    else fill_step(step, program.loops, at(step.c), team);
  }
  void convert(const Step& step, const Team& team) const {
    if constexpr (sizeof(T) == 4) {
      const bool brain = program.dtype == Dtype::bf16;
      if (step.op == Op::widen && brain) widen_step(step, program.loops, half<Bfloat16>(step.a), at(step.c), team);
      else if (step.op == Op::widen) widen_step(step, program.loops, half<Float16>(step.a), at(step.c), team);
      else if (brain) narrow_step(step, program.loops, at(step.a), half<Bfloat16>(step.c), team);
      else narrow_step(step, program.loops, at(step.a), half<Float16>(step.c), team);
    }
  }

 public:
  int64_t bytes(int buffer) const { return holds_half(buffer) ? kHalfBytes : int64_t(sizeof(T)); }
};

}  // namespace irk
