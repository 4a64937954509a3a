// The sampled dot of steps/sampled.h on one CPU core. Bound by loads: entries that share a row of a read it once for
// all, so the entries are taken in the sorted order that a plan names, where it names one.
#pragma once
#include <algorithm>

#include "fast/ahead.h"
#include "steps/sampled.h"

namespace irk {

template <class T, class Index>
class SampledDot {
  using Lanes = Pack<T>;
  static constexpr int W = Lanes::kLanes, P = kPartials / W;
  // Entries at once whose partial sums stay in registers.
  static constexpr int kTogether = std::min(4, std::max(1, IRK_VECTOR_REGISTERS / 2 / P));
  static constexpr int64_t kWindow = 256;                     // entries whose offsets are found at once
  static constexpr int64_t kRoom = kWindow + kAhead + W;      // and of those ahead; whole packs of them are summed

 public:
  SampledDot(const Step& step, const Loop* pool, const T* a, const T* b, T* c, const Entries& entries)
      : step_(step), pool_(pool), a_(a), b_(b), c_(c), nnz_(entries.nnz),
        perm_(step.order < 0 ? nullptr : static_cast<const Index*>(entries.orders[step.order].perm)),
        at_(step.order < 0 ? entries.columns : entries.orders[step.order].columns, nnz_, pool, step.columns) {}

  void run(const Team& team) const {
    const Loop* k = pool_ + step_.k.first;
    const bool one_block = step_.k.count == 1 && k->a == 1 && k->b == 1 && k->extent <= kReduction;
    const int64_t last = team.end(nnz_);
    const bool far = far_apart<T>(step_.spread);
    const bool same_b = !at_.template varies<&Loop::b>() && !step_.k.count;  // all entries read one number of b
    int64_t a_at[kRoom], b_at[kRoom];
    for (int64_t first = team.begin(nnz_), n; first < last; first += n) {
      n = std::min(kWindow, last - first);
      const int64_t known = std::min(n + kAhead + W, last - first);
      at_.template offsets<&Loop::a>(first, known, a_at);
      if (!same_b) at_.template offsets<&Loop::b>(first, known, b_at);
      if (one_block) {
        pad(a_at, known, kRoom);
        pad(b_at, known, kRoom);
      }
      Walk outer(pool_, step_.outer);
      const int64_t repeats = outer.size();
      for (int64_t r = 0; r < repeats; ++r, outer.next()) {
        const T *a = a_ + outer.a, *b = b_ + outer.b;
        T* c = c_ + outer.c;
        if (one_block)
          for (int64_t i = 0; i < n; i += W) {
            if (far) ask(a, b, a_at + i + kAhead, b_at + i + kAhead, k->extent);
            store(entries(a, b, a_at + i, b_at + i, k->extent), first + i, int(std::min<int64_t>(W, n - i)), c);
          }
        else if (!step_.k.count)
          numbers(a, a_at, b, same_b ? nullptr : b_at, first, n, c);
        else
          for (int64_t i = 0; i < n; ++i) c[perm_ ? int64_t(perm_[first + i]) : first + i] = dot(a + a_at[i], b + b_at[i], pool_, step_.k);
      }
    }
  }

 private:
  // Nothing is contracted. b_at: null where all entries read the same number.
  void numbers(const T* a, const int64_t* a_at, const T* b, const int64_t* b_at, int64_t first, int64_t n, T* c) const {
    const Index* perm = perm_ ? perm_ + first : nullptr;
    if (!perm) c += first;
    const auto each = [=](auto place) {
      const T same = *b;
      if (b_at)
        for (int64_t i = 0; i < n; ++i) c[place(i)] = a[a_at[i]] * b[b_at[i]];
      else
        for (int64_t i = 0; i < n; ++i) c[place(i)] = a[a_at[i]] * same;
    };
    if (perm) each([=](int64_t i) { return int64_t(perm[i]); });
    else each([](int64_t i) { return i; });
  }

  void store(Lanes found, int64_t first, int n, T* c) const {
    if (!perm_) return n == W ? found.store(c + first) : found.store(c + first, n);
    T out[W];
    found.store(out);
    for (int i = 0; i < n; ++i) c[perm_[first + i]] = out[i];
  }

  // Rows of as many entries as there are lanes; one that the entry before has too is there already.
  static void ask(const T* a, const T* b, const int64_t* a_at, const int64_t* b_at, int64_t k) {
    for (int e = 0; e < W; ++e) {
      if (a_at[e] != a_at[e - 1]) ask_for_row(a + a_at[e], k);
      if (b_at[e] != b_at[e - 1]) ask_for_row(b + b_at[e], k);
    }
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
    for (int e = 0; e < E; ++e) {
#pragma GCC unroll 4
      for (int half = P / 2; half >= 1; half /= 2)
#pragma GCC unroll 4
        for (int p = 0; p < half; ++p) sums[e][p] = sums[e][p] + sums[e][p + half];
      halved[e] = sums[e][0];
    }
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
