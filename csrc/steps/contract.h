// The contraction, one number at a time: what fast/contract.h computes in register tiles, to the bit.
//   c[out] = sum over k of a[out, k] * b[out, k]: k in index order inside blocks of kBlock, fma, block sums added in order.
// A sum begins from -0, which adds nothing: its first product is rounded and no more.
#pragma once
#include "core/pack.h"
#include "steps/walk.h"
#include "team/team.h"

namespace irk {

template <class T>
IRK_FN void contract_step(const Step& step, const Loop* pool, const T* a, const T* b, T* c, const Team& team) {
  Walk k(pool, step.k);
  const int64_t lanes = step.lane.extent, tile = step.row.extent * lanes, depth = k.size();
  const int64_t total = extent_of(pool, step.outer) * tile;
  for (int64_t i = team.begin(total); i < team.end(total); ++i) {
    const Divided of_tiles = divide(i, tile), of_rows = divide(of_tiles.rest, lanes);
    const int64_t lane = of_rows.rest, row = of_rows.quotient;
    const Offsets outer(pool, step.outer, of_tiles.quotient);
    k.seek(0);
    const T* left = a + outer.a + row * step.row.a + lane * step.lane.a;
    const T* right = b + outer.b + lane * step.lane.b;
    T sum = T(0);
    for (int64_t block = 0; block < depth; block += kBlock) {
      T part = T(-0.0);
      for (int64_t j = block; j < least(depth, block + kBlock); ++j, k.next()) part = fma(left[k.a], right[k.b], part);
      sum = block ? sum + part : part;
    }
    c[outer.c + row * step.row.c + lane * step.lane.c] = sum;
  }
}

}  // namespace irk
