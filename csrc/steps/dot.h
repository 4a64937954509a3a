// Sums to one number: blocks of kReduction terms, each 32 strided partial sums and a halving tree, block sums in a tree.
// The partition depends on the length alone, so the result does not depend on pack width or team size.
#pragma once
#include "core/pack.h"
#include "steps/walk.h"
#include "team/team.h"

namespace irk {

constexpr int kPartials = 32;

// Adds numbers as a balanced binary tree over their positions.
template <class T>
class TreeSum {
 public:
  IRK_FN void push(T x) {
    bool placed = false;
    IRK_UNROLL
    for (int level = 0; level < kLevels && !placed; ++level) {
      placed = !(count_ >> level & 1);
      x = sums_[level] = placed ? x : sums_[level] + x;
    }
    ++count_;
  }
  IRK_FN T total() const {
    T sum = T(0);
    bool any = false;
    IRK_UNROLL
    for (int level = 0; level < kLevels; ++level) {
      if (!(count_ >> level & 1)) continue;
      sum = any ? sums_[level] + sum : sums_[level];
      any = true;
    }
    return sum;
  }

 private:
  static constexpr int kLevels = 31;  // of blocks of terms: more than any memory holds
  int64_t count_ = 0;
  T sums_[kLevels] = {};
};

// The partial sums of one block; its terms come in order, kPartials at a time until the last.
template <class T>
struct Partials {
  static constexpr int W = Pack<T>::kLanes, P = kPartials / W;
  Pack<T> sums[P];

  IRK_FN Partials() {
    for (int p = 0; p < P; ++p) sums[p] = Pack<T>::zero();
  }
  IRK_FN void add(const T* a, const T* b) {
    for (int p = 0; p < P; ++p) sums[p] = fma(Pack<T>::load(a + p * W), Pack<T>::load(b + p * W), sums[p]);
  }
  IRK_FN void add(const T* a, const T* b, int n) {
    IRK_UNROLL
    for (int p = 0; p < P; ++p) {
      if (p * W >= n) break;
      const int lanes = least(W, n - p * W);
      sums[p] = fma(Pack<T>::load(a + p * W, lanes), Pack<T>::load(b + p * W, lanes), sums[p]);
    }
  }
  // n terms, wherever a walk finds them.
  IRK_FN void add_gathered(const T* a, const T* b, Walk& walk, int n) {
    if constexpr (W == 1) {  // each term is offered to all sums: what is chosen by a number would not lie in registers
      IRK_ROLLED
      for (int j = 0; j < n; ++j, walk.next()) {
        const T x = a[walk.a], y = b[walk.b];
        IRK_UNROLL
        for (int p = 0; p < kPartials; ++p)
          if (p == j) add_at(p, x, y);
      }
    } else {
      T left[kPartials], right[kPartials];
      gather(a, b, walk, n, left, right);
      add(left, right, n);
    }
  }
  template <class Runs>  // a walk that tells how long the innermost loop goes on
  static void gather(const T* a, const T* b, Runs& walk, int n, T* left, T* right) {
    for (int j = 0, together; j < n; j += together) {
      together = int(least<int64_t>(n - j, walk.ahead()));
      copy(a + walk.a, walk.innermost().a, together, left + j);
      copy(b + walk.b, walk.innermost().b, together, right + j);
      walk.next(together);
    }
  }
  static void copy(const T* from, int64_t stride, int n, T* to) {
    if (stride == 1)
      for (int i = 0; i < n; ++i) to[i] = from[i];
    else
      for (int i = 0; i < n; ++i) to[i] = from[i * stride];
  }
  // Of a pack of one lane: the p-th alone.
  IRK_FN void add_at(int p, T a, T b) { sums[p].v = fma(a, b, sums[p].v); }
  // Their halving tree, down to one pack.
  IRK_FN Pack<T> halved() {
    for (int half = P / 2; half >= 1; half /= 2)
      for (int p = 0; p < half; ++p) sums[p] = sums[p] + sums[p + half];
    return sums[0];
  }
};

// The partial sums of a[i] * b[i], n <= kReduction, halved down to one pack.
template <class T>
IRK_FN inline Pack<T> partial_sums(const T* a, const T* b, int64_t n) {
  Partials<T> sums;
  int64_t i = 0;
  for (; i + kPartials <= n; i += kPartials) sums.add(a + i, b + i);
  sums.add(a + i, b + i, int(n - i));
  return sums.halved();
}

// The rest of the halving tree: lane i takes lane i + W/2, and so on.
template <class T>
IRK_FN inline T halve_lanes(Pack<T> s) {
  constexpr int W = Pack<T>::kLanes;
  T lanes[W];
  s.store(lanes);
  for (int half = W / 2; half >= 1; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

// sum of a[i] * b[i] over one block, n <= kReduction
template <class T>
IRK_FN inline T dot_block(const T* a, const T* b, int64_t n) {
  return halve_lanes(partial_sums(a, b, n));
}

template <class T>
IRK_FN inline T dot(const T* a, const T* b, int64_t n) {
  if (n <= kReduction) return dot_block(a, b, n);
  TreeSum<T> sum;
  for (int64_t i = 0; i < n; i += kReduction) sum.push(dot_block(a + i, b + i, least(kReduction, n - i)));
  return sum.total();
}

// sum of a[i] * b, in the same order.
template <class T>
IRK_FN T weighted_sum(const T* a, T b, int64_t n) {
  T right[kPartials];
  for (int i = 0; i < kPartials; ++i) right[i] = b;
  TreeSum<T> sum;
  for (int64_t block = 0; block < n; block += kReduction) {
    const int64_t last = least(n, block + kReduction);
    Partials<T> sums;
    int64_t i = block;
    for (; i + kPartials <= last; i += kPartials) sums.add(a + i, right);
    sums.add(a + i, right, int(last - i));
    sum.push(halve_lanes(sums.halved()));
  }
  return sum.total();
}

// The same over any nest of loops: terms are gathered, kPartials at a time.
template <class T>
IRK_FN T dot(const T* a, const T* b, const Loop* pool, Span k) {
  Walk walk(pool, k);
  const int64_t n = walk.size();
  if (k.count == 1 && pool[k.first].a == 1 && pool[k.first].b == 1) return dot(a, b, n);
  if (Pack<T>::kLanes > 1 && k.count == 1 && pool[k.first].a == 1 && pool[k.first].b == 0) return weighted_sum(a, *b, n);
  if (Pack<T>::kLanes > 1 && k.count == 1 && pool[k.first].a == 0 && pool[k.first].b == 1) return weighted_sum(b, *a, n);
  TreeSum<T> sum;
  for (int64_t block = 0; block < n; block += kReduction) {
    const int64_t last = least(n, block + kReduction);
    Partials<T> partials;
    for (int64_t i = block; i < last; i += kPartials) partials.add_gathered(a, b, walk, int(least<int64_t>(kPartials, last - i)));
    sum.push(halve_lanes(partials.halved()));
  }
  return sum.total();
}

IRK_FN inline int64_t reduction_blocks(int64_t n) { return (n + kReduction - 1) / kReduction; }

template <class T>
IRK_FN void dot_step(const Step& step, const Loop* pool, const T* a, const T* b, T* c, const Team& team) {
  Walk outer(pool, step.outer);
  const int64_t total = outer.size(), first = team.begin(total), last = team.end(total);
  outer.seek(first);
  for (int64_t i = first; i < last; ++i, outer.next()) c[outer.c] = dot(a + outer.a, b + outer.b, pool, step.k);
}

}  // namespace irk
