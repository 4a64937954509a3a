// Looks at every step of a run before its update: notes what was asked for, and says whether the trial goes on.
// Reference: irkernels/reference/recording.py
#pragma once
#include <vector>

#include "run/sweep.h"
#include "steps/record.h"

namespace irk {

template <class T>
class Watch {
 public:
  // part: which of the records' scratches is this team's.
  Watch(const FitCall& fit, const Team& team, int64_t trials, int part) : fit_(fit), team_(team), trials_(trials) {
    if (!fit.records) return;
    watched_ = static_cast<T*>(fit.records->scratch) + part * fit.records->scratch_elements;
    for (int v = 0; v < fit.records->n_sights; ++v)
      bases_.emplace_back(size_t(kOperands + 2 * fit.records->sights[v].program.n_operands));
  }

  void begin(int64_t trial) {
    trial_ = trial;
    streak_ = fit_.limits ? fit_.limits->streak[trial] : 0;
    if (!fit_.records) return;
    for (int v = 0; v < fit_.records->n_sights; ++v) {
      const Sight& sight = fit_.records->sights[v];
      const Frame<T> frame = frame_of(v);
      seat(frame, sight.program, sight.buffers, trial, reinterpret_cast<char*>(watched_ + sight.scratch_offset));
      frame.base[kOutput] = reinterpret_cast<char*>(watched_ + sight.offset);
    }
  }

  // The loss of `step` is known; false where the trial stops before its update.
  bool look(int64_t step) {
    const bool due = fit_.records && (step == end() || step % fit_.records->every == 0);
    if (due || (fit_.records && fit_.records->n_each_step)) notice(due);
    if (due) row_of_now(step);
    const Verdict verdict = judged(step);
    if (verdict == Verdict::none) return true;
    leave(step, verdict);
    return false;
  }

  // What has been noted of a recorded step is its row.
  void row_of_now(int64_t step) const {
    if (step < end() && team_.rank == 0) write(row(step), row(step) + 1);
  }
  // Whether the loss of a step ends the trial; and steps whose loss was within all limits.
  Verdict judged(int64_t step) { return fit_.limits ? judge(*fit_.limits, step, loss(), streak_) : Verdict::none; }
  void within_limits(int64_t step, int64_t steps) {
    if (!fit_.limits) return;
    const int64_t every = fit_.limits->every, last = (step + steps - 1) / every * every;
    if (last >= step && last > fit_.limits->checked) streak_ = 0;
  }

  // The trial stops at `step`: what is there to note of it stands in all rows to come.
  void leave(int64_t step, Verdict verdict) {
    if (team_.rank == 0) fit_.verdicts[trial_] = verdict;
    if (fit_.records) notice(true);
    if (fit_.records && team_.rank == 0) {
      const int64_t before = fit_.records->every - 1;
      write(row(step + before), row(end() + before));
    }
    done();
  }

  void done() {
    if (fit_.limits && team_.rank == 0) fit_.limits->streak[trial_] = streak_;
  }

 private:
  int64_t end() const { return fit_.first + fit_.steps; }
  int64_t row(int64_t step) const { return row_of(*fit_.records, fit_.first, step); }
  T loss() const { return static_cast<const T*>(fit_.call.target->loss)[trial_]; }
  void write(int64_t row, int64_t last) const { write_rows<T>(*fit_.records, row, last, trial_, trials_); }
  Frame<T> frame_of(int v) const {
    return {fit_.records->sights[v].program, nullptr, nullptr, const_cast<char**>(bases_[size_t(v)].data()), trial_};
  }

  void notice(bool due) {
    const Records& records = *fit_.records;
    for (int v = 0; (due || records.watch_each_step) && v < records.n_sights; ++v) {
      const Frame<T> frame = frame_of(v);
      for (int s = 0; s < frame.program.n_steps; ++s) {
        frame.run(frame.program.steps[s], team_);
        team_.sync();
      }
    }
    if (team_.rank == 0) {
      T copy[kDeterminantOrder * kDeterminantOrder];
      for (int i = 0; i < records.order * records.order; ++i) copy[i] = watched_[i];
      const T det = records.order ? determinant(copy, records.order) : T(0);
      note(records, State<T>{loss(), watched_, det}, trial_, trials_, 1, due);
    }
    team_.sync();
  }

  const FitCall& fit_;
  const Team& team_;
  const int64_t trials_;
  T* watched_ = nullptr;
  std::vector<std::vector<char*>> bases_;  // [sights][buffers]
  int64_t trial_ = 0, streak_ = 0;
};

}  // namespace irk
