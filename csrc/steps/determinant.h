// The determinant of a small square matrix, written against a number type V: a scalar, or a pack with one trial a lane.
#pragma once
#include "steps/numbers.h"

namespace irk {

// a d - b c to two units in the last place: its sign can be trusted where the products nearly cancel (Kahan).
template <class V>
IRK_FN inline V difference_of_products(V a, V d, V b, V c) {
  const V product = b * c, error = fma(negated(b), c, product);
  return fma(a, d, negated(product)) + error;
}

// Gaussian elimination with the largest pivot of each column, down to the last 2 x 2 block. Overwrites w [order, order].
template <class V>
IRK_FN inline V determinant(V* w, int order) {
  if (order == 1) return w[0];
  V scale = number<V>(1);
  for (int k = 0; k + 2 < order; ++k) {
    V* pivot = w + k * order;
    for (int i = k + 1; i < order; ++i) {  // the larger of two rows comes first, lane by lane
      V* row = w + i * order;
      const auto swap = less(magnitude(pivot[k]), magnitude(row[k]));
      for (int j = k; j < order; ++j) {
        const V above = pivot[j];
        pivot[j] = choose(swap, row[j], above);
        row[j] = choose(swap, above, row[j]);
      }
      scale = choose(swap, negated(scale), scale);
    }
    scale = scale * pivot[k];
    const auto singular = less_equal(magnitude(pivot[k]), number<V>(0));
    for (int i = k + 1; i < order; ++i) {
      V* row = w + i * order;
      const V ratio = choose(singular, number<V>(0), row[k] / pivot[k]);
      for (int j = k + 1; j < order; ++j) row[j] = fma(negated(ratio), pivot[j], row[j]);
    }
  }
  const V *a = w + (order - 2) * order + order - 2, *c = a + order;
  return scale * difference_of_products(a[0], c[1], a[1], c[0]);
}

}  // namespace irk
