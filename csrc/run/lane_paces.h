// The update's coefficients for a pack of trials: each lane's own, or one pace for all where they would be equal.
#pragma once
#include <algorithm>
#include <vector>

#include "plan/tape.h"
#include "steps/gradients.h"
#include "steps/pace.h"

namespace irk {

template <class T, int W>
class LanePaces {
 public:
  // x: [numbers, W], where gradients are read and coefficients written
  LanePaces(const Tape& tape, const FitCall& fit, int64_t trials, T* x)
      : tape_(tape), fit_(fit), trials_(trials), x_(x), paces_(size_t(W * fit.rule.groups)) {
    for (size_t i = 0; i < tape.leaves.size(); ++i)
      if (tape.leaves[i].kind == LeafKind::coefficient) coefficients_.push_back(int32_t(i));
    int64_t blocks = 0;
    for (int f = 0; wants_norm(fit.rule) && f < fit.n_factors; ++f) blocks += reduction_blocks(fit.factors[f].elements);
    squares_.resize(size_t(blocks * W));
  }

  // Once the trials and steps of the live lanes are known, and again when some of them are gone.
  void begin(const int64_t* trial, const bool* live) {
    first_ = int(std::find(live, live + W, true) - live);
    alike_ = !wants_norm(fit_.rule);
    for (int lane = 0; lane < W; ++lane) alike_ = alike_ && (!live[lane] || equal(trial[lane], trial[first_]));
    for (int lane = 0; lane < W; ++lane)
      for (int32_t g = 0; live[lane] && g < fit_.rule.groups; ++g)
        pace(lane, g).begin(fit_.rule, g, trial[lane], trials_);
  }

  // On to the next update of every live lane.
  void next(const int64_t* trial, const bool* live) {
    const Rule& rule = fit_.rule;
    if (wants_norm(rule)) measure(live);
    for (int lane = first_; lane < (alike_ ? first_ + 1 : W); ++lane) {
      double scale = rule.maximize ? -1 : 1;
      if (live[lane] && rule.clip) scale *= clip_scale(rule.clip[trial[lane]], square(lane, -1));
      for (int32_t g = 0; live[lane] && g < rule.groups; ++g)
        pace(lane, g).next(rule.kind, scale, rule.kind == RuleKind::group_rmsprop ? square(lane, g) : 0);
    }
    for (int lane = first_ + 1; alike_ && lane < W; ++lane)
      for (int32_t g = 0; live[lane] && g < rule.groups; ++g) ++rule.step[g * trials_ + trial[lane]];
    for (const int32_t number : coefficients_) {
      const Leaf& leaf = tape_.leaves[size_t(number)];
      for (int lane = 0; lane < W; ++lane)
        at(number, lane) = T(coefficient(alike_ || !live[lane] ? first_ : lane, leaf));
    }
  }

 private:
  Pace& pace(int lane, int32_t group) { return paces_[size_t(lane * fit_.rule.groups + group)]; }
  T& at(int32_t number, int lane) const { return x_[int64_t(number) * W + lane]; }
  double coefficient(int lane, const Leaf& leaf) {
    static_assert(sizeof(Coefficients<double>) % sizeof(double) == 0);
    return reinterpret_cast<const double*>(&pace(lane, leaf.which).now)[leaf.index];
  }

  // Whether two trials have the same hyper-parameters and are at the same step, in all groups.
  bool equal(int64_t s, int64_t t) const {
    const Rule& rule = fit_.rule;
    if (rule.clip_value && rule.clip_value[s] != rule.clip_value[t]) return false;
    for (int32_t g = 0; g < rule.groups; ++g) {
      if (rule.step[g * trials_ + s] != rule.step[g * trials_ + t]) return false;
      for (int h = 0; h < kHypers; ++h)
        if (const double* row = rule.hyper + (g * kHypers + h) * trials_; row[s] != row[t]) return false;
    }
    return true;
  }

  // The squared norm of every block of every lane's gradients, as square_sum of steps/gradients.h makes it.
  void measure(const bool* live) {
    const int32_t* number = tape_.gradients.data();
    double* square = squares_.data();
    for (int f = 0; f < fit_.n_factors; ++f) {
      const Factor& factor = fit_.factors[f];
      double bound[W];
      for (int lane = 0; lane < W; ++lane) bound[lane] = pace(live[lane] ? lane : first_, factor.group).now.bound;
      for (int64_t i = 0; i < factor.elements; i += kReduction, square += W)
        measure_block(number + i, int(least(kReduction, factor.elements - i)), bound, square);
      number += factor.elements;
    }
  }
  void measure_block(const int32_t* number, int n, const double* bound, double* square) const {
    double part[kPartials][W] = {};
    for (int i = 0; i < n; ++i)
      for (int lane = 0; lane < W; ++lane) {
        const double g = std::min(std::max(double(at(number[i], lane)), -bound[lane]), bound[lane]);
        part[i % kPartials][lane] = fma(g, g, part[i % kPartials][lane]);
      }
    for (int half = kPartials / 2; half >= 1; half /= 2)
      for (int i = 0; i < half && i + half < n; ++i)  // beyond n there are zeros, which add nothing to a square
        for (int lane = 0; lane < W; ++lane) part[i][lane] += part[i + half][lane];
    std::copy_n(part[0], W, square);
  }

  // The squared norm of a lane's gradients over one parameter group, or over all (-1).
  double square(int lane, int32_t group) const {
    TreeSum<double> sum;
    const double* square = squares_.data() + lane;
    for (int f = 0; f < fit_.n_factors; ++f)
      for (int64_t i = 0; i < reduction_blocks(fit_.factors[f].elements); ++i, square += W)
        if (group < 0 || fit_.factors[f].group == group) sum.push(*square);
    return sum.total();
  }

  const Tape& tape_;
  const FitCall& fit_;
  const int64_t trials_;
  T* x_;
  std::vector<Pace> paces_;            // [W, groups]
  std::vector<int32_t> coefficients_;  // numbers that hold one
  std::vector<double> squares_;        // [blocks of all factors, W]
  int first_ = 0;                      // the first live lane
  bool alike_ = false;                 // its pace is that of all
};

}  // namespace irk
