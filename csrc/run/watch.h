// Looks at every step of a run before its update: notes what was asked for, and says whether the trial goes on.
// Reference: irkernels/reference/recording.py
#pragma once
#include "steps/record.h"
#include "team/team.h"

namespace irk {

constexpr int kNoted = kNumbers + kDeterminantOrder * kDeterminantOrder;  // numbers that noting takes room for

// What is to be noted of a trial, its watched entries and its loss being known, by one member.  room: [kNoted]
template <class T>
IRK_FN IRK_APART void note_watched(const Records& records, const T* watched, T loss, int64_t trial, int64_t trials, bool due, T* room) {
  T* copy = room + kNumbers;
  for (int i = 0; i < records.order * records.order; ++i) copy[i] = watched[i];
  const T det = records.order ? determinant(copy, records.order) : T(0);
  note(records, State<T>{loss, watched, det}, trial, trials, 1, due, room);
}

// Crew: a Team whose members can sync(). Sights: make the watched entries of W at a trial, and have room for its notes.
template <class T, class Crew, class Sights>
class Watch {
 public:
  IRK_FN Watch(const FitCall& fit, const Crew& crew, int64_t trials, Sights sights)
      : fit_(fit), crew_(crew), trials_(trials), sights_(sights) {}

  IRK_FN void begin(int64_t trial) {
    trial_ = trial;
    streak_ = fit_.limits ? fit_.limits->streak[trial] : 0;
    if (fit_.records) sights_.begin(trial);
  }

  // The loss of `step` is known; false where the trial stops before its update.
  IRK_FN bool look(int64_t step) {
    const bool due = fit_.records && (step == end() || step % fit_.records->every == 0);
    if (due || (fit_.records && fit_.records->n_each_step)) notice(due);
    if (due) row_of_now(step);
    const Verdict verdict = judged(step);
    if (verdict == Verdict::none) return true;
    leave(step, verdict);
    return false;
  }

  // What has been noted of a recorded step is its row.
  IRK_FN void row_of_now(int64_t step) const {
    if (step < end() && crew_.rank == 0) write(row(step), row(step) + 1);
  }
  // Whether the loss of a step ends the trial; and steps whose loss was within all limits.
  IRK_FN Verdict judged(int64_t step) { return fit_.limits ? judge(*fit_.limits, step, loss(), streak_) : Verdict::none; }
  IRK_FN void within_limits(int64_t step, int64_t steps) {
    if (!fit_.limits) return;
    const int64_t every = fit_.limits->every, last = (step + steps - 1) / every * every;
    if (last >= step && last > fit_.limits->checked) streak_ = 0;
  }

  // The trial stops at `step`: what is there to note of it stands in all rows to come.
  IRK_FN void leave(int64_t step, Verdict verdict) {
    if (crew_.rank == 0) fit_.verdicts[trial_] = verdict;
    if (fit_.records) notice(true);
    if (fit_.records && crew_.rank == 0) {
      const int64_t before = fit_.records->every - 1;
      write(row(step + before), row(end() + before));
    }
    done();
  }

  IRK_FN void done() {
    if (fit_.limits && crew_.rank == 0) fit_.limits->streak[trial_] = streak_;
  }

 private:
  IRK_FN int64_t end() const { return fit_.first + fit_.steps; }
  IRK_FN int64_t row(int64_t step) const { return row_of(*fit_.records, fit_.first, step); }
  IRK_FN T loss() const { return static_cast<const T*>(fit_.call.target->loss)[trial_]; }
  IRK_FN void write(int64_t row, int64_t last) const { write_rows<T>(*fit_.records, row, last, trial_, trials_); }

  IRK_FN void notice(bool due) {
    const Records& records = *fit_.records;
    if (due || records.watch_each_step) sights_.look(crew_);
    if (crew_.rank == 0) note_watched<T>(records, sights_.watched(), loss(), trial_, trials_, due, sights_.noted());
    crew_.sync();
  }

  const FitCall& fit_;
  const Crew& crew_;
  const int64_t trials_;
  Sights sights_;
  int64_t trial_ = 0, streak_ = 0;
};

}  // namespace irk
