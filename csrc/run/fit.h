// The step loop: loss and gradients by the plan's step list, then the update, for every active trial.
// Stops a trial before the update that a non-finite loss or gradient would make. Reference: irkernels/reference/fit.py
#pragma once
#include "run/sweep.h"
#include "steps/update.h"

namespace irk {

// What the members of one team tell each other.
struct TeamNotes {
  std::atomic<int> broken{0};
  double rate = 0;
};

template <class T>
class Fit {
 public:
  Fit(const Program& program, const FitCall& fit, const Team& team, TeamNotes& notes, double* squares)
      : program_(program), fit_(fit), team_(team), notes_(notes), squares_(squares) {}

  void run(int64_t trial, char** base, char* scratch) {
    if (!fit_.active[trial]) return;
    const Frame<T> frame{program_, fit_.call.entries, fit_.call.target, base, trial};
    seat(frame, program_, fit_.call.buffers, trial, scratch);
    for (int64_t step = 0; step < fit_.steps; ++step) {
      for (int s = 0; s < program_.n_steps; ++s) {
        if (program_.steps[s].fence) team_.sync();
        frame.run(program_.steps[s], team_);
      }
      team_.sync();
      if (!update(trial, reinterpret_cast<const T*>(scratch))) return;
    }
  }

 private:
  bool update(int64_t trial, const T* scratch) {
    const Rule& rule = fit_.rule;
    const bool norm = rule.kind == RuleKind::group_rmsprop;
    if (!all_finite(static_cast<const T*>(fit_.call.target->loss) + trial, 1)) notes_.broken = 1;
    int64_t block = 0;
    for (int f = 0; f < fit_.n_factors; ++f) {
      const Factor& factor = fit_.factors[f];
      const T* g = scratch + factor.gradient_offset;
      const int64_t blocks = (factor.elements + kReduction - 1) / kReduction;
      for (int64_t i = team_.begin(blocks); i < team_.end(blocks); ++i) {
        const int64_t n = std::min(kReduction, factor.elements - i * kReduction);
        if (norm) squares_[block + i] = square_sum(g + i * kReduction, n);
        if (!all_finite(g + i * kReduction, n)) notes_.broken = 1;
      }
      block += blocks;
    }
    team_.sync();
    const bool broken = notes_.broken;
    if (norm && !broken && team_.rank == 0) {
      TreeSum<double> sum;
      for (int64_t i = 0; i < block; ++i) sum.push(squares_[i]);
      notes_.rate = group_rmsprop_rate(rule, trial, sum.total());
    }
    team_.sync();
    if (broken) {
      if (team_.rank == 0) notes_.broken = 0;
      team_.sync();
      return false;
    }
    const bool first = !rule.begun && rule.step[trial] == 0 && fit_.done[trial] == 0;
    for (int f = 0; f < fit_.n_factors; ++f) move(fit_.factors[f], trial, first, scratch);
    team_.sync();
    if (team_.rank == 0) {
      ++rule.step[trial];
      ++fit_.done[trial];
    }
    team_.sync();
    return true;
  }

  void move(const Factor& factor, int64_t trial, bool first, const T* scratch) const {
    const Rule& rule = fit_.rule;
    const int64_t begin = team_.begin(factor.elements), n = team_.end(factor.elements) - begin;
    const int64_t at = trial * factor.elements + begin;
    T* p = static_cast<T*>(factor.data) + at;
    T* buffer = factor.momentum ? static_cast<T*>(factor.momentum) + at : nullptr;
    const T* g = scratch + factor.gradient_offset + begin;
    if (rule.kind == RuleKind::sgd) sgd_update(rule, rule.lr[trial], first, p, buffer, g, n);
    else scaled_update(T(rule.maximize ? -notes_.rate : notes_.rate), p, g, n);
  }

  const Program& program_;
  const FitCall& fit_;
  const Team& team_;
  TeamNotes& notes_;
  double* squares_;  // [blocks of all factors]
};

inline int64_t square_blocks(const FitCall& fit) {
  int64_t blocks = 0;
  for (int f = 0; f < fit.n_factors; ++f) blocks += (fit.factors[f].elements + kReduction - 1) / kReduction;
  return blocks;
}

}  // namespace irk
