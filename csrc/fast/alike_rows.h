// Listed entries of a product whose operands all have rows of the same letters: y[n] = sum over j of the product over the
// operands i of row_i(n)[j]. The elements of a row lie in lanes, short rows of several entries side by side in a pack; rows are
// read where they are. On the way up there are prefixes, on the way down suffixes, both with exponents (fast/exponents.h)
// brought up to date every kLoose operands.
#pragma once
#include <algorithm>

#include "fast/exponents.h"
#include "steps/rows.h"

namespace irk {

template <class T, class Index>
class AlikeRows {
  using Lanes = Pack<T>;
  using Powers = Exponents<T>;
  static constexpr int W = Lanes::kLanes;
  static constexpr int kSide = kAlikeSide;  // packs: a product of many factors waits for each of its steps
  static constexpr int kLoose = 8, kColumnsAhead = 8;
  static constexpr int kFewest = 8;  // entries worth a common pack: rows of one element, or of two

 public:
  // base: of the buffers, at this trial.
  AlikeRows(const Gathered& g, int n, const Loop* pool, const Entries& entries, char* const* base)
      : g_(g), n_(n), width_(g.operands[0].width), pool_(pool), entries_(entries), base_(base) {
    if (width_ > 2 || kFewest * width_ > W) return;
    together_ = W / width_;
    span_ = width_;
  }

  // y[0, count) of the entries from `first` on.
  void value(int64_t first, int64_t count, T* y) const {
    each_side(count, [&](int64_t at, int64_t entries, auto side) {
      using S = decltype(side);
      constexpr int kPacks = S::kPacks;
      T total[S::kTogether ? kPacks * W : kPacks] = {}, sum[S::kTogether ? kPacks * W : kPacks], products[kPacks * W];
      std::fill_n(sum, entries, T(-0.0));
      for (int64_t j = 0; j < width_; j += W) {
        Lanes prefix[kPacks], before, behind;
        Powers powers[kPacks];
        up<S>(first + at, entries, j, prefix, powers, nullptr, nullptr);
        for (int p = 0; p < kPacks; ++p) {
          powers[p].split(before, behind);
          (prefix[p] * before * behind).store(products + p * W);
        }
        for (int64_t e = 0; e < entries; ++e)
          for (int64_t k = 0; k < lanes(j); ++k) sum[e] += products[e * span_ + k];
        if ((j + W) % kBlock && j + W < width_) continue;
        for (int64_t e = 0; e < entries; ++e) {
          total[e] = j < kBlock ? sum[e] : total[e] + sum[e];
          sum[e] = T(-0.0);
        }
      }
      std::copy_n(total, entries, y + at);
    });
  }

  // The gradients of the rows, from those of the entries, into a block's workspace: summed by rows, or one by one.
  void pull(int64_t first, int64_t count, const T* cotangent, T* workspace) const {
    std::fill_n(workspace + g_.sums, g_.summed, T(0));
    each_side(count, [&](int64_t at, int64_t entries, auto side) {
      using S = decltype(side);
      constexpr int kPacks = S::kPacks;
      for (int64_t j = 0; j < width_; j += W) {
        Lanes prefix[kPacks];
        Powers powers[kPacks];
        up<S>(first + at, entries, j, prefix, powers, workspace, workspace + g_.scratch);
        T* const to = workspace + g_.sums + j;
        if (g_.summed) down<S, true>(first + at, entries, j, cotangent + at, workspace, to);
        else down<S, false>(first + at, entries, j, cotangent + at, workspace, to + at * g_.padded);
      }
    });
  }

  // Parts that members share: each pack of each operand's rows.
  int64_t parts() const { return n_ * packs(); }

  // Adds gradients of rows, one entry after the other, to those of the operands.
  void add(int64_t first, int64_t count, const T* workspace, int64_t begin, int64_t end) const {
    each_part(begin, end, [&](int i, const RowsOperand& o, int64_t j) {
      const Coordinates<Index> at(entries_.columns, entries_.nnz, pool_, o.columns);
      const T* from = workspace + g_.sums + i * g_.block * g_.padded + j;
      for (int64_t n = 0; n < count; ++n, from += g_.padded) add_row(o, at.template offset<&Loop::b>(first + n), j, Lanes::load(from));
    });
  }

  // Adds the sums of blocks, one block after the other, to the gradients of the operands.
  void collect(const T* workspace, int64_t blocks, int64_t begin, int64_t end) const {
    each_part(begin, end, [&](int, const RowsOperand& o, int64_t j) {
      Walk row(pool_, o.listed);
      const int64_t rows = row.size();
      for (int64_t r = 0; r < rows; ++r, row.next()) {
        const T* from = workspace + g_.sums + o.pulled + row.c * g_.padded + j;
        Lanes sum = Lanes::load(from);
        for (int64_t b = 1; b < blocks; ++b) sum = sum + Lanes::load(from + b * g_.slot);
        add_row(o, row.b, j, sum);
      }
    });
  }

 private:
  // Packs that are computed side by side, each with one row or with short rows of many entries.
  template <int kCount, bool kShort>
  struct Side {
    static constexpr int kPacks = kCount;
    static constexpr bool kTogether = kShort;
  };

  // f(first entry, entries, side that they lie in): whole packs, but for the last one.
  template <class F>
  void each_side(int64_t count, F&& f) const {
    if (together_ > 1) sides<true>(count, f);
    else sides<false>(count, f);
  }
  template <bool kTogether, class F>
  void sides(int64_t count, F&& f) const {
    const int64_t each = kTogether ? together_ : 1;
    int64_t at = 0;
    for (; at + kSide * each <= count; at += kSide * each) f(at, kSide * each, Side<kSide, kTogether>());
    for (int64_t n; at < count; at += n) f(at, n = std::min(each, count - at), Side<1, kTogether>());
  }

  int64_t packs() const { return (width_ + W - 1) / W; }

  // f(number of the operand, operand, first element) for parts [begin, end) of gradients that are wanted.
  template <class F>
  void each_part(int64_t begin, int64_t end, F&& f) const {
    for (int64_t part = begin; part < end; ++part) {
      const int i = int(part / packs());
      if (g_.operands[i].gradient.buffer != kNowhere) f(i, g_.operands[i], part % packs() * W);
    }
  }

  void add_row(const RowsOperand& o, int64_t at, int64_t j, Lanes x) const {
    T* const to = base<T>(o.gradient) + at;
    const int held = lanes(j);
    if (run(o, &Loop::b)) return (Lanes::load(to + j, held) + x).store(to + j, held);
    T row[W];
    x.store(row);
    for (int k = 0; k < held; ++k) to[Offsets(pool_, o.rest, j + k).b] += row[k];
  }

  int lanes(int64_t j) const { return int(std::min<int64_t>(W, width_ - j)); }
  template <class U>
  U* base(Ref ref) const { return reinterpret_cast<U*>(base_[ref.buffer]) + ref.offset; }

  // Whether the elements of a row are neighbours.
  bool run(const RowsOperand& o, int64_t Loop::*stride) const {
    return o.rest.count == 0 || (o.rest.count == 1 && pool_[o.rest.first].*stride == 1);
  }

  // Asks for coordinates that are soon read: from column to column no hardware foresees them.
  void ask(int i, int64_t entry) const {
    if (i < 0 || i >= n_ || !g_.operands[i].columns.count) return;
    const int64_t column = pool_[g_.operands[i].columns.first].extent;
    __builtin_prefetch(static_cast<const Index*>(entries_.columns) + column * entries_.nnz + entry);
  }

  template <class S>
  IRK_INLINE void load(const RowsOperand& o, int64_t entry, int64_t entries, int64_t j, Lanes* rows) const {
    const Coordinates<Index> at(entries_.columns, entries_.nnz, pool_, o.columns);
    const T* const from = base<const T>(o.operand);
    if constexpr (S::kTogether) return load_together<S::kPacks>(o, at, from, entry, entries, rows);
    const int held = lanes(j);
    if (run(o, &Loop::a)) {
      each_offset<&Loop::a>(at, entry, S::kPacks, [&](int64_t e, int64_t row) {
        rows[e] = held == W ? Lanes::load(from + row + j) : Lanes::load(from + row + j, held);
      });
      return;
    }
    each_offset<&Loop::a>(at, entry, S::kPacks, [&](int64_t e, int64_t row) {
      T x[W] = {};
      for (int k = 0; k < held; ++k) x[k] = from[row + Offsets(pool_, o.rest, j + k).a];
      rows[e] = Lanes::load(x);
    });
  }

  template <int kPacks>
  void load_together(const RowsOperand& o, const Coordinates<Index>& at, const T* from, int64_t entry, int64_t entries,
                     Lanes* rows) const {
    T x[kPacks * W] = {};
    const bool neighbours = run(o, &Loop::a);
    with_width([&](auto width) {
      int64_t places[width];
      for (int k = 0; k < width; ++k) places[k] = neighbours ? k : Offsets(pool_, o.rest, k).a;
      each_offset<&Loop::a>(at, entry, entries, [&](int64_t e, int64_t row) {
        for (int k = 0; k < width; ++k) x[e * width + k] = from[row + places[k]];
      });
    });
    for (int p = 0; p < kPacks; ++p) rows[p] = Lanes::load(x + p * W);
  }

  // f(e, offset of entry + e) for e < n.
  template <int64_t Loop::*kStride, class F>
  static IRK_INLINE void each_offset(const Coordinates<Index>& at, int64_t entry, int64_t n, F&& f) {
    if (at.n == 1) {
      const Index* column = at.columns + at.loops[0].extent * at.nnz + entry;
      const int64_t stride = at.loops[0].*kStride;
#pragma GCC unroll 8
      for (int64_t e = 0; e < n; ++e) f(e, int64_t(column[e]) * stride);
      return;
    }
    for (int64_t e = 0; e < n; ++e) f(e, at.template offset<kStride>(entry + e));
  }

  // The product of all operands; to: [operands, packs, W] where the products of those before each go; kept: their exponents
  // [groups, packs, W].
  template <class S>
  void up(int64_t entry, int64_t entries, int64_t j, Lanes* prefix, Powers* powers, T* to, T* kept) const {
    constexpr int kPacks = S::kPacks;
    for (int p = 0; p < kPacks; ++p) {
      prefix[p] = Lanes::broadcast(T(1));
      powers[p] = Powers::zero();
    }
    for (int i = 0; i < n_; ++i) {
      if (i % kLoose == 0) {
        for (int p = 0; p < kPacks; ++p) {
          if (i) prefix[p] = powers[p].settle(prefix[p]);
          if (to) powers[p].store(kept + p * W);
        }
        if (to) kept += kPacks * W;
      }
      for (int p = 0; p < kPacks && to; ++p) prefix[p].store(to + p * W);
      if (to) to += kPacks * W;
      Lanes rows[kPacks];
      ask(i + kColumnsAhead, entry);
      load<S>(g_.operands[i], entry, entries, j, rows);
      for (int p = 0; p < kPacks; ++p) prefix[p] = prefix[p] * rows[p];
    }
  }

  // The products of those before each operand, times those behind it, times the cotangent: added to the row's sum, or kept.
  template <class S, bool kSummed>
  void down(int64_t entry, int64_t entries, int64_t j, const T* cotangent, const T* workspace, T* pulled) const {
    constexpr int kPacks = S::kPacks;
    const T* const kept = workspace + g_.scratch;
    Lanes suffix[kPacks], before[kPacks] = {}, behind[kPacks] = {};
    Powers powers[kPacks];
    T spread[S::kTogether ? kPacks * W : 1] = {};  // the cotangent of each entry in all lanes of its row
    for (int64_t e = 0; e < entries && S::kTogether; ++e) std::fill_n(spread + e * span_, span_, cotangent[e]);
    for (int p = 0; p < kPacks; ++p) {
      suffix[p] = Lanes::broadcast(T(1));
      powers[p] = Powers::zero();
    }
    for (int i = n_; i-- > 0;) {
      if (i == n_ - 1 || i % kLoose == kLoose - 1) {
        for (int p = 0; p < kPacks; ++p) {
          if (i < n_ - 1) suffix[p] = powers[p].settle(suffix[p]);
          (Powers::load(kept + (i / kLoose * kPacks + p) * W) + powers[p]).split(before[p], behind[p]);
        }
      }
      const RowsOperand& o = g_.operands[i];
      const T* const prefix = workspace + i * kPacks * W;
      const auto slope = [&](int64_t p) {
        const Lanes by = S::kTogether ? Lanes::load(spread + p * W) : Lanes::broadcast(cotangent[p]);
        return Lanes::load(prefix + p * W) * suffix[p] * before[p] * by * behind[p];
      };
      if (o.gradient.buffer != kNowhere) {
        if constexpr (S::kTogether) down_together<kPacks, kSummed>(o, i, entry, entries, slope, pulled);
        else down_rows<kPacks, kSummed>(o, i, entry, slope, pulled);
      }
      if (i == 0) break;
      Lanes rows[kPacks];
      ask(i - kColumnsAhead, entry);
      load<S>(o, entry, entries, j, rows);
      for (int p = 0; p < kPacks; ++p) suffix[p] = suffix[p] * rows[p];
    }
  }

  // Where the slopes at one operand go, a pack of each entry's row.
  template <int kPacks, bool kSummed, class Slope>
  IRK_INLINE void down_rows(const RowsOperand& o, int i, int64_t entry, Slope&& slope, T* pulled) const {
    if (!kSummed) {
      for (int e = 0; e < kPacks; ++e) slope(e).store(pulled + (i * g_.block + e) * g_.padded);
      return;
    }
    const Coordinates<Index> at(entries_.columns, entries_.nnz, pool_, o.columns);
    each_offset<&Loop::c>(at, entry, kPacks, [&](int64_t e, int64_t row) {
      T* const sum = pulled + o.pulled + row * g_.padded;
      (Lanes::load(sum) + slope(e)).store(sum);
    });
  }

  // The same for short rows, many in a pack.
  template <int kPacks, bool kSummed, class Slope>
  void down_together(const RowsOperand& o, int i, int64_t entry, int64_t entries, Slope&& slope, T* pulled) const {
    T found[kPacks * W];
    for (int p = 0; p < kPacks; ++p) slope(p).store(found + p * W);
    if (!kSummed) {
      for (int64_t e = 0; e < entries; ++e) {
        T* const row = pulled + (i * g_.block + e) * g_.padded;
        std::fill_n(std::copy_n(found + e * width_, width_, row), g_.padded - width_, T(0));
      }
      return;
    }
    const Coordinates<Index> at(entries_.columns, entries_.nnz, pool_, o.columns);
    with_width([&](auto width) {
      each_offset<&Loop::c>(at, entry, entries, [&](int64_t e, int64_t row) {
        T* const sum = pulled + o.pulled + row * g_.padded;
        for (int k = 0; k < width; ++k) sum[k] = sum[k] + found[e * width + k];
      });
    });
  }

  // f(the width of short rows as a constant).
  template <class F>
  IRK_INLINE void with_width(F&& f) const {
    if (width_ == 1) f(std::integral_constant<int, 1>());
    else f(std::integral_constant<int, 2>());
  }

  const Gathered& g_;
  const int n_;
  const int64_t width_;
  const Loop* pool_;
  const Entries& entries_;
  char* const* base_;
  int64_t together_ = 1, span_ = W;  // entries in a pack, and lanes of each
};

}  // namespace irk
