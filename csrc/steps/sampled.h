// The product at listed coordinates (a dot product an entry) and its pull-back (a sum of rows a group of entries), one
// number at a time: what fast/sampled_dot.h and fast/sampled_axpy.h compute in packs, to the bit.
// No atomics: a row belongs to one group, a group to one member.
#pragma once
#include "steps/dot.h"

namespace irk {

// Offsets of entry n in the step's arrays, from its coordinates.
template <class Index>
struct Coordinates {
  const Index* columns;  // [columns, nnz]
  int64_t nnz;
  const Loop* loops;     // one a column: its number in `extent`
  int n;

  IRK_FN Coordinates(const void* columns, int64_t nnz, const Loop* pool, Span span)
      : columns(static_cast<const Index*>(columns)), nnz(nnz), loops(pool + span.first), n(span.count) {}

  template <int64_t Loop::*kStride>
  IRK_FN int64_t offset(int64_t entry) const {
    int64_t at = 0;
    for (int i = 0; i < n; ++i) at += int64_t(columns[loops[i].extent * nnz + entry]) * (loops[i].*kStride);
    return at;
  }
  template <int64_t Loop::*kStride>
  bool varies() const {
    for (int i = 0; i < n; ++i)
      if (loops[i].*kStride) return true;
    return false;
  }
  // Of `count` entries at once.
  template <int64_t Loop::*kStride>
  void offsets(int64_t first, int64_t count, int64_t* at) const {
    bool begun = false;
    for (int i = 0; i < n; ++i) {
      const int64_t stride = loops[i].*kStride;
      if (!stride) continue;
      const Index* column = columns + loops[i].extent * nnz + first;
      for (int64_t j = 0; j < count; ++j) at[j] = (begun ? at[j] : 0) + int64_t(column[j]) * stride;
      begun = true;
    }
    for (int64_t j = 0; !begun && j < count; ++j) at[j] = 0;
  }
};

template <class T, class Index>
IRK_FN void sampled_dot_step(const Step& step, const Loop* pool, const T* a, const T* b, T* c,
                             const Entries& entries, const Team& team) {
  const Coordinates<Index> at(entries.columns, entries.nnz, pool, step.columns);
  Walk outer(pool, step.outer);
  const int64_t repeats = outer.size();
  for (int64_t r = 0; r < repeats; ++r, outer.next())
    for (int64_t n = team.begin(entries.nnz); n < team.end(entries.nnz); ++n) {
      const T *left = a + outer.a + at.template offset<&Loop::a>(n), *right = b + outer.b + at.template offset<&Loop::b>(n);
      c[outer.c + n] = step.k.count ? dot(left, right, pool, step.k) : *left * *right;
    }
}

// The groups of one order that a member serves: members get about the same number of entries.
template <class Index>
struct Groups {
  const Index* starts;  // [groups + 1]
  int64_t first, last;

  IRK_FN Groups(const Order& order, int64_t nnz, const Team& team) : starts(static_cast<const Index*>(order.starts)) {
    first = at(team.begin(nnz), order.groups);
    last = team.rank == team.size - 1 ? order.groups : at(team.end(nnz), order.groups);
  }

 private:
  IRK_FN int64_t at(int64_t entry, int64_t groups) const {
    int64_t low = 0, high = groups;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (starts[middle] < entry) low = middle + 1;
      else high = middle;
    }
    return low;
  }
};

// Whether all that a step fills is written by a sum of rows later.
inline bool overwritten(const Step& fill, const Entries* entries) {
  return fill.order >= 0 && entries && entries->orders[fill.order].groups == fill.spread;
}

// Whether a repetition adds to c: a '...' letter that c lacks is summed over.
IRK_FN inline bool adds(const Walk& outer) {
  for (int i = 0; i < outer.n; ++i)
    if (outer.loops[i].c == 0 && outer.at(i) > 0) return true;
  return false;
}

// One number of a group's row: its entries in order, inside blocks of kBlock.
template <class T, class Index>
IRK_FN void sum_group(const Coordinates<Index>& at, const Index* perm, const T* g, const T* b, T& to, int64_t first, int64_t last, bool add) {
  T total = add ? to : T(0);
  for (int64_t block = first; block < last; block += kBlock) {
    T sum = T(-0.0);
    for (int64_t i = block; i < least(last, block + kBlock); ++i) sum = fma(g[perm[i]], b[at.template offset<&Loop::b>(i)], sum);
    total = add || block > first ? total + sum : sum;
  }
  to = total;
}

// Members have groups; where they are threads side by side, each has a column of a group's row.
template <class T, class Index>
IRK_FN void sampled_axpy_step(const Step& step, const Loop* pool, const T* g, const T* b, T* c, const Order& order,
                              int64_t nnz, const Team& team) {
  const Coordinates<Index> at(order.columns, nnz, pool, step.columns);
  const Index *perm = static_cast<const Index*>(order.perm), *starts = static_cast<const Index*>(order.starts);
  Walk outer(pool, step.outer), k(pool, step.k);
  const int64_t repeats = outer.size(), width = k.size();
  const auto column = [&](int64_t group, bool add) {
    const int64_t first = starts[group], last = starts[group + 1];
    if (first == last) return;
    T& to = c[outer.c + at.template offset<&Loop::c>(first) + k.c];
    sum_group(at, perm, g + outer.a, b + outer.b + k.b, to, first, last, add);
  };
  for (int64_t r = 0; r < repeats; ++r, outer.next()) {
    const bool add = adds(outer);
    if constexpr (Pack<T>::kLanes == 1) {
      for (int64_t i = team.begin(order.groups * width); i < team.end(order.groups * width); ++i) {
        const Divided of = divide(i, width);
        k.seek(of.rest);
        column(of.quotient, add);
      }
    } else {
      const Groups<Index> groups(order, nnz, team);
      for (int64_t group = groups.first; group < groups.last; ++group)
        for (int64_t j = 0; j < width; ++j, k.next()) column(group, add);
    }
  }
}

}  // namespace irk
