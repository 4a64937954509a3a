// What a step asks of a trial's gradients before it moves: are they finite, and how long are they.
#pragma once
#include <type_traits>

#include "steps/dot.h"

namespace irk {

template <class T>
IRK_FN inline bool all_finite(const T* g, int64_t n) {
  using Flag = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;  // as wide as T: so the loop is vectorised
  Flag broken = 0;
  for (int64_t i = 0; i < n; ++i) broken |= Flag(g[i] - g[i] != T(0));  // NaN of a NaN and of an infinity
  return !broken;
}

// An entry cut at +-bound. NaN stays.
IRK_FN inline double cut(double g, double bound) {
  const double above = g < -bound ? -bound : g;
  return bound < above ? bound : above;
}

// Sum of squares of a part of one block, its entries cut at +-bound, accumulated in double.
template <class T>
IRK_FN inline double square_sum(const T* g, double bound, int64_t n, int part) {
  if constexpr (Pack<double>::kLanes == 1) {
    return turn_sum<double>(part, n, [&](int64_t i, double& sum) {
      const double x = cut(double(g[i]), bound);
      sum = fma(x, x, sum);
    });
  } else {
    Partials<double> sums;
    for (int64_t i = 0; i < n; i += kPartials) {
      const int m = int(least<int64_t>(kPartials, n - i));
      double wide[kPartials];
      for (int j = 0; j < m; ++j) wide[j] = cut(double(g[i + j]), bound);
      if (m == kPartials) sums.add(wide, wide);
      else sums.add(wide, wide, m);
    }
    return halve_lanes(sums.halved());
  }
}

}  // namespace irk
