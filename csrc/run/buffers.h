// What the buffers of a program hold, what it computes in, and how many trials it covers.
#pragma once
#include "plan/program.h"

namespace irk {

// Operands, gradients and a dense output are in storage type; listed entries and everything between in compute type.
inline bool holds_half(const Program& program, int buffer) {
  return (program.dtype == Dtype::bf16 || program.dtype == Dtype::f16) &&
         (buffer >= kOperands || (!program.sampled && (buffer == kOutput || buffer == kCotangent)));
}

// f(zero of the type that computes)
template <class F>
void with_compute_type(Dtype dtype, F&& f) {
  if (dtype == Dtype::f64) f(double());
  else f(float());
}

// How far trial t moves a buffer, in elements.
inline int64_t trial_offset(const Program& program, int buffer, int64_t t) {
  int64_t offset = 0;
  for (int i = 0; i < program.n_trials; ++i) {
    offset += t % program.trials[i].extent * program.trials[i].strides[buffer];
    t /= program.trials[i].extent;
  }
  return offset;
}

inline int64_t trial_count(const Program& program) {
  int64_t trials = 1;
  for (int i = 0; i < program.n_trials; ++i) trials *= program.trials[i].extent;
  return trials;
}

}  // namespace irk
