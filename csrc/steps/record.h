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

// The first n numbers of the list.
template <class V>
IRK_FN inline void count(const Number* list, int n, const State<V>& state, V* value) {
  const V one = number<V>(1), zero = number<V>(0);
  for (int i = 0; i < n; ++i) {
    const Number& x = list[i];
    switch (x.word) {
      case Word::loss: value[i] = state.loss; break;
      case Word::watched: value[i] = state.watched[x.a]; break;
      case Word::determinant: value[i] = state.determinant; break;
      case Word::constant: value[i] = number<V>(x.constant); break;
      case Word::add: value[i] = value[x.a] + value[x.b]; break;
      case Word::subtract: value[i] = value[x.a] - value[x.b]; break;
      case Word::multiply: value[i] = value[x.a] * value[x.b]; break;
      case Word::divide: value[i] = value[x.a] / value[x.b]; break;
      case Word::absolute: value[i] = magnitude(value[x.a]); break;
      case Word::root: value[i] = root(value[x.a]); break;
      case Word::power:
        value[i] = value[x.a];
        for (int k = 1; k < x.b; ++k) value[i] = value[i] * value[x.a];
        break;
      case Word::less: value[i] = choose(less(value[x.a], value[x.b]), one, zero); break;
      case Word::at_most: value[i] = choose(less_equal(value[x.a], value[x.b]), one, zero); break;
      case Word::choose: value[i] = choose(unlike(value[x.b], zero), value[x.a], number<V>(x.constant)); break;
    }
  }
}

// The extreme so far and one more value; a NaN stays.
template <class V>
IRK_FN inline V extreme(Keep keep, V so_far, V x) {
  const auto better = keep == Keep::least ? less(x, so_far) : less(so_far, x);
  return choose(better | unlike(x, x), x, so_far);
}

// Brings `now` up to date at `trial` (and the lanes after it): extremes always, values where they are due.
// value: room for kNumbers
template <class V>
IRK_FN inline void note(const Records& records, const State<V>& state, int64_t trial, int64_t trials, int lanes, bool due, V* value) {
  count(records.numbers, due ? records.n_numbers : records.n_each_step, state, value);
  auto* now = static_cast<ScalarOf<V>*>(records.now) + trial;
  for (int p = 0; p < records.n_probes; ++p, now += trials) {
    const Probe& probe = records.probes[p];
    if (probe.keep == Keep::value && !due) continue;
    const V x = value[probe.number];
    store_number<V>(now, probe.keep == Keep::value ? x : extreme(probe.keep, load_number<V>(now, lanes), x), lanes);
  }
}

// The row of a call that a recorded step fills; the call begins at step `first`.
IRK_FN inline int64_t row_of(const Records& records, int64_t first, int64_t step) {
  return step / records.every - (first + records.every - 1) / records.every;
}

// What `now` holds of a trial into its rows from `row` to before `last`.
template <class T>
IRK_FN inline void write_rows(const Records& records, int64_t row, int64_t last, int64_t trial, int64_t trials) {
  for (int64_t p = 0; p < records.n_probes; ++p) {
    const T now = static_cast<const T*>(records.now)[p * trials + trial];
    T* rows = static_cast<T*>(records.rows) + (p * trials + trial) * records.n_rows;
    for (int64_t r = row; r < last; ++r) rows[r] = now;
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
