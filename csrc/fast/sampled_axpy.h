// The sampled axpy of steps/sampled.h on one CPU core: a row of c stays in registers while the entries of its group add
// to it.
#pragma once
#include <algorithm>

#include "fast/ahead.h"
#include "steps/sampled.h"

namespace irk {

template <class T, class Index>
class SampledAxpy {
  using Lanes = Pack<T>;
  static constexpr int W = Lanes::kLanes, kMost = 8;  // packs of a row at once
  static constexpr int64_t kWindow = 2 * kBlock;      // entries whose offsets are found at once

 public:
  SampledAxpy(const Step& step, const Loop* pool, const T* g, const T* b, T* c, const Order& order, int64_t nnz)
      : step_(step), pool_(pool), g_(g), b_(b), c_(c), order_(order), at_(order.columns, nnz, pool, step.columns),
        perm_(static_cast<const Index*>(order.perm)) {}

  // Rows of one unit stride; others go one number at a time.
  static bool fits(const Step& step, const Loop* pool) {
    const Loop* k = pool + step.k.first;
    return !step.k.count || (step.k.count == 1 && k->b == 1 && k->c == 1);
  }

  void run(const Team& team) const {
    const Groups<Index> groups(order_, at_.nnz, team);
    if (groups.first == groups.last) return;
    Walk outer(pool_, step_.outer);
    const int64_t repeats = outer.size();
    for (int64_t r = 0; r < repeats; ++r, outer.next()) {
      const bool add = adds(outer);
      if (!step_.k.count) numbers(outer, groups, add);
      else rows(outer, groups, add);
    }
  }

 private:
  // What the next entries read: numbers of g, and offsets in b.
  struct Window {
    int64_t first = 0, last = 0;
    T g[kWindow];
    int64_t b[kWindow + kAhead];
  };

  void move(Window& window, const T* g, int64_t first, int64_t end) const {
    window.first = first;
    window.last = std::min(end, first + kWindow);
    for (int64_t i = first; i < window.last; ++i) window.g[i - first] = g[perm_[i]];
    const int64_t known = std::min(end, first + kWindow + kAhead) - first;
    at_.template offsets<&Loop::b>(first, known, window.b);
    pad(window.b, known, kWindow + kAhead);
  }

  void rows(const Walk& outer, const Groups<Index>& groups, bool add) const {
    const int64_t width = pool_[step_.k.first].extent, end = groups.starts[groups.last];
    const bool far = far_apart<T>(step_.spread);
    Window window;
    for (int64_t group = groups.first; group < groups.last; ++group) {
      const int64_t first = groups.starts[group], last = groups.starts[group + 1];
      if (first == last) continue;
      T* c = c_ + outer.c + at_.template offset<&Loop::c>(first);
      for (int64_t block = first, n; block < last; block += n) {
        n = std::min(kBlock, last - block);
        if (block + n > window.last) move(window, g_ + outer.a, block, end);
        const int64_t at = block - window.first;
        for (int64_t j = 0; j < width; j += kMost * W) {
          const int64_t left = std::min<int64_t>(kMost * W, width - j);
          const int packs = int((left + W - 1) / W);
          const int tail = int(left - (packs - 1) * W);
          const Kernel kernel = far ? summing<true>(packs) : summing<false>(packs);
          kernel(window.g + at, window.b + at, n, b_ + outer.b + j, c + j, tail, add || block > first);
        }
      }
    }
  }

  // c[0..width) (+)= the sum of n entries, V packs of it held in registers
  template <int V, bool kAsk>
  static void sum_rows(const T* g, const int64_t* at, int64_t n, const T* b, T* c, int tail, bool more) {
    Lanes sum[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sum[v] = Lanes::nothing();
    for (int64_t i = 0; i < n; ++i) {
      const T* row = b + at[i];
      if (kAsk) ask_for_row(b + at[i + kAhead], V * W);
      const Lanes x = Lanes::broadcast(g[i]);
#pragma GCC unroll 8
      for (int v = 0; v < V - 1; ++v) sum[v] = fma(x, Lanes::load(row + v * W), sum[v]);
      sum[V - 1] = fma(x, Lanes::load(row + (V - 1) * W, tail), sum[V - 1]);
    }
#pragma GCC unroll 8
    for (int v = 0; v < V - 1; ++v) (more ? Lanes::load(c + v * W) + sum[v] : sum[v]).store(c + v * W);
    T* end = c + (V - 1) * W;
    (more ? Lanes::load(end, tail) + sum[V - 1] : sum[V - 1]).store(end, tail);
  }

  using Kernel = void (*)(const T*, const int64_t*, int64_t, const T*, T*, int, bool);
  template <bool kAsk>
  static Kernel summing(int packs) {
    constexpr Kernel kernels[kMost] = {sum_rows<1, kAsk>, sum_rows<2, kAsk>, sum_rows<3, kAsk>, sum_rows<4, kAsk>,
                                       sum_rows<5, kAsk>, sum_rows<6, kAsk>, sum_rows<7, kAsk>, sum_rows<8, kAsk>};
    return kernels[packs - 1];
  }

  // Groups of one number each.
  void numbers(const Walk& outer, const Groups<Index>& groups, bool add) const {
    const T* b = b_ + outer.b;
    T* c = c_ + outer.c;
    const int64_t end = groups.starts[groups.last];
    if (order_.groups == at_.nnz) return singles(g_ + outer.a, b, c, groups.starts[groups.first], end, add);
    Window window;
    for (int64_t group = groups.first; group < groups.last; ++group) {
      const int64_t first = groups.starts[group], last = groups.starts[group + 1];
      T total = T(0);
      T* number = c + at_.template offset<&Loop::c>(first);
      for (int64_t block = first, n; block < last; block += n) {
        n = std::min(kBlock, last - block);
        if (block + n > window.last) move(window, g_ + outer.a, block, end);
        T sum = T(-0.0);
        const int64_t at = block - window.first;
        for (int64_t i = at; i < at + n; ++i) sum = fma(window.g[i], b[window.b[i]], sum);
        total = block > first ? total + sum : add ? *number + sum : sum;
      }
      *number = total;
    }
  }

  // No entry twice: each number is one product.
  void singles(const T* g, const T* b, T* c, int64_t first, int64_t end, bool add) const {
    const bool same_b = !at_.template varies<&Loop::b>();
    int64_t b_at[kWindow], c_at[kWindow];
    for (int64_t n; first < end; first += n) {
      n = std::min(kWindow, end - first);
      at_.template offsets<&Loop::c>(first, n, c_at);
      if (!same_b) at_.template offsets<&Loop::b>(first, n, b_at);
      const Index* perm = perm_ + first;
      const auto each = [=](auto right) {
        if (add)
          for (int64_t i = 0; i < n; ++i) c[c_at[i]] += g[perm[i]] * right(i);
        else
          for (int64_t i = 0; i < n; ++i) c[c_at[i]] = g[perm[i]] * right(i);
      };
      if (same_b) each([same = *b](int64_t) { return same; });
      else each([b, at = b_at](int64_t i) { return b[at[i]]; });
    }
  }

  const Step& step_;
  const Loop* pool_;
  const T *g_, *b_;
  T* c_;
  const Order& order_;
  Coordinates<Index> at_;
  const Index* perm_;
};

}  // namespace irk
