// The buffers of one trial, and one step of the list applied to them.
#pragma once
#include "fast/contract.h"
#include "fast/sampled_axpy.h"
#include "fast/sampled_dot.h"
#include "fast/transpose.h"
#include "run/buffers.h"
#include "steps/convert.h"
#include "steps/exponent.h"
#include "steps/loss.h"

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
        if (TransposeStep<T>::fits(step, pool)) return TransposeStep<T>(step, pool, at(step.a), at(step.b), at(step.c)).run(team);
        return ContractStep<T>(step, pool, at(step.a), at(step.b), at(step.c)).run(team);
      case Op::dot: return dot_step<T>(step, pool, at(step.a), at(step.b), at(step.c), team);
      case Op::fill: return fill(step, team);
      case Op::sampled_dot:
      case Op::sampled_axpy: return entries->wide ? sampled<int64_t>(step, team) : sampled<int32_t>(step, team);
      case Op::loss:
        loss_terms<T>(step, at(step.a), at(step.c), at(step.b), *target, trial, team);
        team.sync();
        return loss_divide<T>(step, at(step.c), at(step.b), *target, trial, team);
      case Op::widen:
      case Op::narrow: return convert(step, team);
      case Op::rows_value:
      case Op::rows_pull: return entries->wide ? gathered<int64_t>(step, team) : gathered<int32_t>(step, team);
      case Op::exponents: return exponents_step<T>(step, pool, at(step.a), at(step.b), at(step.c), team);
      case Op::normalize: return normalize_step<T>(step, pool, at(step.b), at(step.c), team);
      case Op::level: return level_step<T>(step, pool, at(step.b), at(step.c), team);
      case Op::scale: return scale_step<T>(step, pool, at(step.a), at(step.b), at(step.c), team);
    }
  }

 private:
  void fill(const Step& step, const Team& team) const {
    if (overwritten(step, entries)) return;
    if (holds_half(program, step.c.buffer)) fill_step(step, program.loops, half<uint16_t>(step.c), team);
    else fill_step(step, program.loops, at(step.c), team);
  }
  template <class Index>
  void sampled(const Step& step, const Team& team) const {
    const T *a = at(step.a), *b = at(step.b);
    T* c = at(step.c);
    if (step.op == Op::sampled_dot) return SampledDot<T, Index>(step, program.loops, a, b, c, *entries).run(team);
    const Order& order = entries->orders[step.order];
    if (!SampledAxpy<T, Index>::fits(step, program.loops))
      return sampled_axpy_step<T, Index>(step, program.loops, a, b, c, order, entries->nnz, team);
    SampledAxpy<T, Index>(step, program.loops, a, b, c, order, entries->nnz).run(team);
  }
  template <class Index>
  void gathered(const Step& step, const Team& team) const;  // run/gathered.h
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
  int64_t bytes(int buffer) const { return holds_half(program, buffer) ? kHalfBytes : int64_t(sizeof(T)); }
};

}  // namespace irk

#include "run/gathered.h"
