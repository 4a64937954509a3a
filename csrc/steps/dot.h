// Sums to one number: blocks of kReduction terms, each 32 strided partial sums and a halving tree, block sums in a tree.
// The partition depends on the length alone, so the result does not depend on pack width or team size.
#pragma once
#include "core/pack.h"
#include "steps/walk.h"
#include "team/team.h"

namespace irk {

constexpr int kPartials = 32;

IRK_FN inline int64_t reduction_blocks(int64_t n) { return (n + kReduction - 1) / kReduction; }

// Parts whose sums a TreeSum is given for one block.
template <class T>
constexpr int kBlockParts = Pack<T>::kLanes == 1 ? kTurns : 1;

// Levels of a tree over blocks, or over their parts: beyond 2^31 terms its branches are added in order.
template <class T>
constexpr int kTreeLevels = 21 + (kBlockParts<T> == 1 ? 0 : 3);

// Adds numbers as a balanced binary tree over their positions.
template <class T, int kLevels = kTreeLevels<T>>
class TreeSum {
 public:
  IRK_FN void push(T x) {
    bool placed = false;
    IRK_UNROLL
    for (int level = 0; level <= kTop && !placed; ++level) {
      placed = !is_held(level);
      x = sums_[level] = placed ? x : sums_[level] + x;
    }
    ++count_;
  }
  IRK_FN T total() const {
    T sum{};
    bool any = false;
    IRK_UNROLL
    for (int level = 0; level <= kTop; ++level) {
      if (!is_held(level)) continue;
      sum = any ? sums_[level] + sum : sums_[level];
      any = true;
    }
    return sum;
  }

 private:
  static constexpr int kTop = kLevels - 1;
  IRK_FN bool is_held(int level) const { return level == kTop ? count_ >> kTop : count_ >> level & 1; }

  int64_t count_ = 0;
  T sums_[kTop + 1] = {};
};

// A part of one block where a pack is one number and registers are few: four of the partial sums, side by side. Parts in
// order meet in a TreeSum as in the halving tree.  add(i, sum): the i-th of n <= kReduction terms onto one of them
template <class Sum, class Add>
IRK_FN Sum turn_sum(int turn, int64_t n, Add&& add) {
  static_assert(kTurns == 8, "a turn has three bits");
  constexpr int kApart = kTurns, kPass = kPartials;
  Sum a{}, b{}, c{}, d{};
  int64_t i = (turn & 1) << 2 | (turn & 2) | turn >> 2;  // bits reversed
  IRK_ROLLED
  for (; i + 3 * kApart < n; i += kPass) {
    add(i, a);
    add(i + kApart, b);
    add(i + 2 * kApart, c);
    add(i + 3 * kApart, d);
  }
  if (i < n) add(i, a);
  if (i + kApart < n) add(i + kApart, b);
  if (i + 2 * kApart < n) add(i + 2 * kApart, c);
  return (a + c) + (b + d);
}

// The partial sums of one block, in packs; its terms come in order, kPartials at a time until the last.
template <class T>
struct Partials {
  static constexpr int W = Pack<T>::kLanes, P = kPartials / W;
  Pack<T> sums[P];

  Partials() {
    for (int p = 0; p < P; ++p) sums[p] = Pack<T>::zero();
  }
  void add(const T* a, const T* b) {
    for (int p = 0; p < P; ++p) sums[p] = fma(Pack<T>::load(a + p * W), Pack<T>::load(b + p * W), sums[p]);
  }
  void add(const T* a, const T* b, int n) {
    for (int p = 0; p < P; ++p) {
      if (p * W >= n) break;
      const int lanes = least(W, n - p * W);
      sums[p] = fma(Pack<T>::load(a + p * W, lanes), Pack<T>::load(b + p * W, lanes), sums[p]);
    }
  }
  // n terms, wherever a walk finds them.
  void add_gathered(const T* a, const T* b, Walk& walk, int n) {
    T left[kPartials], right[kPartials];
    gather(a, b, walk, n, left, right);
    add(left, right, n);
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
  // Their halving tree, down to one pack.
  Pack<T> halved() {
    for (int half = P / 2; half >= 1; half /= 2)
      for (int p = 0; p < half; ++p) sums[p] = sums[p] + sums[p + half];
    return sums[0];
  }
};

// The partial sums of a[i] * b[i], n <= kReduction, halved down to one pack.
template <class T>
inline Pack<T> partial_sums(const T* a, const T* b, int64_t n) {
  Partials<T> sums;
  int64_t i = 0;
  for (; i + kPartials <= n; i += kPartials) sums.add(a + i, b + i);
  sums.add(a + i, b + i, int(n - i));
  return sums.halved();
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

// sum of a[i] * b[i] over one block, n <= kReduction
template <class T>
inline T dot_block(const T* a, const T* b, int64_t n) {
  return halve_lanes(partial_sums(a, b, n));
}

template <class T>
inline T dot(const T* a, const T* b, int64_t n) {
  if (n <= kReduction) return dot_block(a, b, n);
  TreeSum<T> sum;
  for (int64_t i = 0; i < n; i += kReduction) sum.push(dot_block(a + i, b + i, least(kReduction, n - i)));
  return sum.total();
}

// sum of a[i] * b, in the same order.
template <class T>
T weighted_sum(const T* a, T b, int64_t n) {
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
T dot_in_packs(const T* a, const T* b, const Loop* pool, Span k) {
  Walk walk(pool, k);
  const int64_t n = walk.size();
  if (k.count == 1 && pool[k.first].a == 1 && pool[k.first].b == 1) return dot(a, b, n);
  if (k.count == 1 && pool[k.first].a == 1 && pool[k.first].b == 0) return weighted_sum(a, *b, n);
  if (k.count == 1 && pool[k.first].a == 0 && pool[k.first].b == 1) return weighted_sum(b, *a, n);
  TreeSum<T> sum;
  for (int64_t block = 0; block < n; block += kReduction) {
    const int64_t last = least(n, block + kReduction);
    Partials<T> partials;
    for (int64_t i = block; i < last; i += kPartials) partials.add_gathered(a, b, walk, int(least<int64_t>(kPartials, last - i)));
    sum.push(halve_lanes(partials.halved()));
  }
  return sum.total();
}

template <class T>
IRK_FN T dot(const T* a, const T* b, const Loop* pool, Span k) {
  if constexpr (Pack<T>::kLanes > 1) {
    return dot_in_packs(a, b, pool, k);
  } else {
    const bool straight = k.count == 1;  // then nothing is divided
    const int64_t n = extent_of(pool, k), a_stride = straight ? pool[k.first].a : 0, b_stride = straight ? pool[k.first].b : 0;
    TreeSum<T> sum;
    IRK_ROLLED
    for (int64_t part = 0; part < reduction_blocks(n) * kTurns; ++part) {
      const int64_t block = part / kTurns * kReduction;
      sum.push(turn_sum<T>(int(part % kTurns), least(kReduction, n - block), [&](int64_t i, T& total) {
        i += block;
        if (straight) {
          total = fma(a[i * a_stride], b[i * b_stride], total);
        } else {
          const Offsets at(pool, k, i);
          total = fma(a[at.a], b[at.b], total);
        }
      }));
    }
    return sum.total();
  }
}

template <class T>
IRK_FN void dot_step(const Step& step, const Loop* pool, const T* a, const T* b, T* c, const Team& team) {
  Walk outer(pool, step.outer);
  const int64_t total = outer.size(), first = team.begin(total), last = team.end(total);
  outer.seek(first);
  for (int64_t i = first; i < last; ++i, outer.next()) c[outer.c] = dot(a + outer.a, b + outer.b, pool, step.k);
}

}  // namespace irk
