// One optimizer step of one trial. Reference: torch.optim.SGD, and irkernels/optim.py for GroupRMSprop (Arora et al. 2019).
#pragma once
#include <cmath>

#include "core/half.h"
#include "plan/fit_program.h"
#include "steps/dot.h"

namespace irk {

inline uint32_t magnitude_bits(float x) { return bits_of(x) & 0x7fffffffu; }
inline uint64_t magnitude_bits(double x) {
  uint64_t u;
  std::memcpy(&u, &x, 8);
  return u & 0x7fffffffffffffffull;
}
inline bool finite(uint32_t magnitude) { return magnitude < 0x7f800000u; }
inline bool finite(uint64_t magnitude) { return magnitude < 0x7ff0000000000000ull; }

template <class T>
inline bool all_finite(const T* g, int64_t n) {
  auto largest = magnitude_bits(T(0));  // magnitudes order like their bits, so one maximum tells of all
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, magnitude_bits(g[i]));
  return finite(largest);
}

// Sum of squares of one block, accumulated in double.
template <class T>
inline double square_sum(const T* g, int64_t n) {
  double wide[kReduction];
  for (int64_t i = 0; i < n; ++i) wide[i] = double(g[i]);
  return dot_block(wide, wide, n);
}

// p, buffer and g are one factor's elements; `first` says that the momentum buffer holds nothing yet.
template <class T>
void sgd_update(const Rule& rule, double lr, bool first, T* p, T* buffer, const T* g, int64_t n) {
  const T decay = T(rule.weight_decay), momentum = T(rule.momentum), fresh = T(1 - rule.dampening);
  const T rate = T(-lr), sign = rule.maximize ? T(-1) : T(1);
  if (!buffer) {
    for (int64_t i = 0; i < n; ++i) p[i] = p[i] + rate * (sign * g[i] + decay * p[i]);
    return;
  }
  const T keep = first ? T(0) : momentum, take = first ? T(1) : fresh;
  for (int64_t i = 0; i < n; ++i) {
    const T gradient = sign * g[i] + decay * p[i];
    const T velocity = keep * (first ? T(0) : buffer[i]) + take * gradient;
    buffer[i] = velocity;
    p[i] = p[i] + rate * (rule.nesterov ? gradient + momentum * velocity : velocity);
  }
}

// theta -= lr / (sqrt(v / (1 - alpha^step)) + eps) * g, one common scalar for all factors of a trial.
inline double group_rmsprop_rate(const Rule& rule, int64_t trial, double squared_norm) {
  rule.v[trial] = rule.alpha * rule.v[trial] + (1 - rule.alpha) * squared_norm;
  const double corrected = rule.v[trial] / (1 - std::pow(rule.alpha, double(rule.step[trial] + 1)));
  return rule.lr[trial] / (std::sqrt(corrected) + rule.eps);
}

template <class T>
void scaled_update(T rate, T* p, const T* g, int64_t n) {
  for (int64_t i = 0; i < n; ++i) p[i] = p[i] - rate * g[i];
}

}  // namespace irk
