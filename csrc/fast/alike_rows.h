// Listed entries of a product whose operands all have rows of the same letters: y[n] = sum over j of the product over the
// operands i of row_i(n)[j]. The elements of a row lie in lanes; rows are read where they are. On the way up there are
// prefixes, on the way down suffixes, both with exponents (steps/exponent.h) brought up to date every kLoose operands.
#pragma once
#include <algorithm>

#include "steps/exponent.h"
#include "steps/rows.h"

namespace irk {

template <class T, class Index>
class AlikeRows {
  using Lanes = Pack<T>;
  static constexpr int W = Lanes::kLanes;
  static constexpr int kSide = 4;  // entries at once: a product of many factors waits for each of its steps
  static constexpr int kLoose = 8;

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
        Lanes prefix[kEntries];
        T exponents[kEntries][W];
        up<kEntries>(first + at, j, prefix, exponents, nullptr, nullptr);
        for (int e = 0; e < kEntries; ++e) {
          T product[W];
          prefix[e].store(product);
          for (int64_t k = 0; k < lanes(j); ++k) sum[e] += scaled(product[k], exponents[e][k]);
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

  // pulled [operands, block, padded width]: the gradients of the rows, from those of the entries. kept: room for the exponents.
  void pull(int64_t first, int64_t count, const T* cotangent, T* pulled, T* kept) const {
    each_side(count, [&](int64_t at, auto side) {
      constexpr int kEntries = decltype(side)::value;
      for (int64_t j = 0; j < width_; j += W) {
        Lanes prefix[kEntries];
        T exponents[kEntries][W];
        T* const to = pulled + at * g_.padded + j;
        up<kEntries>(first + at, j, prefix, exponents, to, kept);
        down<kEntries>(first + at, j, cotangent + at, to, kept);
      }
    });
  }

  // Parts that members share: each pack of each operand's rows.
  int64_t parts() const { return n_ * ((width_ + W - 1) / W); }

  // Adds gradients of rows to those of the operands, one entry after the other.
  void add(int64_t first, int64_t count, const T* pulled, int64_t begin, int64_t end) const {
    const int64_t packs = (width_ + W - 1) / W;
    for (int64_t part = begin; part < end; ++part) {
      const int i = int(part / packs);
      const RowsOperand& o = g_.operands[i];
      if (o.gradient.buffer == kNowhere) continue;
      const int64_t j = part % packs * W;
      const int held = lanes(j);
      const T* from = pulled + i * g_.block * g_.padded + j;
      const Coordinates<Index> at(entries_.columns, entries_.nnz, pool_, o.columns);
      T* const to = base<T>(o.gradient);
      if (run(o, &Loop::b)) {
        for (int64_t n = 0; n < count; ++n, from += g_.padded) {
          T* row = to + at.template offset<&Loop::b>(first + n) + j;
          (Lanes::load(row, held) + Lanes::load(from)).store(row, held);
        }
        continue;
      }
      for (int64_t n = 0; n < count; ++n, from += g_.padded)
        for (int k = 0; k < held; ++k)
          to[at.template offset<&Loop::b>(first + n) + Offsets(pool_, o.rest, j + k).b] += from[k];
    }
  }

 private:
  template <class F>
  static void each_side(int64_t count, F&& f) {
    int64_t at = 0;
    for (; at + kSide <= count; at += kSide) f(at, std::integral_constant<int, kSide>());
    for (; at < count; ++at) f(at, std::integral_constant<int, 1>());
  }

  int lanes(int64_t j) const { return int(std::min<int64_t>(W, width_ - j)); }
  template <class U>
  U* base(Ref ref) const { return reinterpret_cast<U*>(base_[ref.buffer]) + ref.offset; }

  // Whether the elements of a row are neighbours.
  bool run(const RowsOperand& o, int64_t Loop::*stride) const {
    return o.rest.count == 0 || (o.rest.count == 1 && pool_[o.rest.first].*stride == 1);
  }

  template <int kEntries>
  void load(const RowsOperand& o, int64_t entry, int64_t j, Lanes* rows) const {
    const Coordinates<Index> at(entries_.columns, entries_.nnz, pool_, o.columns);
    const T* const from = base<const T>(o.operand);
    const int held = lanes(j);
    if (run(o, &Loop::a)) {
      for (int e = 0; e < kEntries; ++e) rows[e] = Lanes::load(from + at.template offset<&Loop::a>(entry + e) + j, held);
      return;
    }
    for (int e = 0; e < kEntries; ++e) {
      T row[W] = {};
      for (int k = 0; k < held; ++k)
        row[k] = from[at.template offset<&Loop::a>(entry + e) + Offsets(pool_, o.rest, j + k).a];
      rows[e] = Lanes::load(row);
    }
  }

  static Lanes settled(Lanes product, T* exponents) {
    T x[W];
    product.store(x);
    for (int k = 0; k < W; ++k) {
      const int e = exponent_of(x[k]);
      x[k] *= power_of_two<T>(-e);
      exponents[k] += T(e);
    }
    return Lanes::load(x);
  }

  // The product of all operands; to: [operands] where the products of those before each go; kept: [groups] their exponents.
  template <int kEntries>
  void up(int64_t entry, int64_t j, Lanes* prefix, T (*exponents)[W], T* to, T* kept) const {
    for (int e = 0; e < kEntries; ++e) {
      prefix[e] = Lanes::broadcast(T(1));
      std::fill_n(exponents[e], W, T(0));
    }
    for (int i = 0; i < n_; ++i) {
      if (i % kLoose == 0) {
        for (int e = 0; e < kEntries && i; ++e) prefix[e] = settled(prefix[e], exponents[e]);
        if (to) kept = std::copy_n(exponents[0], kEntries * W, kept);
      }
      for (int e = 0; e < kEntries && to; ++e) prefix[e].store(to + e * g_.padded);
      if (to) to += g_.block * g_.padded;
      Lanes rows[kEntries];
      load<kEntries>(g_.operands[i], entry, j, rows);
      for (int e = 0; e < kEntries; ++e) prefix[e] = prefix[e] * rows[e];
    }
  }

  // In place of the products of those before each operand: these times those behind it times the cotangent.
  template <int kEntries>
  void down(int64_t entry, int64_t j, const T* cotangent, T* pulled, const T* kept) const {
    Lanes suffix[kEntries], before[kEntries] = {}, behind[kEntries] = {};
    T exponents[kEntries][W] = {};
    std::fill_n(suffix, kEntries, Lanes::broadcast(T(1)));
    for (int i = n_; i-- > 0;) {
      if (i == n_ - 1 || i % kLoose == kLoose - 1) {
        for (int e = 0; e < kEntries; ++e) {
          if (i < n_ - 1) suffix[e] = settled(suffix[e], exponents[e]);
          split(kept + (i / kLoose * kEntries + e) * W, exponents[e], before[e], behind[e]);
        }
      }
      T* const to = pulled + i * g_.block * g_.padded;
      for (int e = 0; e < kEntries; ++e)
        (Lanes::load(to + e * g_.padded) * suffix[e] * before[e] * Lanes::broadcast(cotangent[e]) * behind[e]).store(to + e * g_.padded);
      if (i == 0) break;
      Lanes rows[kEntries];
      load<kEntries>(g_.operands[i], entry, j, rows);
      for (int e = 0; e < kEntries; ++e) suffix[e] = suffix[e] * rows[e];
    }
  }

  // The powers of two of a prefix and a suffix together, in two halves: finite, so that a zero stays one.
  static void split(const T* a, const T* b, Lanes& before, Lanes& behind) {
    constexpr int kMost = 2 * (Format<T>::kBias - 1);
    T first[W], second[W];
    for (int k = 0; k < W; ++k) {
      const T sum = a[k] + b[k];
      const int whole = sum < T(-kMost) ? -kMost : sum > T(kMost) ? kMost : int(sum), half = whole / 2;
      first[k] = power_of_two<T>(half);
      second[k] = power_of_two<T>(whole - half);
    }
    before = Lanes::load(first);
    behind = Lanes::load(second);
  }

  const Gathered& g_;
  const int n_;
  const int64_t width_;
  const Loop* pool_;
  const Entries& entries_;
  char* const* base_;
};

}  // namespace irk
