// Copies of what a tile reads, laid out for it: the right operand in panels of whole tiles, the left one tile at a time.
// Bound by bytes; an operand whose unit stride runs the other way goes through registers, square by square.
#pragma once
#include <algorithm>

#include "core/pack.h"

namespace irk {

// square[j] = from[., j]: `rows` x `depth` numbers at `from`, unit stride along depth, both at most kLanes; zero beyond.
template <class T>
inline void load_square(const T* from, int64_t stride, int rows, int depth, Pack<T>* square) {
  constexpr int W = Pack<T>::kLanes;
  if (rows == W && depth == W) {
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) square[i] = Pack<T>::load(from + i * stride);
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) square[i] = i < rows ? Pack<T>::load(from + i * stride, depth) : Pack<T>::zero();
  }
  transpose(square);
}

// from[i, j] -> to[j, i]
template <class T>
inline void transpose_square(const T* from, int64_t stride, int rows, int depth, T* to, int64_t to_stride) {
  constexpr int W = Pack<T>::kLanes;
  Pack<T> square[W];
  load_square(from, stride, rows, depth, square);
  if (rows == W && depth == W) {
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) square[i].store(to + i * to_stride);
  } else {
    for (int i = 0; i < depth; ++i) square[i].store(to + i * to_stride, rows);
  }
}

template <class T>
inline void copy_row(const T* from, int64_t n, T* to) {
  constexpr int W = Pack<T>::kLanes;
  int64_t i = 0;
  for (; i + W <= n; i += W) Pack<T>::load(from + i).store(to + i);
  if (i < n) Pack<T>::load(from + i, int(n - i)).store(to + i, int(n - i));
}

constexpr int64_t kShortestRun = 4;  // along k from which a square is worth its exchanges
constexpr int64_t kAheadRows = 4;  // of a packed block: how far on memory is asked for

// One operand of a contraction as packing reads it: numbers at at[k] + i * stride, i a row or a lane.
template <class T>
struct Source {
  const T* data;
  const int64_t* at;  // [depth]
  int64_t depth, stride;
  int64_t run, passed;  // at[k + 1] = at[k] + 1 but where a run ends: every `run` indices, the first after run - passed
};

// to[k * to_stride + i] for i < n
template <class T>
inline void pack_strip(const Source<T>& s, int64_t n, T* to, int64_t to_stride) {
  constexpr int W = Pack<T>::kLanes;
  if (s.stride == 1) {
    for (int64_t k = 0; k < s.depth; ++k) copy_row(s.data + s.at[k], n, to + k * to_stride);
  } else if (s.run >= kShortestRun) {
    int64_t end = std::min(s.run - s.passed, s.depth);
    for (int64_t k = 0, deep; k < s.depth; k += deep) {
      if (k == end) end = std::min(end + s.run, s.depth);
      deep = std::min<int64_t>(W, end - k);
      for (int64_t i = 0; i < n; i += W)
        transpose_square(s.data + s.at[k] + i * s.stride, s.stride, int(std::min<int64_t>(W, n - i)), int(deep), to + k * to_stride + i, to_stride);
    }
  } else {
    for (int64_t k = 0; k < s.depth; ++k)
      for (int64_t i = 0; i < n; ++i) to[k * to_stride + i] = s.data[s.at[k] + i * s.stride];
  }
}

// Panels of `width` lanes, one after the other, panel[k, lane]; rows of memory are read whole where lanes lie side by side.
template <class T>
inline void pack_panels(const Source<T>& s, int64_t lanes, int64_t width, T* to, int64_t panel) {
  if (s.stride == 1) {
    for (int64_t k = 0; k < s.depth; ++k) {
      const T *from = s.data + s.at[k], *next = s.data + s.at[std::min(k + kAheadRows, s.depth - 1)];
      for (int64_t j = 0; j < lanes; j += width) {
        __builtin_prefetch(next + j);
        copy_row(from + j, std::min(width, lanes - j), to + j / width * panel + k * width);
      }
    }
    return;
  }
  for (int64_t j = 0; j < lanes; j += width, to += panel) {
    Source<T> part = s;
    part.data += j * s.stride;
    pack_strip(part, std::min(width, lanes - j), to, width);
  }
}

}  // namespace irk
