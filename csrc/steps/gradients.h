// What a step asks of a trial's gradients before it moves: are they finite, and how long are they.
#pragma once
#include <algorithm>
#include <type_traits>

#include "steps/dot.h"

namespace irk {

template <class T>
inline bool all_finite(const T* g, int64_t n) {
  using Flag = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;  // as wide as T: so the loop is vectorised
  Flag broken = 0;
  for (int64_t i = 0; i < n; ++i) broken |= Flag(g[i] - g[i] != T(0));  // NaN of a NaN and of an infinity
  return !broken;
}

// Sum of squares of one block, its entries cut at +-bound, accumulated in double.
template <class T>
inline double square_sum(const T* g, double bound, int64_t n) {
  double wide[kReduction];
  for (int64_t i = 0; i < n; ++i) wide[i] = std::min(std::max(double(g[i]), -bound), bound);
  return dot_block(wide, wide, n);
}

}  // namespace irk
