// Sums to one number: blocks of kReduction terms, each 32 strided partial sums and a halving tree, block sums in a tree.
// The partition depends on the length alone, so the result does not depend on pack width or team size.
#pragma once
#include <algorithm>

#include "core/pack.h"
#include "steps/walk.h"
#include "team/team.h"

namespace irk {

constexpr int kPartials = 32;

// Adds numbers as a balanced binary tree over their positions.
template <class T>
class TreeSum {
 public:
  void push(T x) {
    int level = 0;
    for (int64_t n = count_; n & 1; n >>= 1) x = sums_[level++] + x;
    sums_[level] = x;
    ++count_;
  }
  T total() const {
    T sum = T(0);
    bool any = false;
    for (int level = 0; level < 63; ++level) {
      if (!(count_ >> level & 1)) continue;
      sum = any ? sums_[level] + sum : sums_[level];
      any = true;
    }
    return sum;
  }

 private:
  int64_t count_ = 0;
  T sums_[63];
};

// The 32 partial sums of one block, n <= kReduction, halved down to one pack.
template <class T>
inline Pack<T> partial_sums(const T* a, const T* b, int64_t n) {
  constexpr int W = Pack<T>::kLanes, P = kPartials / W;
  Pack<T> s[P];
  for (int p = 0; p < P; ++p) s[p] = Pack<T>::zero();
  int64_t i = 0;
  for (; i + kPartials <= n; i += kPartials)
    for (int p = 0; p < P; ++p) s[p] = fma(Pack<T>::load(a + i + p * W), Pack<T>::load(b + i + p * W), s[p]);
  for (int p = 0; p < P && i + p * W < n; ++p) {
    const int lanes = int(std::min<int64_t>(W, n - i - p * W));
    s[p] = fma(Pack<T>::load(a + i + p * W, lanes), Pack<T>::load(b + i + p * W, lanes), s[p]);
  }
  for (int half = P / 2; half >= 1; half /= 2)
    for (int p = 0; p < half; ++p) s[p] = s[p] + s[p + half];
  return s[0];
}

// The rest of the halving tree: lane i takes lane i + W/2, and so on.
template <class T>
inline T halve_lanes(Pack<T> s) {
  constexpr int W = Pack<T>::kLanes;
  T lanes[W];
  s.store(lanes);
  for (int half = W / 2; half >= 1; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

// The same for kLanes sums at once: transposed, their halvings are whole packs.
template <class T>
inline Pack<T> halve_lanes(Pack<T>* sums) {
  constexpr int W = Pack<T>::kLanes;
  transpose(sums);
#pragma GCC unroll 8
  for (int half = W / 2; half >= 1; half /= 2)
#pragma GCC unroll 16
    for (int i = 0; i < half; ++i) sums[i] = sums[i] + sums[i + half];
  return sums[0];
}

// sum of a[i] * b[i] over one block, n <= kReduction
template <class T>
inline T dot_block(const T* a, const T* b, int64_t n) {
  return halve_lanes(partial_sums(a, b, n));
}

template <class T>
inline T dot(const T* a, const T* b, int64_t n) {
  if (n <= kReduction) return dot_block(a, b, n);
  TreeSum<T> sum;
  for (int64_t i = 0; i < n; i += kReduction) sum.push(dot_block(a + i, b + i, std::min(kReduction, n - i)));
  return sum.total();
}

// The same over any nest of loops: terms are gathered a block at a time.
template <class T>
T dot(const T* a, const T* b, const Loop* pool, Span k) {
  Walk walk(pool, k);
  const int64_t n = walk.size();
  if (k.count == 1 && pool[k.first].a == 1 && pool[k.first].b == 1) return dot(a, b, n);
  TreeSum<T> sum;
  T left[kReduction], right[kReduction];
  for (int64_t i = 0; i < n; i += kReduction) {
    const int64_t m = std::min(kReduction, n - i);
    for (int64_t j = 0; j < m; ++j, walk.next()) {
      left[j] = a[walk.a];
      right[j] = b[walk.b];
    }
    sum.push(dot_block(left, right, m));
  }
  return sum.total();
}

template <class T>
void dot_step(const Step& step, const Loop* pool, const T* a, const T* b, T* c, const Team& team) {
  Walk outer(pool, step.outer);
  const int64_t total = outer.size(), first = team.begin(total), last = team.end(total);
  outer.seek(first);
  for (int64_t i = first; i < last; ++i, outer.next()) c[outer.c] = dot(a + outer.a, b + outer.b, pool, step.k);
}

}  // namespace irk
