// Listed entries of a product whose operands all have rows of the same letters: y[n] = sum over j of the product over the
// operands i of row_i(n)[j]. The elements of a row lie in lanes; rows are read where they are. On the way up there are
// prefixes, on the way down suffixes, both with exponents (fast/exponents.h) brought up to date every kLoose operands.
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
  static constexpr int kSide = kAlikeSide;  // a product of many factors waits for each of its steps
  static constexpr int kLoose = 8, kColumnsAhead = 8;

 public:
  // base: of the buffers, at this trial.
  AlikeRows(const Gathered& g, int n, const Loop* pool, const Entries& entries, char* const* base)
      : g_(g), n_(n), width_(g.operands[0].width), pool_(pool), entries_(entries), base_(base) {}

  // y[0, count) of the entries from `first` on.
  void value(int64_t first, int64_t count, T* y) const {
    each_side(count, [&](int64_t at, auto side) {
      constexpr int kEntries = decltype(side)::value;
      T total[kEntries] = {}, sum[kEntries];
      std::fill_n(sum, kEntries, T(-0.0));
      for (int64_t j = 0; j < width_; j += W) {
        Lanes prefix[kEntries], before, behind;
        Powers powers[kEntries];
        up<kEntries>(first + at, j, prefix, powers, nullptr, nullptr);
        for (int e = 0; e < kEntries; ++e) {
          T product[W];
          powers[e].split(before, behind);
          (prefix[e] * before * behind).store(product);
          for (int64_t k = 0; k < lanes(j); ++k) sum[e] += product[k];
        }
        if ((j + W) % kBlock && j + W < width_) continue;
        for (int e = 0; e < kEntries; ++e) {
          total[e] = j < kBlock ? sum[e] : total[e] + sum[e];
          sum[e] = T(-0.0);
        }
      }
      std::copy_n(total, kEntries, y + at);
    });
  }

  // The gradients of the rows, from those of the entries, into a block's workspace: summed by rows, or one by one.
  void pull(int64_t first, int64_t count, const T* cotangent, T* workspace) const {
    std::fill_n(workspace + g_.sums, g_.summed, T(0));
    each_side(count, [&](int64_t at, auto side) {
      constexpr int kEntries = decltype(side)::value;
      for (int64_t j = 0; j < width_; j += W) {
        Lanes prefix[kEntries];
        Powers powers[kEntries];
        up<kEntries>(first + at, j, prefix, powers, workspace, workspace + g_.scratch);
        T* const to = workspace + g_.sums + j;
        if (g_.summed) down<kEntries, true>(first + at, j, cotangent + at, workspace, to);
        else down<kEntries, false>(first + at, j, cotangent + at, workspace, to + at * g_.padded);
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
  template <class F>
  static void each_side(int64_t count, F&& f) {
    int64_t at = 0;
    for (; at + kSide <= count; at += kSide) f(at, std::integral_constant<int, kSide>());
    for (; at < count; ++at) f(at, std::integral_constant<int, 1>());
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

  template <int kEntries>
  IRK_INLINE void load(const RowsOperand& o, int64_t entry, int64_t j, Lanes* rows) const {
    const Coordinates<Index> at(entries_.columns, entries_.nnz, pool_, o.columns);
    const T* const from = base<const T>(o.operand);
    const int held = lanes(j);
    if (run(o, &Loop::a)) {
      each_offset<kEntries, &Loop::a>(at, entry, [&](int e, int64_t row) {
        rows[e] = held == W ? Lanes::load(from + row + j) : Lanes::load(from + row + j, held);
      });
      return;
    }
    each_offset<kEntries, &Loop::a>(at, entry, [&](int e, int64_t row) {
      T x[W] = {};
      for (int k = 0; k < held; ++k) x[k] = from[row + Offsets(pool_, o.rest, j + k).a];
      rows[e] = Lanes::load(x);
    });
  }

  // f(e, offset of entry + e).
  template <int kEntries, int64_t Loop::*kStride, class F>
  static void each_offset(const Coordinates<Index>& at, int64_t entry, F&& f) {
    if (at.n == 1) {
      const Index* column = at.columns + at.loops[0].extent * at.nnz + entry;
      const int64_t stride = at.loops[0].*kStride;
#pragma GCC unroll 8
      for (int e = 0; e < kEntries; ++e) f(e, int64_t(column[e]) * stride);
      return;
    }
    for (int e = 0; e < kEntries; ++e) f(e, at.template offset<kStride>(entry + e));
  }

  // The product of all operands; to: [operands, entries, W] where the products of those before each go; kept: their exponents
  // [groups, entries, W].
  template <int kEntries>
  void up(int64_t entry, int64_t j, Lanes* prefix, Powers* powers, T* to, T* kept) const {
    for (int e = 0; e < kEntries; ++e) {
      prefix[e] = Lanes::broadcast(T(1));
      powers[e] = Powers::zero();
    }
    for (int i = 0; i < n_; ++i) {
      if (i % kLoose == 0) {
        for (int e = 0; e < kEntries; ++e) {
          if (i) prefix[e] = powers[e].settle(prefix[e]);
          if (to) powers[e].store(kept + e * W);
        }
        if (to) kept += kEntries * W;
      }
      for (int e = 0; e < kEntries && to; ++e) prefix[e].store(to + e * W);
      if (to) to += kEntries * W;
      Lanes rows[kEntries];
      ask(i + kColumnsAhead, entry);
      load<kEntries>(g_.operands[i], entry, j, rows);
      for (int e = 0; e < kEntries; ++e) prefix[e] = prefix[e] * rows[e];
    }
  }

  // The products of those before each operand, times those behind it, times the cotangent: added to the row's sum, or kept.
  template <int kEntries, bool kSummed>
  void down(int64_t entry, int64_t j, const T* cotangent, const T* workspace, T* pulled) const {
    const T* const kept = workspace + g_.scratch;
    Lanes suffix[kEntries], before[kEntries] = {}, behind[kEntries] = {};
    Powers powers[kEntries];
    for (int e = 0; e < kEntries; ++e) {
      suffix[e] = Lanes::broadcast(T(1));
      powers[e] = Powers::zero();
    }
    for (int i = n_; i-- > 0;) {
      if (i == n_ - 1 || i % kLoose == kLoose - 1) {
        for (int e = 0; e < kEntries; ++e) {
          if (i < n_ - 1) suffix[e] = powers[e].settle(suffix[e]);
          (Powers::load(kept + (i / kLoose * kEntries + e) * W) + powers[e]).split(before[e], behind[e]);
        }
      }
      const RowsOperand& o = g_.operands[i];
      const T* const prefix = workspace + i * kEntries * W;
      const auto slope = [&](int e) {
        return Lanes::load(prefix + e * W) * suffix[e] * before[e] * Lanes::broadcast(cotangent[e]) * behind[e];
      };
      if (o.gradient.buffer != kNowhere && kSummed) {
        const Coordinates<Index> at(entries_.columns, entries_.nnz, pool_, o.columns);
        each_offset<kEntries, &Loop::c>(at, entry, [&](int e, int64_t row) {
          T* const sum = pulled + o.pulled + row * g_.padded;
          (Lanes::load(sum) + slope(e)).store(sum);
        });
      } else if (o.gradient.buffer != kNowhere) {
        for (int e = 0; e < kEntries; ++e) slope(e).store(pulled + (i * g_.block + e) * g_.padded);
      }
      if (i == 0) break;
      Lanes rows[kEntries];
      ask(i - kColumnsAhead, entry);
      load<kEntries>(o, entry, j, rows);
      for (int e = 0; e < kEntries; ++e) suffix[e] = suffix[e] * rows[e];
    }
  }

  const Gathered& g_;
  const int n_;
  const int64_t width_;
  const Loop* pool_;
  const Entries& entries_;
  char* const* base_;
};

}  // namespace irk
