// Training with a trial in each lane: the tape of a step, on packs whose numbers lie [number][lane] for as long as a
// call lasts. A lane without a trial of its own, or whose trial has stopped, repeats that of another: no lane is ever
// masked.
#pragma once
#include "run/buffers.h"
#include "run/lane_leaves.h"
#include "run/lane_notes.h"
#include "run/lane_paces.h"
#include "run/traced_step.h"
#include "run/sights.h"
#include "run/watch.h"

namespace irk {

// V: T for one trial, else Pack<T>.
template <class T, class V>
class Lanes {
  static constexpr int W = sizeof(V) / sizeof(T);
  inline static const Team kAlone{};

 public:
  // part: of the threads that share the packs.
  Lanes(const TracedStep& step, const Program& program, const FitCall& fit, T* x, int part)
      : step_(step),
        tape_(step.tape),
        fit_(fit),
        trials_(trial_count(program)),
        x_(x),
        leaves_(tape_, program, fit, x),
        paces_(tape_, fit, trials_, x) {
    for (int lane = 0; lane < W; ++lane) watches_.emplace_back(fit, kAlone, trials_, FrameSights<T>(fit, part));
  }

  // own: the trials of this pack, 1 to W of them.
  void run(const int64_t* own, int n) {
    for (int lane = 0; lane < W; ++lane) {
      trial_[lane] = own[std::min(lane, n - 1)];
      live_[lane] = lane < n;
      if (live_[lane]) watches_[size_t(lane)].begin(trial_[lane]);
    }
    paces_.begin(trial_, live_);
    leaves_.load(trial_);
    interpret(tape_.once.data(), tape_.once.data() + tape_.once.size(), packs());
    const int64_t last = fit_.first + fit_.steps;
    for (int64_t step = fit_.first; step < last && some_live();) {
      const int64_t free = step_.steady && step > fit_.first ? steps_unseen(step, last) : 0;
      const int64_t made = free ? repeat(step, free) : 0;
      step += made;
      if (step < last && (!free || made < free)) step += one(step);
    }
    if (fit_.look_back && some_live()) {
      leaves_.take_batch(last, trial_);
      step_.gradients(packs());
      look(last);
    }
    for (int lane = 0; lane < W; ++lane)
      if (live_[lane]) finish(lane);
  }

 private:
  V* packs() const { return reinterpret_cast<V*>(x_); }
  T& at(int32_t number, int lane) const { return x_[int64_t(number) * W + lane]; }

  // One step that is looked at, or whose coefficients are its own; how many updates were made.
  int64_t one(int64_t step) {
    leaves_.take_batch(step, trial_);
    const bool whole = step_.gradients(packs());
    if (seen(step)) look(step);
    if (!whole) drop(step);
    if (!some_live()) return 0;
    paces_.next(trial_, live_);
    for (int lane = 0; lane < W; ++lane)
      if (live_[lane]) ++fit_.done[trial_[lane]];
    step_.update(packs());
    return 1;
  }

  // Whether a step is a row of records or checked, and how many steps from here on no row ends; those that a limit
  // ends do so by themselves.
  bool due(int64_t step) const { return fit_.records && step % fit_.records->every == 0; }
  bool seen(int64_t step) const { return due(step) || (fit_.limits && step % fit_.limits->every == 0); }
  int64_t steps_unseen(int64_t step, int64_t last) const {
    if (!fit_.records) return last - step;
    if (step_.columns()) return std::min(last - step, step_.at_once());
    const int64_t every = fit_.records->every;
    return std::min(last, (step + every - 1) / every * every) - step;
  }
  void look(int64_t step) {
    const bool row = due(step) || (fit_.records && step == fit_.first + fit_.steps);
    for (int lane = 0; lane < W; ++lane) {
      if (!live_[lane]) continue;
      static_cast<T*>(fit_.call.target->loss)[trial_[lane]] = at(tape_.loss, lane);
      for (size_t p = 0; row && p < tape_.noted.size(); ++p)
        static_cast<T*>(fit_.records->now)[int64_t(p) * trials_ + trial_[lane]] = at(tape_.noted[p], lane);
      if (row) watches_[size_t(lane)].row_of_now(step);
      if (const Verdict verdict = watches_[size_t(lane)].judged(step); verdict != Verdict::none) stop(lane, step, verdict);
    }
    refill();
  }

  // Up to n steps that nobody looks at; how many were made.
  int64_t repeat(int64_t step, int64_t n) {
    V* notes = reinterpret_cast<V*>(reinterpret_cast<char*>(x_) + step_.numbers_bytes());
    const int64_t made = step_.steps(packs(), n, notes);
    if (step_.columns()) write_notes<T>(fit_, notes, step, made, trial_, live_, trials_);
    for (int lane = 0; lane < W; ++lane) {
      if (!live_[lane]) continue;
      if (made) watches_[size_t(lane)].within_limits(step, made);
      fit_.done[trial_[lane]] += made;
      for (int32_t g = 0; g < fit_.rule.groups; ++g) fit_.rule.step[g * trials_ + trial_[lane]] += made;
    }
    return made;
  }

  bool some_live() const { return std::find(live_, live_ + W, true) != live_ + W; }

  // Lanes whose loss or gradients are not finite stay as they are.
  void drop(int64_t step) {
    for (int lane = 0; lane < W; ++lane) {
      if (!live_[lane] || at(tape_.check, lane) == 0) continue;
      stop(lane, step, Verdict::diverged);
    }
    refill();
  }
  void finish(int lane) {
    store(lane);
    watches_[size_t(lane)].done();
  }
  void stop(int lane, int64_t step, Verdict verdict) {
    store(lane);
    watches_[size_t(lane)].leave(step, verdict);
    live_[lane] = false;
    empty_ = true;
  }
  // Lanes without a trial repeat another's.
  void refill() {
    if (!empty_ || !some_live()) return;
    const int from = int(std::find(live_, live_ + W, true) - live_);
    for (int lane = 0; lane < W; ++lane) {
      if (live_[lane]) continue;
      trial_[lane] = trial_[from];
      for (int32_t number = 0; number < tape_.numbers; ++number) at(number, lane) = at(number, from);
    }
    paces_.begin(trial_, live_);
    empty_ = false;
  }
  void store(int lane) const {
    leaves_.store(lane, trial_[lane]);
    static_cast<T*>(fit_.call.target->loss)[trial_[lane]] = at(tape_.loss, lane);
  }

  const TracedStep& step_;
  const Tape& tape_;
  const FitCall& fit_;
  const int64_t trials_;
  T* x_;  // [numbers, W]
  LaneLeaves<T, W> leaves_;
  LanePaces<T, W> paces_;
  std::vector<Watch<T, Team, FrameSights<T>>> watches_;  // [W]
  int64_t trial_[W];
  bool live_[W];
  bool empty_ = false;  // some lane has lost its trial
};

}  // namespace irk
