// One update of one trial by one team, once its loss and gradients are there; the same source for threads of any machine.
// Reference: irkernels/reference/fit.py
#pragma once
#include "steps/gradients.h"
#include "steps/update.h"

namespace irk {

// What the members of one team tell each other about a trial.
struct Notes {
  double* squares;  // [parts of all factors]
  Pace* paces;      // [groups]
  int* broken;      // whether some gradient is not finite
};

// In how many parts the squares of gradients are summed.
IRK_FN inline int64_t parts_of(const Factor& factor) { return reduction_blocks(factor.elements) * kBlockParts<double>; }
inline int64_t parts_of(const FitCall& fit) {
  int64_t parts = 0;
  for (int f = 0; f < fit.n_factors; ++f) parts += parts_of(fit.factors[f]);
  return parts;
}

// The squared norm over one parameter group, or over all (-1).
IRK_FN inline double square(const FitCall& fit, const double* squares, int32_t group) {
  TreeSum<double> sum;
  for (int f = 0; f < fit.n_factors; ++f) {
    const Factor& factor = fit.factors[f];
    for (int64_t i = 0; i < parts_of(factor) && (group < 0 || factor.group == group); ++i) sum.push(squares[i]);
    squares += parts_of(factor);
  }
  return sum.total();
}

// On to the next step, by one member.
IRK_FN IRK_APART inline void set_paces(const FitCall& fit, Notes notes, int64_t trial) {
  const Rule& rule = fit.rule;
  double scale = rule.maximize ? -1 : 1;
  if (rule.clip) scale *= clip_scale(rule.clip[trial], square(fit, notes.squares, -1));
  for (int g = 0; g < rule.groups; ++g)
    notes.paces[g].next(rule.kind, scale, rule.kind == RuleKind::group_rmsprop ? square(fit, notes.squares, g) : 0);
  ++fit.done[trial];
}
IRK_FN IRK_APART inline void begin_paces(const FitCall& fit, Notes notes, int64_t trial, int64_t trials) {
  for (int g = 0; g < fit.rule.groups; ++g) notes.paces[g].begin(fit.rule, g, trial, trials);
}

// A member's share of a tie's sum.
template <class T>
IRK_FN void add_along(const Tie& tie, T* scratch, const Team& team) {
  T *const to = scratch + tie.to, *const from = scratch + tie.from;
  for (int64_t i = team.begin(tie.elements); i < team.end(tie.elements); ++i) to[i] += from[i];
}

// A member's look at one factor's gradient: false where it is not finite; squares: of its parts, or null.
template <class T>
IRK_FN bool look_at(const Factor& factor, const T* g, double bound, double* squares, const Team& team) {
  const auto block = [&](int64_t i) { return least(kReduction, factor.elements - i * kReduction); };
  bool finite = true;
  if constexpr (Pack<T>::kLanes == 1) {
    for (int64_t i = team.rank; i < factor.elements; i += team.size) finite &= all_finite(g + i, 1);
  } else {
    const int64_t blocks = reduction_blocks(factor.elements);
    for (int64_t i = team.begin(blocks); i < team.end(blocks); ++i) finite &= all_finite(g + i * kReduction, block(i));
  }
  for (int64_t i = team.begin(parts_of(factor)); squares && i < team.end(parts_of(factor)); ++i) {
    const int64_t whole = i / kBlockParts<double>;
    squares[i] = square_sum(g + whole * kReduction, bound, block(whole), int(i % kBlockParts<double>));
  }
  return finite;
}

// A member's share of one factor's move.
template <class T>
IRK_FN IRK_APART void move_along(const Factor& factor, RuleKind kind, const Coefficients<double>& pace, int64_t trial, const T* g,
                                 int rank, int size) {
  const int64_t at = trial * factor.elements;
  T* moments[kMoments];
  IRK_UNROLL
  for (int m = 0; m < kMoments; ++m) moments[m] = factor.moments[m] ? static_cast<T*>(factor.moments[m]) + at : nullptr;
  update(kind, pace, static_cast<T*>(factor.data) + at, moments, g, factor.elements, Team{rank, size});
}

// A member's look at the loss and at all gradients.
template <class T>
IRK_FN bool looks_finite(const FitCall& fit, const Notes& notes, int64_t trial, const T* scratch, const Team& team) {
  bool finite = team.rank || all_finite(static_cast<const T*>(fit.call.target->loss) + trial, 1);
  int64_t before = 0;  // parts
  for (int f = 0; f < fit.n_factors; ++f) {
    const Factor& factor = fit.factors[f];
    double* squares = wants_norm(fit.rule) ? notes.squares + before : nullptr;
    finite &= look_at(factor, scratch + factor.gradient_offset, notes.paces[factor.group].now.bound, squares, team);
    before += parts_of(factor);
  }
  return finite;
}

// Crew: a Team whose members can sync() and raise(a flag).
template <class T, class Crew>
class Descent {
 public:
  IRK_FN Descent(const FitCall& fit, const Crew& crew, int64_t trials, const Notes& notes)
      : fit_(fit), crew_(crew), trials_(trials), notes_(notes) {}

  IRK_FN void begin(int64_t trial) const {
    if (crew_.rank) return;
    *notes_.broken = 0;
    begin_paces(fit_, notes_, trial, trials_);
  }

  // False, and nothing moved, where the loss or a gradient is not finite.
  IRK_FN bool update(int64_t trial, T* scratch) const {
    for (int t = 0; t < fit_.n_ties; ++t) add_along(fit_.ties[t], scratch, crew_);
    if (fit_.n_ties) crew_.sync();
    if (!looks_finite(fit_, notes_, trial, scratch, crew_)) crew_.raise(notes_.broken);
    crew_.sync();
    const bool broken = *notes_.broken;
    if (crew_.rank == 0 && !broken) set_paces(fit_, notes_, trial);
    crew_.sync();
    if (broken) return false;
    for (int f = 0; f < fit_.n_factors; ++f) {
      const Factor& factor = fit_.factors[f];
      const Coefficients<double>& pace = notes_.paces[factor.group].now;
      move_along(factor, fit_.rule.kind, pace, trial, scratch + factor.gradient_offset, crew_.rank, crew_.size);
    }
    crew_.sync();
    return true;
  }

 private:
  const FitCall& fit_;
  const Crew& crew_;
  const int64_t trials_;
  const Notes notes_;
};

}  // namespace irk
