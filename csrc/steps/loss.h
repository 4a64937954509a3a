// Losses over observed entries: r = prediction - value, w its weight (1 without weights).
//   mse: sum w r^2 / sum w    half_sse: sum w r^2 / 2    l1: sum w |r| / sum w    huber: sum w h(r) / sum w
// The prediction becomes the cotangent dL/dprediction in place. Reference: irkernels/reference/losses.py
#pragma once
#include "steps/dot.h"

namespace irk {

template <class T>
struct LossTerm {
  T value, slope;
};

template <class T>
IRK_FN inline LossTerm<T> loss_term(Loss kind, T r, T delta) {
  const T size = r < 0 ? -r : r;
  const T sign = r > 0 ? T(1) : r < 0 ? T(-1) : r;  // NaN stays
  switch (kind) {
    case Loss::mse: return {r * r, 2 * r};
    case Loss::half_sse: return {r * r * T(0.5), r};
    case Loss::l1: return {size, sign};
    default: break;
  }
  if (size <= delta) return {r * r * T(0.5), r};
  return {delta * (size - delta * T(0.5)), delta * sign};
}

// First phase: cotangents before the division, and sums of terms and weights per block of kReduction.
template <class T>
IRK_FN void loss_terms(const Step& step, const T* prediction, T* cotangent, T* sums, const Target& target, int64_t trial,
                       const Team& team) {
  const T* value = static_cast<const T*>(target.values) + trial * target.values_stride;
  const T* weight = target.weights ? static_cast<const T*>(target.weights) + trial * target.weights_stride : nullptr;
  const T delta = T(target.delta);
  const int64_t blocks = reduction_blocks(step.count);
  for (int64_t block = team.begin(blocks); block < team.end(blocks); ++block) {
    const int64_t first = block * kReduction, last = least(step.count, first + kReduction);
    Partials<T> sum, weight_sum;
    for (int64_t i = first; i < last; i += kPartials) {
      T terms[kPartials], weights[kPartials], ones[kPartials];
      const int n = int(least<int64_t>(kPartials, last - i));
      for (int j = 0; j < n; ++j) {
        const T w = weight ? weight[i + j] : T(1);
        LossTerm<T> term = loss_term(target.kind, prediction[i + j] - value[i + j], delta);
        if (w == 0) term = {T(0), T(0)};  // not observed in this trial: a NaN there must not count
        terms[j] = term.value;
        weights[j] = w;
        ones[j] = T(1);
        cotangent[i + j] = w * term.slope;
      }
      sum.add(terms, weights, n);
      if (weight) weight_sum.add(weights, ones, n);
    }
    sums[2 * block] = halve_lanes(sum.halved());
    sums[2 * block + 1] = weight ? halve_lanes(weight_sum.halved()) : T(last - first);
  }
}

// Second phase, once all terms are there: the loss, and cotangents divided by the sum of weights.
template <class T>
IRK_FN void loss_divide(const Step& step, T* cotangent, const T* sums, const Target& target, int64_t trial, const Team& team) {
  TreeSum<T> loss, weight_sum;
  for (int64_t block = 0; block < reduction_blocks(step.count); ++block) {
    loss.push(sums[2 * block]);
    weight_sum.push(sums[2 * block + 1]);
  }
  const T weights = weight_sum.total();  // 0 where a mini-batch has nothing of what a trial observes: loss and cotangents are 0
  const T divisor = target.kind == Loss::half_sse || weights == 0 ? T(1) : target.weights ? weights : T(step.count);
  for (int64_t i = team.begin(step.count); i < team.end(step.count); ++i) cotangent[i] = cotangent[i] / divisor;
  if (team.rank == 0) static_cast<T*>(target.loss)[trial] = loss.total() / divisor;
}

}  // namespace irk
