// Training with a trial in each lane: the tape of a step, on packs whose numbers lie [number][lane] for as long as a call lasts.
// A lane without a trial of its own, or whose trial has stopped, repeats that of another: no lane is ever masked.
#pragma once
#include <vector>

#include "fast/machine_code.h"
#include "plan/fit_program.h"
#include "run/buffers.h"
#include "run/interpret.h"
#include "steps/gradients.h"
#include "steps/update.h"

namespace irk {

// A tape ready to run: its parts, and the machine code of those.
class TracedStep {
 public:
  TracedStep(Tape tape, const FitCall& fit, bool wide, bool single)
      : tape(std::move(tape)), wide(wide), single(single), steady(fit.rule.kind == RuleKind::sgd && !fit.rule.clip) {
    const TapeOp *begin = this->tape.step.data(), *end = begin + this->tape.step.size();
    leave = std::find_if(begin, end, [](const TapeOp& op) { return op.op == Arith::leave; }) + 1;
    whole_ = code(begin, end);
    gradients_ = code(begin, leave);
    update_ = code(leave, end);
  }

  int64_t element() const { return wide ? 8 : 4; }
  int64_t lanes() const { return single ? 1 : IRK_VECTOR_BYTES / element(); }
  int64_t bytes() const { return (tape.numbers * lanes() * element() + 63) / 64 * 64; }

  bool compiled() const { return bool(whole_); }

  // Whole steps of equal coefficients: how many of n were made before some lane's numbers were not finite.
  template <class V>
  int64_t steps(V* x, int64_t n) const {
    if (whole_) return whole_(x, n);
    for (int64_t made = 0; made < n; ++made)
      if (!interpret(tape.step.data(), tape.step.data() + tape.step.size(), x)) return made;
    return n;
  }
  // Loss and gradients of one step; false where a lane's are not finite.
  template <class V>
  bool gradients(V* x) const { return gradients_ ? gradients_(x, 1) == 1 : interpret(tape.step.data(), leave, x); }
  template <class V>
  void update(V* x) const {
    if (update_) update_(x, 1);
    else interpret(leave, tape.step.data() + tape.step.size(), x);
  }

  const Tape tape;
  const bool wide, single;
  const bool steady;  // coefficients change with the first step at most

 private:
  MachineCode code(const TapeOp* begin, const TapeOp* end) const {
    const TapeRange range{begin, end, tape.kept};
    return wide ? MachineCode::of<double>(range, int(lanes())) : MachineCode::of<float>(range, int(lanes()));
  }

  const TapeOp* leave;  // the first operation of the update
  MachineCode whole_, gradients_, update_;
};

// V: T for one trial, else Pack<T>.
template <class T, class V>
class Lanes {
  static constexpr int W = sizeof(V) / sizeof(T);

 public:
  Lanes(const TracedStep& step, const Program& program, const FitCall& fit, T* x)
      : step_(step), tape_(step.tape), program_(program), fit_(fit), trials_(trial_count(program)), x_(x), paces_(size_t(W * fit.rule.groups)) {}

  // own: the trials of this pack, 1 to W of them.
  void run(const int64_t* own, int n) {
    for (int lane = 0; lane < W; ++lane) {
      trial_[lane] = own[std::min(lane, n - 1)];
      live_[lane] = lane < n;
    }
    for (int lane = 0; lane < n; ++lane)
      for (int32_t g = 0; g < fit_.rule.groups; ++g) pace(lane, g).begin(fit_.rule, g, trial_[lane], trials_);
    load();
    interpret(tape_.once.data(), tape_.once.data() + tape_.once.size(), packs());
    for (int64_t left = fit_.steps; left > 0 && n > 0;) {
      if (!step_.steady || left == fit_.steps) {
        if (step_.gradients(packs())) update(), --left;
        else n -= drop();
      } else {
        const int64_t made = step_.steps(packs(), left);
        count(made);
        left -= made;
        if (left) n -= drop();
      }
    }
    for (int lane = 0; lane < W; ++lane)
      if (live_[lane]) store(lane);
  }

 private:
  Pace& pace(int lane, int32_t group) { return paces_[size_t(lane * fit_.rule.groups + group)]; }
  V* packs() const { return reinterpret_cast<V*>(x_); }
  T& at(int32_t number, int lane) const { return x_[int64_t(number) * W + lane]; }

  void load() {
    for (size_t i = 0; i < tape_.leaves.size(); ++i)
      for (int lane = 0; lane < W; ++lane) at(int32_t(i), lane) = value_of(tape_.leaves[i], trial_[lane]);
  }
  T value_of(const Leaf& leaf, int64_t trial) const {
    using Unsigned = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
    constexpr Unsigned kSign = Unsigned(1) << (8 * sizeof(T) - 1);
    const Target& target = *fit_.call.target;
    switch (leaf.kind) {
      case LeafKind::literal: return T(leaf.literal);
      case LeafKind::magnitude: return number_of(~kSign);
      case LeafKind::sign: return number_of(kSign);
      case LeafKind::factor:
      case LeafKind::moment: return *element(leaf, trial);
      case LeafKind::constant: return static_cast<const T*>(fit_.call.buffers[leaf.which])[trial_offset(program_, leaf.which, trial) + leaf.index];
      case LeafKind::value: return static_cast<const T*>(target.values)[trial * target.values_stride + leaf.index];
      case LeafKind::weight: return static_cast<const T*>(target.weights)[trial * target.weights_stride + leaf.index];
      case LeafKind::coefficient: break;  // set before an update
    }
    return T(0);
  }
  template <class Unsigned>
  static T number_of(Unsigned bits) {
    T x;
    std::memcpy(&x, &bits, sizeof(T));
    return x;
  }
  T* element(const Leaf& leaf, int64_t trial) const {
    const bool factor = leaf.kind == LeafKind::factor;
    const Factor& of = fit_.factors[factor ? leaf.which : leaf.which / kMoments];
    return static_cast<T*>(factor ? of.data : of.moments[leaf.which % kMoments]) + trial * of.elements + leaf.index;
  }

  void update() {
    for (int lane = 0; lane < W; ++lane)
      if (live_[lane]) set_pace(lane);
    set_coefficients();
    step_.update(packs());
  }

  void set_pace(int lane) {
    const Rule& rule = fit_.rule;
    double scale = rule.maximize ? -1 : 1;
    if (rule.clip) scale *= clip_scale(rule.clip[trial_[lane]], square(lane, -1));
    for (int32_t g = 0; g < rule.groups; ++g)
      pace(lane, g).next(rule.kind, scale, rule.kind == RuleKind::group_rmsprop ? square(lane, g) : 0);
    ++fit_.done[trial_[lane]];
  }
  // The squared norm of a lane's gradients over one parameter group, or over all (-1).
  double square(int lane, int32_t group) {
    TreeSum<double> sum;
    const int32_t* number = tape_.gradients.data();
    for (int f = 0; f < fit_.n_factors; ++f) {
      const Factor& factor = fit_.factors[f];
      for (int64_t i = 0; i < factor.elements; i += kReduction) {
        T g[kReduction];
        const int64_t n = least(kReduction, factor.elements - i);
        for (int64_t j = 0; j < n; ++j) g[j] = at(number[i + j], lane);
        if (group < 0 || factor.group == group) sum.push(square_sum(g, pace(lane, factor.group).now.bound, n));
      }
      number += factor.elements;
    }
    return sum.total();
  }
  void set_coefficients() {
    for (size_t i = 0; i < tape_.leaves.size(); ++i) {
      const Leaf& leaf = tape_.leaves[i];
      if (leaf.kind != LeafKind::coefficient) continue;
      for (int lane = 0; lane < W; ++lane)
        at(int32_t(i), lane) = T(reinterpret_cast<const double*>(&pace(live_[lane] ? lane : some_live(), leaf.which).now)[leaf.index]);
    }
  }
  void count(int64_t made) {
    for (int lane = 0; lane < W; ++lane) {
      if (!live_[lane]) continue;
      fit_.done[trial_[lane]] += made;
      for (int32_t g = 0; g < fit_.rule.groups; ++g) fit_.rule.step[g * trials_ + trial_[lane]] += made;
    }
  }
  int some_live() const { return int(std::find(live_, live_ + W, true) - live_); }

  // Lanes whose loss or gradients are not finite are stored as they are and repeat another from here on; returns how many.
  int drop() {
    int dropped = 0;
    for (int lane = 0; lane < W; ++lane) {
      if (!live_[lane] || at(tape_.check, lane) == 0) continue;
      store(lane);
      live_[lane] = false;
      ++dropped;
    }
    const int from = some_live();
    for (int lane = 0; from < W && lane < W; ++lane)
      for (int32_t number = 0; !live_[lane] && number < tape_.numbers; ++number) at(number, lane) = at(number, from);
    return dropped;
  }
  void store(int lane) const {
    const int64_t trial = trial_[lane];
    for (size_t i = 0; i < tape_.leaves.size(); ++i) {
      const Leaf& leaf = tape_.leaves[i];
      if (leaf.kind == LeafKind::factor || leaf.kind == LeafKind::moment) *element(leaf, trial) = at(int32_t(i), lane);
    }
    static_cast<T*>(fit_.call.target->loss)[trial] = at(tape_.loss, lane);
  }

  const TracedStep& step_;
  const Tape& tape_;
  const Program& program_;
  const FitCall& fit_;
  const int64_t trials_;
  T* x_;  // [numbers, W]
  std::vector<Pace> paces_;  // [W, groups]
  int64_t trial_[W];
  bool live_[W];
};

}  // namespace irk
