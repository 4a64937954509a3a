// The numbers noted of one step, written against a number type V: a scalar, or a pack with one trial a lane.
// Reference: irkernels/reference/recording.py
#pragma once
#include "plan/records.h"
#include "steps/determinant.h"

namespace irk {

// A trial (or a lane's worth of them) at one step, before its update.
template <class V>
struct State {
  V loss;
  const V* watched;  // [watched entries]
  V determinant;
};

template <class V>
IRK_FN inline V formula(const Token* token, int count, const State<V>& state) {
  const V one = number<V>(1), zero = number<V>(0);
  V stack[kFormulaDepth];
  V* top = stack;  // one past the last
  for (const Token* end = token + count; token < end; ++token) {
    switch (token->word) {
      case Word::loss: *top++ = state.loss; break;
      case Word::watched: *top++ = state.watched[token->index]; break;
      case Word::determinant: *top++ = state.determinant; break;
      case Word::constant: *top++ = number<V>(token->constant); break;
      case Word::add: --top; top[-1] = top[-1] + top[0]; break;
      case Word::subtract: --top; top[-1] = top[-1] - top[0]; break;
      case Word::multiply: --top; top[-1] = top[-1] * top[0]; break;
      case Word::divide: --top; top[-1] = top[-1] / top[0]; break;
      case Word::absolute: top[-1] = magnitude(top[-1]); break;
      case Word::root: top[-1] = root(top[-1]); break;
      case Word::power: {
        const V base = top[-1];
        for (int n = 1; n < token->index; ++n) top[-1] = top[-1] * base;
        break;
      }
      case Word::less: --top; top[-1] = choose(less(top[-1], top[0]), one, zero); break;
      case Word::at_most: --top; top[-1] = choose(less_equal(top[-1], top[0]), one, zero); break;
      case Word::choose: top -= 2; top[-1] = choose(unlike(top[0], zero), top[-1], top[1]); break;
    }
  }
  return stack[0];
}

// The extreme so far and one more value; a NaN stays.
template <class V>
IRK_FN inline V extreme(Keep keep, V so_far, V x) {
  const auto better = keep == Keep::least ? less(x, so_far) : less(so_far, x);
  return choose(unlike(x, x), x, choose(better, x, so_far));
}

// Brings `now` up to date at `trial` (and the lanes after it): extremes always, values where they are due.
template <class V>
IRK_FN inline void note(const Records& records, const State<V>& state, int64_t trial, int64_t trials, int lanes, bool due) {
  auto* now = static_cast<ScalarOf<V>*>(records.now) + trial;
  for (int p = 0; p < records.n_probes; ++p, now += trials) {
    const Probe& probe = records.probes[p];
    if (probe.keep == Keep::value && !due) continue;
    const V x = formula(records.tokens + probe.first, probe.count, state);
    store_number<V>(now, probe.keep == Keep::value ? x : extreme(probe.keep, load_number<V>(now, lanes), x), lanes);
  }
}

// The row of a call that a recorded step fills; the call begins at step `first`.
IRK_FN inline int64_t row_of(const Records& records, int64_t first, int64_t step) {
  return step / records.every - (first + records.every - 1) / records.every;
}

// `now` into the rows from `row` to before `last`.
template <class V>
IRK_FN inline void write_rows(const Records& records, int64_t row, int64_t last, int64_t trial, int64_t trials, int lanes) {
  using T = ScalarOf<V>;
  for (; row < last; ++row)
    for (int p = 0; p < records.n_probes; ++p) {
      const T* now = static_cast<const T*>(records.now) + p * trials + trial;
      store_number<V>(static_cast<T*>(records.rows) + (row * records.n_probes + p) * trials + trial, load_number<V>(now, lanes), lanes);
    }
}

// Whether a trial whose loss is known at `step` stops there.
template <class T>
IRK_FN inline Verdict judge(const Limits& limits, int64_t step, T loss, int64_t& streak) {
  if (step % limits.every || step <= limits.checked) return Verdict::none;
  streak = loss < T(limits.below) ? streak + 1 : 0;
  if (streak >= limits.patience) return Verdict::converged;
  return loss > T(limits.above) ? Verdict::diverged : Verdict::none;
}

}  // namespace irk
