// The register tile: R rows by V packs of columns, c[r, lane] (+)= sum over k of a[r, k(, lane)] * b[k, lane].
// Both micro-kernel forms: columns in lanes (a is broadcast) and batch in lanes (a varies along the lanes too).
// Bound by arithmetic: R * V fma for R broadcasts and V loads; 12 x 2 (AVX-512) and 6 x 2 keep all sums in registers.
#pragma once
#include <algorithm>
#include <utility>

#include "core/pack.h"

namespace irk {

template <class T>
struct TileShape {
  static constexpr int kPacks = 2;
  static constexpr int kRows = IRK_VECTOR_REGISTERS == 32 ? 12 : 6;
  static constexpr int kBatchRows = 4;  // batch in lanes is bound by loads, more rows do not help
  static constexpr int kColumns = kPacks * Pack<T>::kLanes;
};

// Lines of memory asked for while tiles are computed: one or two at every k that a tile passes, then as many further on.
template <class T>
struct Fetch {
  static constexpr int64_t kLine = 64 / int64_t(sizeof(T));
  const T* at = nullptr;
  int64_t stride = 0;
  int lines = 1, tiles = 0;  // tiles that still take part

  void next() {
    if (tiles <= 0) return;
    --tiles;
    at += kLine * lines;
  }
};

template <class T>
struct TileArguments {
  int64_t k;
  const T* a;
  int64_t a_row, a_k;
  const T* b;  // unit stride along the lanes
  int64_t b_k;
  T* c;
  int64_t c_row, c_lane;
  int tail;         // lanes of the last pack
  bool accumulate;  // add to c: a later block of k
  bool ahead;       // c lies far away: its lines are fetched while the sums are made
  Fetch<T> fetch;   // of a block of b still to come
};

// Results sums[row, lane] whose lanes do not lie side by side in c: where its rows do, squares are transposed.
template <class T>
__attribute__((noinline)) void store_across(const TileArguments<T>& t, const T* sums, int64_t stride, int rows, int lanes) {
  constexpr int W = Pack<T>::kLanes;
  if (t.c_row != 1) {
    for (int j = 0; j < lanes; ++j)
      for (int i = 0; i < rows; ++i) {
        T& c = t.c[i * t.c_row + j * t.c_lane];
        c = t.accumulate ? c + sums[i * stride + j] : sums[i * stride + j];
      }
    return;
  }
  for (int j = 0; j < lanes; j += W)
    for (int i = 0; i < rows; i += W) {
      const int high = std::min(W, rows - i), wide = std::min(W, lanes - j);
      Pack<T> square[W];
      for (int r = 0; r < W; ++r) square[r] = r < high ? Pack<T>::load(sums + (i + r) * stride + j) : Pack<T>::zero();
      transpose(square);
      for (int x = 0; x < wide; ++x) {
        T* c = t.c + i + (j + x) * t.c_lane;
        (t.accumulate ? Pack<T>::load(c, high) + square[x] : square[x]).store(c, high);
      }
    }
}

template <class T, int R, int V, bool kBatch, bool kTail>
void tile(const TileArguments<T>& t) {
  constexpr int W = Pack<T>::kLanes, G = (R + 2) / 3;
  if (t.ahead && t.c_lane == 1)
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v <= V; ++v) __builtin_prefetch(t.c + r * t.c_row + std::min(v * W, (V - 1) * W + t.tail - 1), 1);
  // Every loop over sums is unrolled: an index that is not constant would put them into memory.
  Pack<T> sum[R][V];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[r][v] = Pack<T>::nothing();
  const T* rows[G];  // one pointer for three rows keeps the address arithmetic in the instructions
#pragma GCC unroll 8
  for (int g = 0; g < G; ++g) rows[g] = t.a + 3 * g * t.a_row;
  const int64_t stride = t.a_row, a_k = t.a_k, b_k = t.b_k;
  const T *b = t.b, *fetch = t.fetch.at;
  const bool fetches = t.fetch.tiles > 0, pairs = t.fetch.lines == 2;
  for (int64_t k = 0; k < t.k; ++k) {
    Pack<T> right[V];
    if (fetches) {
      __builtin_prefetch(fetch, 0, 2);
      if (pairs) __builtin_prefetch(fetch + Fetch<T>::kLine, 0, 2);
      fetch += t.fetch.stride;
    }
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v)
      right[v] = kTail && v == V - 1 ? Pack<T>::load(b + v * W, t.tail) : Pack<T>::load(b + v * W);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const T* left = rows[r / 3] + (r % 3) * stride;
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        const Pack<T> x = !kBatch                  ? Pack<T>::broadcast(*left)
                          : kTail && v == V - 1 ? Pack<T>::load(left + v * W, t.tail)
                                                : Pack<T>::load(left + v * W);
        sum[r][v] = fma(x, right[v], sum[r][v]);
      }
    }
#pragma GCC unroll 8
    for (int g = 0; g < G; ++g) rows[g] += a_k;
    b += b_k;
  }
  if (t.c_lane != 1) {  // by way of memory: a reference to the sums would keep them there all along
    T out[R * V * W];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[r][v].store(out + (r * V + v) * W);
    return store_across(t, out, V * W, R, kTail ? (V - 1) * W + t.tail : V * W);
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      T* c = t.c + r * t.c_row + v * W;
      if (kTail && v == V - 1) (t.accumulate ? Pack<T>::load(c, t.tail) + sum[r][v] : sum[r][v]).store(c, t.tail);
      else (t.accumulate ? Pack<T>::load(c) + sum[r][v] : sum[r][v]).store(c);
    }
}

template <class T>
using Tile = void (*)(const TileArguments<T>&);

template <class T, int V, bool kBatch, bool kTail, size_t... R>
constexpr Tile<T> pick(int rows, std::index_sequence<R...>) {
  constexpr Tile<T> table[] = {tile<T, int(R) + 1, V, kBatch, kTail>...};
  return table[rows - 1];
}

template <class T>
inline Tile<T> find_tile(int rows, int packs, bool batch, bool tail) {
  using Rows = std::make_index_sequence<TileShape<T>::kRows>;
  using BatchRows = std::make_index_sequence<TileShape<T>::kBatchRows>;
  if (batch) {
    if (packs == 1) return tail ? pick<T, 1, true, true>(rows, BatchRows{}) : pick<T, 1, true, false>(rows, BatchRows{});
    return tail ? pick<T, 2, true, true>(rows, BatchRows{}) : pick<T, 2, true, false>(rows, BatchRows{});
  }
  if (packs == 1) return tail ? pick<T, 1, false, true>(rows, Rows{}) : pick<T, 1, false, false>(rows, Rows{});
  return tail ? pick<T, 2, false, true>(rows, Rows{}) : pick<T, 2, false, false>(rows, Rows{});
}

}  // namespace irk
