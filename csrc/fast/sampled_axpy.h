// The sampled axpy of steps/sampled.h on one CPU core: a row of c stays in registers while the entries of its group add
// to it.
#pragma once
#include <algorithm>

#include "steps/sampled.h"

namespace irk {

template <class T, class Index>
class SampledAxpy {
  using Lanes = Pack<T>;
  static constexpr int W = Lanes::kLanes, kMost = 8;  // packs of a row at once
  static constexpr int kPaired = 3;                   // packs of a row of which two rows are summed at once
  static constexpr int64_t kWindow = 6 * kBlock;      // entries whose offsets are found at once
  static constexpr int kPieces = 512;                 // of them
  static constexpr int64_t kNearBytes = 64 << 10;     // of b that come fast, most of them from the first cache,
  static constexpr int64_t kFewest = 3;               // unless that leaves fewer packs of a row

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
    int64_t b[kWindow];
  };
  // At most kBlock entries of one group, which share one running sum.
  struct Piece {
    T* c;
    int32_t first, n;  // in the window
    bool more;         // adds to c: an earlier block of entries, or of an outer loop, has been there
  };

  void move(Window& window, const T* g, int64_t first, int64_t end) const {
    window.first = first;
    window.last = std::min(end, first + kWindow);
    for (int64_t i = first; i < window.last; ++i) window.g[i - first] = g[perm_[i]];
    at_.template offsets<&Loop::b>(first, window.last - first, window.b);
  }

  void rows(const Walk& outer, const Groups<Index>& groups, bool add) const {
    const int64_t end = groups.starts[groups.last];
    Window window;
    Piece pieces[kPieces];
    int64_t group = groups.first, next = groups.starts[group];
    while (group < groups.last) {
      move(window, g_ + outer.a, next, end);
      int count = 0;
      while (count < kPieces && group < groups.last) {
        const int64_t first = groups.starts[group], last = groups.starts[group + 1];
        const int64_t n = std::min(kBlock, last - next);
        if (next + n > window.last) break;
        if (n) pieces[count++] = {c_ + outer.c + at_.template offset<&Loop::c>(first), int32_t(next - window.first), int32_t(n), add || next > first};
        if ((next += n) == last) ++group;
      }
      add_pieces(window, pieces, count, b_ + outer.b);
    }
  }

  // Some columns at a time, as many as let the rows of b stay in the first cache while all pieces read them.
  void add_pieces(const Window& window, const Piece* pieces, int count, const T* b) const {
    const int64_t width = pool_[step_.k.first].extent, packs = (width + W - 1) / W;
    const int64_t near = kNearBytes / (step_.row.extent * W * int64_t(sizeof(T)));
    const int64_t most = near < kFewest ? kMost : std::min<int64_t>(near, kMost), blocks = (packs + most - 1) / most;
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t j = packs * block / blocks * W, past = std::min(width, packs * (block + 1) / blocks * W);
      const int wide = int((past - j + W - 1) / W), tail = int(past - j - (wide - 1) * W);
      const Kernel one = kernel<1>(wide), two = kernel<2>(wide);
      int i = 0;
      for (; wide <= kPaired && i + 1 < count; i += 2) two(pieces + i, window.g, window.b, b + j, j, tail);
      for (; i < count; ++i) one(pieces + i, window.g, window.b, b + j, j, tail);
    }
  }

  // c[j..) (+)= the sums of P pieces, V packs of each held in registers. Two narrow ones side by side: one alone would wait for its sums.
  template <int V, int P>
  static void sum_rows(const Piece* pieces, const T* g, const int64_t* at, const T* b, int64_t j, int tail) {
    Lanes sum[P][V];
    int32_t first[P], all = pieces[0].n;
#pragma GCC unroll 2
    for (int p = 0; p < P; ++p) {
      first[p] = pieces[p].first;
      all = std::min(all, pieces[p].n);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sum[p][v] = Lanes::zero();
    }
    const auto add = [&](int p, int64_t i) __attribute__((always_inline)) {
      const T* row = b + at[i];
      const Lanes x = Lanes::broadcast(g[i]);
#pragma GCC unroll 8
      for (int v = 0; v < V - 1; ++v) sum[p][v] = fma(x, Lanes::load(row + v * W), sum[p][v]);
      sum[p][V - 1] = fma(x, Lanes::load(row + (V - 1) * W, tail), sum[p][V - 1]);
    };
    for (int64_t i = 0; i < all; ++i)
#pragma GCC unroll 2
      for (int p = 0; p < P; ++p) add(p, first[p] + i);
#pragma GCC unroll 2
    for (int p = 0; p < P; ++p) {
      for (int64_t i = all; P > 1 && i < pieces[p].n; ++i) add(p, first[p] + i);
      T *c = pieces[p].c + j, *end = c + (V - 1) * W;
      const bool more = pieces[p].more;
#pragma GCC unroll 8
      for (int v = 0; v < V - 1; ++v) (more ? Lanes::load(c + v * W) + sum[p][v] : sum[p][v]).store(c + v * W);
      (more ? Lanes::load(end, tail) + sum[p][V - 1] : sum[p][V - 1]).store(end, tail);
    }
  }

  using Kernel = void (*)(const Piece*, const T*, const int64_t*, const T*, int64_t, int);
  template <int P>
  static Kernel kernel(int packs) {
    constexpr int L = P == 1 ? kMost : kPaired;
    constexpr Kernel kernels[kMost] = {sum_rows<1, P>,          sum_rows<least(2, L), P>, sum_rows<least(3, L), P>, sum_rows<least(4, L), P>,
                                       sum_rows<least(5, L), P>, sum_rows<least(6, L), P>, sum_rows<least(7, L), P>, sum_rows<least(8, L), P>};
    return kernels[packs - 1];
  }

  // Groups of one number each.
  void numbers(const Walk& outer, const Groups<Index>& groups, bool add) const {
    const T* b = b_ + outer.b;
    T* c = c_ + outer.c;
    const int64_t end = groups.starts[groups.last];
    Window window;
    int64_t c_at[kWindow];
    if (order_.groups == at_.nnz) {  // no entry twice
      for (int64_t first = groups.starts[groups.first]; first < end; first = window.last) {
        move(window, g_ + outer.a, first, end);
        at_.template offsets<&Loop::c>(first, window.last - first, c_at);
        for (int64_t i = 0; i < window.last - first; ++i) {
          const T sum = fma(window.g[i], b[window.b[i]], T(0));
          c[c_at[i]] = add ? c[c_at[i]] + sum : sum;
        }
      }
      return;
    }
    for (int64_t group = groups.first; group < groups.last; ++group) {
      const int64_t first = groups.starts[group], last = groups.starts[group + 1];
      T total = T(0);
      T* number = c + at_.template offset<&Loop::c>(first);
      for (int64_t block = first, n; block < last; block += n) {
        n = std::min(kBlock, last - block);
        if (block + n > window.last) move(window, g_ + outer.a, block, end);
        T sum = T(0);
        const int64_t at = block - window.first;
        for (int64_t i = at; i < at + n; ++i) sum = fma(window.g[i], b[window.b[i]], sum);
        total = block > first ? total + sum : add ? *number + sum : sum;
      }
      *number = total;
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
