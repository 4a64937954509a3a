// The product at listed coordinates (a dot product an entry) and its pull-back (a sum of rows a group of entries).
// Bound by loads: each multiply-add reads both of its terms. No atomics: a row belongs to one group, a group to one member.
#pragma once
#include "steps/dot.h"

namespace irk {

// Offsets of entry n in the two arrays, from its coordinates.
template <class Index>
struct Coordinates {
  const Index* columns;  // [columns, nnz]
  int64_t nnz;
  const Loop* loops;     // one a column: its number in `extent`
  int n;

  IRK_FN int64_t a(int64_t entry) const { return sum<&Loop::a>(entry); }
  IRK_FN int64_t b(int64_t entry) const { return sum<&Loop::b>(entry); }
  IRK_FN int64_t c(int64_t entry) const { return sum<&Loop::c>(entry); }

 private:
  template <int64_t Loop::*kStride>
  IRK_FN int64_t sum(int64_t entry) const {
    int64_t at = 0;
    for (int i = 0; i < n; ++i) at += int64_t(columns[loops[i].extent * nnz + entry]) * (loops[i].*kStride);
    return at;
  }
};

template <class T, class Index>
IRK_FN void sampled_dot_step(const Step& step, const Loop* pool, const T* a, const T* b, T* c, const Entries& entries,
                             const Team& team) {
  constexpr int W = Pack<T>::kLanes;
  const Coordinates<Index> at{static_cast<const Index*>(entries.columns), entries.nnz, pool + step.columns.first, step.columns.count};
  const int64_t first = team.begin(entries.nnz), last = team.end(entries.nnz);
  const Loop* k = pool + step.k.first;
  const bool one_block = step.k.count == 1 && k->a == 1 && k->b == 1 && k->extent <= kReduction;
  Walk outer(pool, step.outer);
  const int64_t repeats = outer.size();
  for (int64_t r = 0; r < repeats; ++r, outer.next()) {
    int64_t n = first;
    for (; !step.k.count && n < last; ++n)  // nothing contracted: a product is read
      c[outer.c + n] = fma(a[outer.a + at.a(n)], b[outer.b + at.b(n)], T(0));
    for (; one_block && n + W <= last; n += W) {  // as many entries as lanes finish together
      Pack<T> sums[W];
      for (int i = 0; i < W; ++i) sums[i] = partial_sums(a + outer.a + at.a(n + i), b + outer.b + at.b(n + i), k->extent);
      halve_lanes(sums).store(c + outer.c + n);
    }
    for (; n < last; ++n) c[outer.c + n] = dot(a + outer.a + at.a(n), b + outer.b + at.b(n), pool, step.k);
  }
}

// c[0..width) = sum over the entries of one group, V packs of it held in registers; blocks of kBlock entries as in contract.
template <class T, class Index, int V>
void axpy_rows(const T* g, const Index* perm, const T* b, const Coordinates<Index>& at, int64_t first, int64_t last, T* c, int tail,
               bool add) {
  constexpr int W = Pack<T>::kLanes;
  for (int64_t block = first; block < last; block += kBlock) {
    Pack<T> sum[V];
    for (int v = 0; v < V; ++v) sum[v] = Pack<T>::zero();
    for (int64_t i = block; i < least(last, block + kBlock); ++i) {
      const T* row = b + at.b(i);
      const Pack<T> x = Pack<T>::broadcast(g[perm[i]]);
      for (int v = 0; v < V - 1; ++v) sum[v] = fma(x, Pack<T>::load(row + v * W), sum[v]);
      sum[V - 1] = fma(x, Pack<T>::load(row + (V - 1) * W, tail), sum[V - 1]);
    }
    const bool more = add || block > first;
    for (int v = 0; v < V - 1; ++v) (more ? Pack<T>::load(c + v * W) + sum[v] : sum[v]).store(c + v * W);
    T* end = c + (V - 1) * W;
    (more ? Pack<T>::load(end, tail) + sum[V - 1] : sum[V - 1]).store(end, tail);
  }
}

template <class T, class Index>
class SampledAxpy {
 public:
  IRK_FN SampledAxpy(const Step& step, const Loop* pool, const T* g, const T* b, T* c, const Order& order, int64_t nnz)
      : step_(step), pool_(pool), g_(g), b_(b), c_(c), order_(order),
        at_{static_cast<const Index*>(order_.columns), nnz, pool + step.columns.first, step.columns.count},
        perm_(static_cast<const Index*>(order_.perm)), starts_(static_cast<const Index*>(order_.starts)) {}

  IRK_FN void run(const Team& team) const {
    // Groups are shared so that members get about the same number of entries.
    const int64_t first = group_at(team.begin(at_.nnz)), last = team.rank == team.size - 1 ? order_.groups : group_at(team.end(at_.nnz));
    Walk outer(pool_, step_.outer);
    const int64_t repeats = outer.size();
    for (int64_t r = 0; r < repeats; ++r, outer.next()) {
      bool add = false;  // a '...' letter that c lacks is summed over
      for (int i = 0; i < outer.n; ++i) add |= outer.loops[i].c == 0 && outer.index[i] > 0;
      for (int64_t group = first; group < last; ++group)
        rows(g_ + outer.a, b_ + outer.b, c_ + outer.c, starts_[group], starts_[group + 1], add);
    }
  }

 private:
  IRK_FN int64_t group_at(int64_t entry) const {
    int64_t low = 0, high = order_.groups;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (starts_[middle] < entry) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  IRK_FN void rows(const T* g, const T* b, T* c, int64_t first, int64_t last, bool add) const {
    if (first == last) return;
    c += at_.c(first);
    if (!step_.k.count) return number(g, b, *c, first, last, add);
    if constexpr (Pack<T>::kLanes > 1)  // a lane of its own walks any nest
      if (const Loop* k = pool_ + step_.k.first; step_.k.count == 1 && k->b == 1 && k->c == 1)
        return run_of(*k, g, b, c, first, last, add);
    nested(g, b, c, first, last, add);
  }

  // One contracted letter of unit stride, in packs.
  void run_of(const Loop& k, const T* g, const T* b, T* c, int64_t first, int64_t last, bool add) const {
    constexpr int W = Pack<T>::kLanes, kMost = 8;
    for (int64_t j = 0; j < k.extent; j += kMost * W) {
      const int64_t width = least<int64_t>(kMost * W, k.extent - j);
      const int packs = int((width + W - 1) / W), tail = int(width - (packs - 1) * W);
      constexpr decltype(&axpy_rows<T, Index, 1>) kernels[] = {
          axpy_rows<T, Index, 1>, axpy_rows<T, Index, 2>, axpy_rows<T, Index, 3>, axpy_rows<T, Index, 4>,
          axpy_rows<T, Index, 5>, axpy_rows<T, Index, 6>, axpy_rows<T, Index, 7>, axpy_rows<T, Index, 8>};
      kernels[packs - 1](g, perm_, b + j, at_, first, last, c + j, tail, add);
    }
  }

  // One number of c.
  IRK_FN void number(const T* g, const T* b, T& c, int64_t first, int64_t last, bool add) const {
    T total = add ? c : T(0);
    for (int64_t block = first; block < last; block += kBlock) {
      T sum = T(0);
      for (int64_t i = block; i < least(last, block + kBlock); ++i) sum = fma(g[perm_[i]], b[at_.b(i)], sum);
      total = add || block > first ? total + sum : sum;
    }
    c = total;
  }

  // Contracted letters that no pack walks.
  IRK_FN void nested(const T* g, const T* b, T* c, int64_t first, int64_t last, bool add) const {
    Walk k(pool_, step_.k);
    const int64_t n = k.size();
    for (int64_t j = 0; j < n; ++j, k.next()) number(g, b + k.b, c[k.c], first, last, add);
  }

  const Step& step_;
  const Loop* pool_;
  const T *g_, *b_;
  T* c_;
  const Order& order_;
  Coordinates<Index> at_;
  const Index *perm_, *starts_;
};

}  // namespace irk
