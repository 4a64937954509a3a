// The step loop: loss and gradients by the plan's step list, then the update, for every active trial.
// Stops a trial before the update that a non-finite loss or gradient would make. Reference: irkernels/reference/fit.py
#pragma once
#include <optional>
#include <vector>

#include "run/descent.h"
#include "run/sights.h"
#include "run/step_code.h"
#include "run/watch.h"
#include "team/patience.h"

namespace irk {

// What the members of one team tell each other.
struct TeamNotes {
  explicit TeamNotes(const FitCall& fit) : squares(size_t(parts_of(fit))), paces(size_t(fit.rule.groups)) {}
  Notes of_trial() { return {squares.data(), paces.data(), &broken}; }

  std::atomic<int> interrupted{0};
  int broken = 0;
  Patience patience;            // of the first member
  bool alone = false;           // it has come to an end: the first member goes on without the others
  std::vector<double> squares;  // [parts of all factors]
  std::vector<Pace> paces;      // [groups]
};

template <class T>
class Fit {
 public:
  // part: which of the threads' workspaces is this team's.
  // code: of this member, as long as its team stands.
  Fit(const Program& program, const FitCall& fit, const StepCode& code, const Team& team, TeamNotes& notes, int part)
      : program_(program), fit_(fit), code_(&code), team_(team), notes_(notes), trials_(trial_count(program)),
        watch_(fit, team_, trials_, FrameSights<T>(fit, part)), coefficients_(size_t(fit.rule.groups)) {}

  // Done at once by members whose team has broken up: the first one takes all further steps.
  // base: room for as many addresses as written code reads (CodePlaces)
  void run(int64_t trial, char** base, char* scratch) {
    if (!fit_.active[trial] || left_) return;
    Target target = *fit_.call.target;
    Frame<T> frame{program_, fit_.call.entries, &target, base, trial};
    seat(frame, program_, fit_.call.buffers, trial, scratch);
    alignas(64) T room[kRoom];
    place(base, trial, room);
    if (team_.rank == 0) begin_paces(fit_, notes_.of_trial(), trial, trials_);
    watch_.begin(trial);
    const int64_t last = fit_.first + fit_.steps;
    for (int64_t step = fit_.first; step < last; ++step) {
      if (fit_.batches) take_batch(frame, target, step - fit_.first);
      evaluate(frame);
      if (interrupted(trial) || !watch_.look(step)) return;
      for (int t = 0; t < fit_.n_ties; ++t) add_along(fit_.ties[t], reinterpret_cast<T*>(scratch), team_);
      if (fit_.n_ties) team_.sync();
      if (!update(trial, base, reinterpret_cast<const T*>(scratch))) return watch_.leave(step, Verdict::diverged);
      if (team_.size > 1 && notes_.alone) {
        left_ = team_.rank > 0;
        if (left_) return;
        team_ = Team{0, 1, nullptr, fit_.stop};
        code_ = &own_.emplace(program_, fit_, team_);
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
  // What stays where it is for all steps of a trial, for written code.
  void place(char** base, int64_t trial, T* room) {
    const CodePlaces& at = code_->places;
    const auto set = [base](int32_t where, void* data) { base[where] = static_cast<char*>(data); };
    set(at.loss, static_cast<T*>(fit_.call.target->loss) + trial);
    set(at.room, room);
    for (int32_t g = 0; g < fit_.rule.groups; ++g) set(at.coefficients + g, &coefficients_[size_t(g)]);
    for (int32_t f = 0, next = at.factors; f < fit_.n_factors; ++f) {
      const int64_t first = trial * fit_.factors[f].elements;
      set(next++, static_cast<T*>(fit_.factors[f].data) + first);
      for (void* moment : fit_.factors[f].moments) set(next++, moment ? static_cast<T*>(moment) + first : nullptr);
    }
  }

  void evaluate(const Frame<T>& frame) const {
    const T* values = static_cast<const T*>(frame.target->values) + frame.trial * frame.target->values_stride;
    frame.base[code_->places.values] = reinterpret_cast<char*>(const_cast<T*>(values));
    auto run = code_->runs.begin();
    for (int s = 0; s < program_.n_steps; ++s) {
      if (program_.steps[s].fence) team_.sync();
      if (run != code_->runs.end() && run->first == s) {
        (*code_)(run->code, frame.base);
        s = run++->last - 1;
        continue;
      }
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

  bool update(int64_t trial, char** base, const T* scratch) {
    if (!finite(trial, base, scratch)) team_.raise(&notes_.broken);
    team_.sync();
    const bool broken = notes_.broken;
    if (team_.rank == 0 && !broken) {
      set_paces(fit_, notes_.of_trial(), trial);
      if (team_.size > 1) notes_.alone = notes_.patience.ends(*team_.barrier);  // never unsaid: others may read it late
    }
    team_.sync();
    if (broken) {
      if (team_.rank == 0) notes_.broken = 0;
      team_.sync();
      return false;
    }
    if (code_->update != StepCode::kNone) {
      for (size_t g = 0; g < coefficients_.size(); ++g)
        coefficients_[g] = each_coefficient<T>([&](auto field) { return T(notes_.paces[g].now.*field); });
      (*code_)(code_->update, base);
      team_.sync();
      return true;
    }
    for (int f = 0; f < fit_.n_factors; ++f) {
      const Factor& factor = fit_.factors[f];
      const Coefficients<double>& pace = notes_.paces[size_t(factor.group)].now;
      move_along(factor, fit_.rule.kind, pace, trial, scratch + factor.gradient_offset, team_.rank, team_.size);
    }
    team_.sync();
    return true;
  }

  // A member's look at the loss and at all gradients.
  bool finite(int64_t trial, char** base, const T* scratch) {
    if (code_->broken == StepCode::kNone) return looks_finite(fit_, notes_.of_trial(), trial, scratch, team_);
    return all_finite(static_cast<const T*>(fit_.call.target->loss) + trial, 1) && !(*code_)(code_->broken, base);
  }

  const Program& program_;
  const FitCall& fit_;
  const StepCode* code_;
  Team team_;
  TeamNotes& notes_;
  const int64_t trials_;
  Watch<T, Team, FrameSights<T>> watch_;
  std::vector<Coefficients<T>> coefficients_;  // [groups] for written code
  bool left_ = false;
  std::optional<StepCode> own_;  // of a first member that goes on alone
};

}  // namespace irk
