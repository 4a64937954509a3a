// The step loop: loss and gradients by the plan's step list, then the update, for every active trial.
// Stops a trial before the update that a non-finite loss or gradient would make. Reference: irkernels/reference/fit.py
#pragma once
#include <vector>

#include "run/descent.h"
#include "run/sights.h"
#include "run/watch.h"
#include "team/patience.h"

namespace irk {

// What the members of one team tell each other.
struct TeamNotes {
  explicit TeamNotes(const FitCall& fit) : squares(size_t(blocks_of(fit))), paces(size_t(fit.rule.groups)) {}
  Notes of_trial() { return {squares.data(), paces.data(), &broken}; }

  std::atomic<int> interrupted{0};
  int broken = 0;
  Patience patience;            // of the first member
  bool alone = false;           // it has come to an end: the first member goes on without the others
  std::vector<double> squares;  // [blocks of all factors]
  std::vector<Pace> paces;      // [groups]
};

template <class T>
class Fit {
 public:
  // part: which of the threads' workspaces is this team's.
  Fit(const Program& program, const FitCall& fit, const Team& team, TeamNotes& notes, int part)
      : program_(program), fit_(fit), team_(team), notes_(notes), trials_(trial_count(program)),
        descent_(fit, team_, trials_, notes.of_trial()), watch_(fit, team_, trials_, FrameSights<T>(fit, part)) {}

  // Done at once by members whose team has broken up: the first one takes all further steps.
  void run(int64_t trial, char** base, char* scratch) {
    if (!fit_.active[trial] || left_) return;
    Target target = *fit_.call.target;
    Frame<T> frame{program_, fit_.call.entries, &target, base, trial};
    seat(frame, program_, fit_.call.buffers, trial, scratch);
    descent_.begin(trial);
    watch_.begin(trial);
    const int64_t last = fit_.first + fit_.steps;
    for (int64_t step = fit_.first; step < last; ++step) {
      if (fit_.batches) take_batch(frame, target, step - fit_.first);
      evaluate(frame);
      if (interrupted(trial) || !watch_.look(step)) return;
      if (!descent_.update(trial, reinterpret_cast<T*>(scratch), [&] { lose_patience(); }))
        return watch_.leave(step, Verdict::diverged);
      if (team_.size > 1 && notes_.alone) {
        left_ = team_.rank > 0;
        if (left_) return;
        team_ = Team{0, 1, nullptr, fit_.stop};
      }
    }
    if (fit_.look_back) {
      if (fit_.batches) take_batch(frame, target, fit_.steps);
      evaluate(frame);
      if (interrupted(trial) || !watch_.look(last)) return;
    }
    watch_.done();
  }

 private:
  void evaluate(const Frame<T>& frame) const {
    for (int s = 0; s < program_.n_steps; ++s) {
      if (program_.steps[s].fence) team_.sync();
      const Op op = program_.steps[s].op;
      const bool waits = op == Op::loss || op == Op::rows_value || op == Op::rows_pull;  // inside, for all members
      if (waits || !team_.stopped()) frame.run(program_.steps[s], team_);
    }
    team_.sync();
  }

  // Whether the trial leaves as it was before this step: one answer for the whole team.
  bool interrupted(int64_t trial) {
    if (!team_.stop) return false;
    if (team_.rank == 0) notes_.interrupted = team_.stopped();
    team_.sync();
    if (notes_.interrupted && team_.rank == 0) fit_.verdicts[trial] = Verdict::interrupted;
    return notes_.interrupted;
  }

  // The observations of one step: its entries, its targets, its rows of the constants (which no trial has for itself).
  void take_batch(Frame<T>& frame, Target& target, int64_t step) const {
    const Batches& batches = *fit_.batches;
    const Target& all = *fit_.call.target;
    if (batches.entries) frame.entries = batches.entries + step;
    target.values = static_cast<const T*>(all.values) + step * batches.values_step;
    if (all.weights) target.weights = static_cast<const T*>(all.weights) + step * batches.weights_step;
    for (const BatchRows* r = batches.rows; r < batches.rows + batches.n_rows; ++r)
      frame.base[r->buffer] = static_cast<char*>(fit_.call.buffers[r->buffer]) + step * r->step * int64_t(sizeof(T));
  }

  void lose_patience() {
    if (team_.size > 1) notes_.alone = notes_.patience.ends(*team_.barrier);  // never unsaid: others may read it late
  }

  const Program& program_;
  const FitCall& fit_;
  Team team_;
  TeamNotes& notes_;
  const int64_t trials_;
  const Descent<T, Team> descent_;
  Watch<T, Team, FrameSights<T>> watch_;
  bool left_ = false;
};

}  // namespace irk
