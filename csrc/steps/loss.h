// Losses over observed entries: r = prediction - value, w its weight (1 without weights).
//   mse: sum w r^2 / sum w    half_sse: sum w r^2 / 2    l1: sum w |r| / sum w    huber: sum w h(r) / sum w
// The prediction becomes the cotangent dL/dprediction in place. Reference: irkernels/reference/losses.py
#pragma once
#include <cmath>

#include "steps/dot.h"

namespace irk {

template <class T>
struct LossTerm {
  T value, slope;  // mse: half the slope, its 2 joins the division
};

IRK_FN inline float absolute(float r) { return std::fabs(r); }
IRK_FN inline double absolute(double r) { return std::fabs(r); }
IRK_FN inline float with_sign(float size, float r) { return std::copysign(size, r); }
IRK_FN inline double with_sign(double size, double r) { return std::copysign(size, r); }
template <class T>
IRK_FN inline T sign_of(T r) { return r > 0 ? T(1) : r < 0 ? T(-1) : r; }  // NaN stays
template <class T>
IRK_FN inline T smaller(T a, T b) { return b < a ? b : a; }  // NaN stays in a
// A term of weight 0 is not observed in this trial: a NaN there must not count.
template <class T>
IRK_FN inline T counted(T weight, T term) { return weight == 0 ? T(0) : term; }
// A sum of weights, 1 where a mini-batch has nothing of what a trial observes: its loss and cotangents are 0.
template <class T>
IRK_FN inline T some(T weights) { return weights == 0 ? T(1) : weights; }

template <class T>
IRK_FN inline LossTerm<T> loss_term(Loss kind, T r, T delta) {
  switch (kind) {
    case Loss::mse: return {r * r, r};
    case Loss::half_sse: return {r * r * T(0.5), r};
    case Loss::l1: return {absolute(r), sign_of(r)};
    default: break;
  }
  const T size = absolute(r), cut = smaller(size, delta);
  return {cut * (size - cut * T(0.5)), with_sign(cut, r)};
}

// Entries of one trial; pointers to its own values.
template <class T>
struct Residuals {
  const T *prediction, *value, *weight;  // weight: null is 1 everywhere
  T* cotangent;
  T delta;

  // Cotangents of n <= kPartials entries from the i-th on, and what they add to the sums of terms and weights.
  template <Loss kLoss>
  void add(int64_t i, int n, Partials<T>& sum, Partials<T>& weight_sum) const {
    // by way of arrays of its own: prediction and cotangent may be one array, which compilers dare not read in vectors
    T r[kPartials], terms[kPartials], slopes[kPartials], weights[kPartials], ones[kPartials];
    for (int j = 0; j < n; ++j) r[j] = prediction[i + j] - value[i + j];
    for (int j = 0; j < n; ++j) weights[j] = ones[j] = T(1);
    for (int j = 0; weight && j < n; ++j) weights[j] = weight[i + j];
    for (int j = 0; j < n; ++j) {
      const LossTerm<T> term = loss_term(kLoss, r[j], delta);
      terms[j] = counted(weights[j], term.value);
      slopes[j] = weights[j] * counted(weights[j], term.slope);
    }
    for (int j = 0; j < n; ++j) cotangent[i + j] = slopes[j];
    if (n == kPartials) sum.add(terms, weights);
    else sum.add(terms, weights, n);
    if (weight) weight_sum.add(weights, ones, n);
  }

  // The same of one entry, where a pack is one number.
  template <Loss kLoss>
  IRK_FN void add_one(int64_t i, T& sum, T& weight_sum) const {
    const T own = weight ? weight[i] : T(1);
    const LossTerm<T> term = loss_term(kLoss, prediction[i] - value[i], delta);
    cotangent[i] = own * counted(own, term.slope);
    sum = fma(counted(own, term.value), own, sum);
    if (weight) weight_sum = fma(own, T(1), weight_sum);
  }
};

// Sums of terms and of weights.
template <class T>
struct LossSums {
  T terms{}, weights{};
  IRK_FN LossSums operator+(const LossSums& o) const { return {terms + o.terms, weights + o.weights}; }
};

// The sums of a part of the entries from `first` to before `last`, and their cotangents.
template <Loss kLoss, class T>
IRK_FN LossSums<T> loss_sums(const Residuals<T>& entries, int64_t first, int64_t last, int part) {
  if constexpr (Pack<T>::kLanes == 1) {
    return turn_sum<LossSums<T>>(part, last - first, [&](int64_t i, LossSums<T>& sums) {
      entries.template add_one<kLoss>(first + i, sums.terms, sums.weights);
    });
  } else {
    Partials<T> sum, weight_sum;
    int64_t i = first;
    for (; i + kPartials <= last; i += kPartials) entries.template add<kLoss>(i, kPartials, sum, weight_sum);
    if (i < last) entries.template add<kLoss>(i, int(last - i), sum, weight_sum);
    return {halve_lanes(sum.halved()), entries.weight ? halve_lanes(weight_sum.halved()) : T(0)};
  }
}

// How many sums there are, of which each `stride`-th is a branch by now.
template <class T>
IRK_FN inline int64_t loss_parts(const Step& step, int64_t stride = 1) {
  const int64_t parts = reduction_blocks(step.count) * kBlockParts<T>;
  return (parts + stride - 1) / stride;
}

// First phase: cotangents before the division, and sums of terms and weights per part of a block of kReduction.
template <Loss kLoss, class T>
IRK_FN void loss_blocks(const Step& step, const Residuals<T>& entries, T* sums, const Team& team) {
  for (int64_t i = team.begin(loss_parts<T>(step)); i < team.end(loss_parts<T>(step)); ++i) {
    const int64_t first = i / kBlockParts<T> * kReduction, last = least(step.count, first + kReduction);
    const LossSums<T> found = loss_sums<kLoss>(entries, first, last, int(i % kBlockParts<T>));
    sums[2 * i] = found.terms;
    sums[2 * i + 1] = found.weights;
  }
}

template <class T>
IRK_FN void loss_terms(const Step& step, const T* prediction, T* cotangent, T* sums, const Target& target,
                       int64_t trial, const Team& team) {
  const T* value = static_cast<const T*>(target.values) + trial * target.values_stride;
  const T* weight = target.weights ? static_cast<const T*>(target.weights) + trial * target.weights_stride : nullptr;
  const Residuals<T> entries{prediction, value, weight, cotangent, T(target.delta)};
  switch (target.kind) {
    case Loss::mse: return loss_blocks<Loss::mse>(step, entries, sums, team);
    case Loss::half_sse: return loss_blocks<Loss::half_sse>(step, entries, sums, team);
    case Loss::l1: return loss_blocks<Loss::l1>(step, entries, sums, team);
    case Loss::huber: return loss_blocks<Loss::huber>(step, entries, sums, team);
  }
}

// Sums that one member adds up where a pack is one number: what is more is gathered first, as the branches of one tree.
constexpr int64_t kGathered = 64;
constexpr int kGatheredLevels = 7;

// Whether these are too many for one member.
template <class T>
IRK_FN inline bool gathers(const Step& step, int64_t stride) {
  return Pack<T>::kLanes == 1 && loss_parts<T>(step, stride) > kGathered;
}

// Between the phases, for stride = 1, kGathered, ... while it gathers(): branches, each in the place of its first sum.
template <class T>
IRK_FN void loss_gather(const Step& step, T* sums, int64_t stride, const Team& team) {
  const int64_t parts = loss_parts<T>(step, stride), branches = (parts + kGathered - 1) / kGathered;
  for (int64_t i = team.begin(branches); i < team.end(branches); ++i) {
    TreeSum<LossSums<T>, kGatheredLevels> branch;
    IRK_ROLLED
    for (int64_t j = i * kGathered; j < least(parts, (i + 1) * kGathered); ++j)
      branch.push({sums[2 * j * stride], sums[2 * j * stride + 1]});
    const LossSums<T> total = branch.total();
    sums[2 * i * kGathered * stride] = total.terms;
    sums[2 * i * kGathered * stride + 1] = total.weights;
  }
}

// Last phase, once all terms are there: the loss, and cotangents, over the sum of weights.
template <class T>
IRK_FN void loss_divide(const Step& step, T* cotangent, const T* sums, const Target& target, int64_t trial,
                        const Team& team) {
  int64_t stride = 1;
  while (gathers<T>(step, stride)) stride *= kGathered;
  const auto total = [&](int which) {
    TreeSum<T, Pack<T>::kLanes == 1 ? kGatheredLevels : kTreeLevels<T>> sum;
    IRK_ROLLED
    for (int64_t i = 0; i < loss_parts<T>(step, stride); ++i) sum.push(sums[2 * i * stride + which]);
    return sum.total();
  };
  const T divisor = target.kind == Loss::half_sse ? T(1) : target.weights ? some(total(1)) : T(step.count);
  const T share = T(1) / divisor, slope = target.kind == Loss::mse ? T(2) * share : share;
  for (int64_t i = team.begin(step.count); i < team.end(step.count); ++i) cotangent[i] = cotangent[i] * slope;
  if (team.rank == 0) static_cast<T*>(target.loss)[trial] = total(0) * share;
}

}  // namespace irk
