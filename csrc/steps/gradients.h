// What a step asks of a trial's gradients before it moves: are they finite, and how long are they.
#pragma once
#include <algorithm>
#include <cstring>

#include "core/half.h"
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

// Sum of squares of one block, its entries cut at +-bound, accumulated in double.
template <class T>
inline double square_sum(const T* g, double bound, int64_t n) {
  double wide[kReduction];
  for (int64_t i = 0; i < n; ++i) wide[i] = std::min(std::max(double(g[i]), -bound), bound);
  return dot_block(wide, wide, n);
}

}  // namespace irk
