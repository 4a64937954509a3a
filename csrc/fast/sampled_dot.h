// The sampled dot of steps/sampled.h on one CPU core. Bound by loads: entries that share a row of a read it once for
// all, so the entries are taken in the sorted order that a plan names, where it names one.
#pragma once
#include <algorithm>

#include "steps/sampled.h"

namespace irk {

template <class T, class Index>
class SampledDot {
  using Lanes = Pack<T>;
  static constexpr int W = Lanes::kLanes, P = kPartials / W;
  // Entries at once whose partial sums stay in registers.
  static constexpr int kTogether = std::min(4, std::max(1, IRK_VECTOR_REGISTERS / 2 / P));
  static constexpr int kHeld = 8;                             // packs of a row of a that stay in registers
  static constexpr int64_t kWindow = 128;                     // entries whose offsets are found at once

 public:
  SampledDot(const Step& step, const Loop* pool, const T* a, const T* b, T* c, const Entries& entries)
      : step_(step), pool_(pool), a_(a), b_(b), c_(c), nnz_(entries.nnz),
        perm_(step.order < 0 ? nullptr : static_cast<const Index*>(entries.orders[step.order].perm)),
        at_(step.order < 0 ? entries.columns : entries.orders[step.order].columns, nnz_, pool, step.columns) {}

  void run(const Team& team) const {
    const Loop* k = pool_ + step_.k.first;
    const bool one_block = step_.k.count == 1 && k->a == 1 && k->b == 1 && k->extent <= kReduction;
    const int64_t last = team.end(nnz_);
    int64_t a_at[kWindow + W], b_at[kWindow + W];
    T found[kWindow + W];
    for (int64_t first = team.begin(nnz_), n; first < last; first += n) {
      n = std::min(kWindow, last - first);
      at_.template offsets<&Loop::a>(first, n, a_at);
      at_.template offsets<&Loop::b>(first, n, b_at);
      for (int i = 0; i < W; ++i) {  // beyond the last entry: whole packs of them are summed
        a_at[n + i] = a_at[n - 1];
        b_at[n + i] = b_at[n - 1];
      }
      Walk outer(pool_, step_.outer);
      const int64_t repeats = outer.size();
      for (int64_t r = 0; r < repeats; ++r, outer.next()) {
        const T *a = a_ + outer.a, *b = b_ + outer.b;
        T* c = c_ + outer.c;
        if (one_block && k->extent <= kHeld * W)
          short_rows(a, b, a_at, b_at, n, int(k->extent), found);
        else if (one_block)
          for (int64_t i = 0; i < n; i += W) entries(a, b, a_at + i, b_at + i, k->extent).store(found + i);
        else if (step_.k.count)
          for (int64_t i = 0; i < n; ++i) found[i] = dot(a + a_at[i], b + b_at[i], pool_, step_.k);
        else
          for (int64_t i = 0; i < n; ++i) found[i] = fma(a[a_at[i]], b[b_at[i]], T(0));
        for (int64_t i = 0; perm_ && i < n; ++i) c[perm_[first + i]] = found[i];
        if (!perm_) std::copy(found, found + n, c + first);
      }
    }
  }

 private:
  // Rows of at most kHeld packs: one of a is read once for all entries that come together.
  static void short_rows(const T* a, const T* b, const int64_t* a_at, const int64_t* b_at, int64_t n, int k, T* found) {
    alignas(64) T halved[(kWindow + W) * W];
    const int packs = (k + W - 1) / W, tail = k - (packs - 1) * W;
    const Kernel kernel = held(packs, std::make_index_sequence<kHeld>{});
    for (int64_t i = 0, same; i < n; i = same) {
      for (same = i + 1; same < n && a_at[same] == a_at[i];) ++same;
      kernel(a + a_at[i], b, b_at + i, same - i, tail, halved + i * W);
    }
    for (int64_t i = 0; i < n; i += W) {
      Lanes sums[W];
#pragma GCC unroll 16
      for (int e = 0; e < W; ++e) sums[e] = Lanes::load(halved + (i + e) * W);
      halve_lanes<T>(sums).store(found + i);
    }
  }

  // The products of one row of a with n of b, each halved down to one pack.
  template <int V>
  static void one_row(const T* a, const T* b, const int64_t* b_at, int64_t n, int tail, T* halved) {
    Lanes row[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) row[v] = v < V - 1 ? Lanes::load(a + v * W) : Lanes::load(a + v * W, tail);
    for (int64_t i = 0; i < n; ++i, halved += W) {
      const T* right = b + b_at[i];
      Lanes sums[P];
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) sums[p] = Lanes::zero();
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v)
        sums[v % P] = fma(row[v], v < V - 1 ? Lanes::load(right + v * W) : Lanes::load(right + v * W, tail), sums[v % P]);
      halve(sums).store(halved);
    }
  }
  using Kernel = void (*)(const T*, const T*, const int64_t*, int64_t, int, T*);
  template <size_t... V>
  static Kernel held(int packs, std::index_sequence<V...>) {
    constexpr Kernel kernels[] = {one_row<int(V) + 1>...};
    return kernels[packs - 1];
  }

  static Lanes halve(Lanes* sums) {
#pragma GCC unroll 4
    for (int half = P / 2; half >= 1; half /= 2)
#pragma GCC unroll 4
      for (int p = 0; p < half; ++p) sums[p] = sums[p] + sums[p + half];
    return sums[0];
  }

  // As many entries as there are lanes, kTogether of them at once.
  static Lanes entries(const T* a, const T* b, const int64_t* a_at, const int64_t* b_at, int64_t k) {
    Lanes sums[W / kTogether];
    for (int i = 0; i < W / kTogether; ++i, a_at += kTogether, b_at += kTogether) {
      bool one_row = true;
      for (int e = 1; e < kTogether; ++e) one_row &= a_at[e] == a_at[0];
      sums[i] = one_row ? dots<true>(a, b, a_at, b_at, k) : dots<false>(a, b, a_at, b_at, k);
    }
    return halve_lanes<T, W / kTogether / 2>(sums);
  }

  // kTogether sums, halved down to one pack for all.
  template <bool kOneRow>
  static Lanes dots(const T* a, const T* b, const int64_t* a_at, const int64_t* b_at, int64_t k) {
    constexpr int E = kTogether;
    Lanes sums[E][P], halved[E];
    const T *left[E], *right[E];
#pragma GCC unroll 8
    for (int e = 0; e < E; ++e) {
      left[e] = a + a_at[e];
      right[e] = b + b_at[e];
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) sums[e][p] = Lanes::zero();
    }
    int64_t i = 0;
    for (; i + kPartials <= k; i += kPartials)
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) {
        Lanes x = Lanes::load(left[0] + i + p * W);
#pragma GCC unroll 8
        for (int e = 0; e < E; ++e) {
          if (!kOneRow && e) x = Lanes::load(left[e] + i + p * W);
          sums[e][p] = fma(x, Lanes::load(right[e] + i + p * W), sums[e][p]);
        }
      }
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p)
      if (const int lanes = int(std::min<int64_t>(W, k - i - p * W)); lanes > 0) {
        Lanes x = Lanes::load(left[0] + i + p * W, lanes);
#pragma GCC unroll 8
        for (int e = 0; e < E; ++e) {
          if (!kOneRow && e) x = Lanes::load(left[e] + i + p * W, lanes);
          sums[e][p] = fma(x, Lanes::load(right[e] + i + p * W, lanes), sums[e][p]);
        }
      }
#pragma GCC unroll 8
    for (int e = 0; e < E; ++e) halved[e] = halve(sums[e]);
    return halve_lanes<T, W / 2, E>(halved);
  }

  const Step& step_;
  const Loop* pool_;
  const T *a_, *b_;
  T* c_;
  int64_t nnz_;
  const Index* perm_;  // of the order that the entries are taken in, or null
  Coordinates<Index> at_;
};

}  // namespace irk
