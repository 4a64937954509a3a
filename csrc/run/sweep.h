// One call of a plan: the step list over all trials, shared as share() says.
#pragma once
#include "plan/fit_program.h"
#include "run/frame.h"

namespace irk {

// Addresses of trial `t`: the trial loops decide how far each buffer moves.
template <class T>
void seat(const Frame<T>& frame, const Program& program, void* const* buffers, int64_t t, char* scratch) {
  const int n = kOperands + 2 * program.n_operands;
  for (int b = 0; b < n; ++b) frame.base[b] = static_cast<char*>(buffers[b]);
  for (int loop = 0; loop < program.n_trials; ++loop) {
    const TrialLoop& trial = program.trials[loop];
    const int64_t index = t % trial.extent;
    t /= trial.extent;
    if (!index) continue;
    for (int b = 0; b < n; ++b)
      if (trial.strides[b]) frame.base[b] += index * trial.strides[b] * frame.bytes(b);
  }
  frame.base[kScratch] = scratch;
}

template <class T>
void sweep(const Program& program, const Call& call, const Team& team, bool by_trial) {
  char* base[kMaxBuffers];
  const int64_t from = call.first_trial, trials = call.last_trial - from;
  const Team alone;
  const Team& inner = by_trial ? alone : team;
  char* scratch = static_cast<char*>(call.buffers[kScratch]) + (by_trial ? team.rank * program.scratch * int64_t(sizeof(T)) : 0);
  for (int64_t t = by_trial ? team.begin(trials) : 0; t < (by_trial ? team.end(trials) : trials); ++t) {
    const Frame<T> frame{program, call.entries, call.target, base, from + t};
    seat(frame, program, call.buffers, from + t, scratch);
    for (int s = call.first_step; s < call.last_step; ++s) {
      if (program.steps[s].fence) inner.sync();
      frame.run(program.steps[s], inner);
    }
    inner.sync();  // the next trial has the same scratch
  }
}

}  // namespace irk
