// The contraction of steps/contract.h for a machine whose lanes are threads: a thread makes a patch of R x L numbers in its
// registers, so that each number it reads serves a row or a column of them. The bits are those of one number at a time.
// Bound by loads: R + L for R * L fma. Rows and lanes of a patch lie apart, so that threads side by side read side by side.
#pragma once
#include "core/pack.h"
#include "steps/walk.h"
#include "team/team.h"

namespace irk {

constexpr int kPatchSide = 4;  // of both sides: 16 sums, in double 32 registers

struct Patch {
  int32_t rows = 1, lanes = 1;

  IRK_FN int64_t rows_of(const Step& step) const { return (step.row.extent + rows - 1) / rows; }
  IRK_FN int64_t lanes_of(const Step& step) const { return (step.lane.extent + lanes - 1) / lanes; }
  IRK_FN int64_t of(const Step& step, const Loop* pool) const {
    return extent_of(pool, step.outer) * rows_of(step) * lanes_of(step);
  }
};

// The patch with which `members` threads are done first, by arithmetic: rounds, times loads and a quarter of an fma each.
// repeats: how many such steps they share, one a trial.
IRK_FN inline Patch best_patch(const Step& step, const Loop* pool, int64_t repeats, int64_t members) {
  constexpr int64_t kPaying = kPatchSide - 1;  // fewer rows or lanes would leave too much of a patch empty
  const int32_t rows = step.row.extent >= kPaying ? kPatchSide : 1;
  const int32_t lanes = step.lane.extent >= kPaying && step.lane.a == 0 ? kPatchSide : 1;  // else a has numbers for each lane
  Patch best;
  int64_t least_cost = INT64_MAX;
  for (int i = 0; i < 4; ++i) {
    const Patch patch{i & 1 ? rows : 1, i & 2 ? lanes : 1};
    const int64_t rounds = divide(patch.of(step, pool) * repeats + members - 1, members).quotient;
    const int64_t cost = rounds * (4 * (patch.rows + patch.lanes) + patch.rows * patch.lanes);
    if (cost < least_cost) best = patch, least_cost = cost;
  }
  return best;
}

template <class T, int R, int L>
IRK_FN void contract_patches(const Step& step, const Loop* pool, const T* a, const T* b, T* c, const Team& team) {
  constexpr Patch kPatch{R, L};
  Walk k(pool, step.k);
  const int64_t rows = kPatch.rows_of(step), lanes = kPatch.lanes_of(step), depth = k.size();
  const int64_t total = kPatch.of(step, pool);
  for (int64_t i = team.begin(total); i < team.end(total); ++i) {
    const Divided of_tiles = divide(i, rows * lanes), of_rows = divide(of_tiles.rest, lanes);
    const int64_t row = of_rows.quotient, lane = of_rows.rest;
    const Offsets outer(pool, step.outer, of_tiles.quotient);
    const T *left[R], *right[L];  // beyond the last row or lane: the first one again, which is not stored
    IRK_UNROLL
    for (int r = 0; r < R; ++r) {
      const int64_t at = row + r * rows < step.row.extent ? row + r * rows : row;
      left[r] = a + outer.a + at * step.row.a + (L == 1 ? lane * step.lane.a : 0);
    }
    IRK_UNROLL
    for (int l = 0; l < L; ++l) right[l] = b + outer.b + (lane + l * lanes < step.lane.extent ? lane + l * lanes : lane) * step.lane.b;
    k.seek(0);
    IRK_ROLLED
    for (int64_t block = 0; block == 0 || block < depth; block += kBlock) {
      T part[R][L];
      IRK_UNROLL
      for (int r = 0; r < R; ++r) {
        IRK_UNROLL
        for (int l = 0; l < L; ++l) part[r][l] = T(-0.0);
      }
      IRK_ROLLED
      for (int64_t j = block; j < least(depth, block + kBlock); ++j, k.next()) {
        T x[R], y[L];
        IRK_UNROLL
        for (int r = 0; r < R; ++r) x[r] = left[r][k.a];
        IRK_UNROLL
        for (int l = 0; l < L; ++l) y[l] = right[l][k.b];
        IRK_UNROLL
        for (int r = 0; r < R; ++r) {
          IRK_UNROLL
          for (int l = 0; l < L; ++l) part[r][l] = fma(x[r], y[l], part[r][l]);
        }
      }
      IRK_UNROLL
      for (int r = 0; r < R; ++r) {
        IRK_UNROLL
        for (int l = 0; l < L; ++l) {
          const int64_t at_row = row + r * rows, at_lane = lane + l * lanes;
          if (at_row >= step.row.extent || at_lane >= step.lane.extent) continue;
          T& to = c[outer.c + at_row * step.row.c + at_lane * step.lane.c];  // earlier blocks are there: registers are few
          to = block ? to + part[r][l] : depth ? part[r][l] : T(0);
        }
      }
    }
  }
}

template <class T>
IRK_FN void contract_patches(const Step& step, const Loop* pool, const T* a, const T* b, T* c, Patch patch, const Team& team) {
  if (patch.rows > 1 && patch.lanes > 1) return contract_patches<T, kPatchSide, kPatchSide>(step, pool, a, b, c, team);
  if (patch.rows > 1) return contract_patches<T, kPatchSide, 1>(step, pool, a, b, c, team);
  if (patch.lanes > 1) return contract_patches<T, 1, kPatchSide>(step, pool, a, b, c, team);
  contract_patches<T, 1, 1>(step, pool, a, b, c, team);
}

}  // namespace irk
