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
inline LossTerm<T> loss_term(Loss kind, T r, T delta) {
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

// One pass over the team: cotangents before the division, and sums of terms and weights per block of kReduction.
template <class T>
void loss_step(const Step& step, const T* prediction, T* cotangent, T* sums, const Target& target, int64_t trial, const Team& team) {
  const T* value = static_cast<const T*>(target.values) + trial * target.values_stride;
  const T* weight = target.weights ? static_cast<const T*>(target.weights) + trial * target.weights_stride : nullptr;
  const T delta = T(target.delta);
  const int64_t blocks = (step.count + kReduction - 1) / kReduction;
  for (int64_t block = team.begin(blocks); block < team.end(blocks); ++block) {
    T terms[kReduction], weights[kReduction], ones[kReduction];
    const int64_t first = block * kReduction, n = std::min(kReduction, step.count - first);
    for (int64_t i = 0; i < n; ++i) {
      const T w = weight ? weight[first + i] : T(1);
      LossTerm<T> term = loss_term(target.kind, prediction[first + i] - value[first + i], delta);
      if (w == 0) term = {T(0), T(0)};  // not observed in this trial: a NaN there must not count
      terms[i] = term.value;
      weights[i] = w;
      ones[i] = T(1);
      cotangent[first + i] = w * term.slope;
    }
    sums[2 * block] = dot_block(terms, weights, n);
    sums[2 * block + 1] = weight ? dot_block(weights, ones, n) : T(n);
  }
  team.sync();
  TreeSum<T> loss, weight_sum;
  for (int64_t block = 0; block < blocks; ++block) {
    loss.push(sums[2 * block]);
    weight_sum.push(sums[2 * block + 1]);
  }
  const T divisor = target.kind == Loss::half_sse ? T(1) : weight ? weight_sum.total() : T(step.count);
  for (int64_t i = team.begin(step.count); i < team.end(step.count); ++i) cotangent[i] = cotangent[i] / divisor;
  if (team.rank == 0) static_cast<T*>(target.loss)[trial] = loss.total() / divisor;
}

}  // namespace irk
