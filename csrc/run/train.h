// The step loop of one trial for a crew of threads of a launch: no way back to the host between its steps.
// Reference: irkernels/reference/fit.py; on a core: run/fit.h
#pragma once
#include "run/descent.h"
#include "run/trial_frame.h"
#include "run/watch.h"

namespace irk {

// Where a crew's own numbers lie, from the beginning of its room: scratch and watched entries first.
struct Room {
  int64_t watched, noted, squares, paces, broken;  // bytes
  int64_t bytes;

  template <class T>
  IRK_FN static T* at(char* room, int64_t offset) { return reinterpret_cast<T*>(room + offset); }
  IRK_FN Notes notes(char* room) const {
    return {at<double>(room, squares), at<Pace>(room, paces), at<int>(room, broken)};
  }
};

inline Room room_of(const Program& program, const FitCall& fit, int64_t number_bytes) {
  const auto rounded = [](int64_t bytes) { return (bytes + 15) / 16 * 16; };
  Room room{};
  room.watched = rounded(program.scratch * number_bytes);
  room.noted = rounded(room.watched + (fit.records ? fit.records->scratch_elements * number_bytes : 0));
  room.squares = rounded(room.noted + (fit.records ? kNoted * number_bytes : 0));
  room.paces = rounded(room.squares + (wants_norm(fit.rule) ? parts_of(fit) * int64_t(sizeof(double)) : 0));
  room.broken = rounded(room.paces + fit.rule.groups * int64_t(sizeof(Pace)));
  room.bytes = room.broken + 16;
  return room;
}

// A crew of one thread.
struct Alone : Team {
  IRK_FN void sync() const {}
  IRK_FN void raise(int* flag) const { *flag = 1; }
};

// All that a launch of training is told: plain data where its threads can read it.
struct Training {
  const Program* program;
  const FitCall* fit;
  Room room;
  char* rooms;       // of all crews, one after the other; null: in the memory that a block shares
  int64_t trials, crews;
};

template <class T, class Crew>
IRK_FN IRK_APART void look_at_sights(const Records* records, T* watched, int64_t trial, Crew crew) {
  for (int v = 0; v < records->n_sights; ++v) {
    const Sight& sight = records->sights[v];
    for (int s = 0; s < sight.program.n_steps; ++s) {
      if (sight.program.steps[s].fence) crew.sync();
      const TrialFrame<T> frame{sight.program, sight.buffers, nullptr, nullptr, trial, watched + sight.scratch_offset,
                                watched + sight.offset, nullptr, 0};
      take_step(frame, sight.program.steps[s], crew);
    }
    crew.sync();
  }
}

// The watched entries of W at one trial.
template <class T>
struct TrialSights {
  const Records* records;
  T *room, *notes;
  int64_t trial;

  IRK_FN void begin(int64_t t) { trial = t; }
  IRK_FN const T* watched() const { return room; }
  IRK_FN T* noted() const { return notes; }
  template <class Crew>
  IRK_FN void look(const Crew& crew) const { look_at_sights(records, room, trial, crew); }
};

// Loss and gradients of a trial. Between two steps nothing is kept but the arguments: registers are the steps'.
template <class T, class Crew>
IRK_FN IRK_APART void evaluate(const Training& x, char* room, int64_t trial, int64_t batch, Crew crew) {
  for (int s = 0; s < x.program->n_steps; ++s) {
    const FitCall& fit = *x.fit;
    if (x.program->steps[s].fence) crew.sync();
    TrialFrame<T> frame{*x.program, fit.call.buffers, fit.call.entries, fit.call.target, trial, reinterpret_cast<T*>(room), nullptr,
                        fit.batches, batch};
    if (fit.batches && fit.batches->entries) frame.entries = fit.batches->entries + batch;
    take_step(frame, x.program->steps[s], crew);
  }
  crew.sync();
}

template <class T, class Crew>
IRK_FN void train(const Training& x, const Crew& crew, char* room, int64_t trial) {
  const FitCall& fit = *x.fit;
  if (!fit.active[trial]) return;
  T* scratch = reinterpret_cast<T*>(room);
  const Descent<T, Crew> descent(fit, crew, x.trials, x.room.notes(room));
  const TrialSights<T> sights{fit.records, Room::at<T>(room, x.room.watched), Room::at<T>(room, x.room.noted), trial};
  Watch<T, Crew, TrialSights<T>> watch(fit, crew, x.trials, sights);
  descent.begin(trial);
  watch.begin(trial);
  const int64_t last = fit.first + fit.steps;
  for (int64_t step = fit.first; step < last + (fit.look_back ? 1 : 0); ++step) {
    evaluate<T>(x, room, trial, step - fit.first, crew);
    if (!watch.look(step)) return;
    if (step < last && !descent.update(trial, scratch)) return watch.leave(step, Verdict::diverged);
  }
  watch.done();
}

// The `own`-th of all crews, which take whole trials in turns. shared: a room in the memory of its block, or null.
template <class T, class Crew>
IRK_FN void train_in_turns(const Training& x, const Crew& crew, int64_t own, char* shared = nullptr) {
  char* room = shared ? shared : x.rooms + own * x.room.bytes;
  for (int64_t trial = own; trial < x.trials; trial += x.crews) {
    train<T>(x, crew, room, trial);
    crew.sync();  // the next trial has the same room
  }
}

}  // namespace irk
