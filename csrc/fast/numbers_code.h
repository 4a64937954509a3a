// Zeros, and sampled steps whose entries read and write single numbers or short rows, as machine code: the place of
// each entry is written into it. The bits are those of steps/sampled.h.
#pragma once
#include <algorithm>

#include "fast/blocks.h"
#include "fast/code_arrays.h"
#include "steps/sampled.h"

namespace irk {

// Runs of `count` zeros at every index of `outer`.
class FillCode {
  static constexpr int64_t kMostBytes = 4096;

 public:
  FillCode(Assembler& out, const Step& step, const Loop* pool) : out_(out), step_(step), pool_(pool) {}

  bool fits() const { return extent_of(pool_, step_.outer) * (step_.count + 7) * out_.element() <= kMostBytes; }

  void write() const {
    fetch_array(out_, Gpr::rax, step_.c);
    out_.clear(0);
    Walk outer(pool_, step_.outer);
    for (int64_t r = outer.size(); r > 0; --r, outer.next())
      for (int64_t i = 0; i < step_.count; i += out_.most_lanes()) {
        const int lanes = int(std::min<int64_t>(out_.most_lanes(), step_.count - i));
        out_.store(lanes, Memory{Gpr::rax, (outer.c + i) * out_.element()}, 0, 0);
      }
  }

 private:
  Assembler& out_;
  const Step& step_;
  const Loop* pool_;
};

constexpr int64_t kMostEntries = 2048;  // packs of them: more code than the first caches hold is no shorter way

// Where the entries of a sampled dot read, in the caller's order whatever the step names: no result depends on it.
template <class Index>
struct EntryPlaces {
  std::vector<int64_t> a, b;  // [nnz] elements
  bool same_b;                // all read one number of b

  EntryPlaces(const Step& step, const Loop* pool, const Entries& entries) : a(size_t(entries.nnz)), b(a.size()) {
    const Order* order = step.order < 0 ? nullptr : entries.orders + step.order;
    const Coordinates<Index> at(order ? order->columns : entries.columns, entries.nnz, pool, step.columns);
    same_b = !at.template varies<&Loop::b>();
    for (int64_t i = 0; i < entries.nnz; ++i) {
      const size_t n = size_t(order ? int64_t(static_cast<const Index*>(order->perm)[i]) : i);
      a[n] = at.template offset<&Loop::a>(i);
      b[n] = at.template offset<&Loop::b>(i);
    }
  }
};

// c[n] = a[at(n)] * b[at(n)]
template <class Index>
class SampledNumbersCode {
 public:
  SampledNumbersCode(Assembler& out, const Step& step, const Loop* pool, const Entries& entries)
      : out_(out), step_(step), pool_(pool), nnz_(entries.nnz), at_(step, pool, entries) {}

  bool fits() const { return !step_.k.count && nnz_ * extent_of(pool_, step_.outer) <= kMostEntries; }

  void write() const {
    fetch_array(out_, Gpr::rax, step_.a);
    fetch_array(out_, Gpr::rcx, step_.b);
    fetch_array(out_, Gpr::rdx, step_.c);
    Walk outer(pool_, step_.outer);
    for (int64_t r = outer.size(); r > 0; --r, outer.next()) {
      if (at_.same_b) out_.broadcast(kSame, place(Gpr::rcx, outer.b));
      for (int64_t i = 0; i < nnz_; i += out_.most_lanes()) {
        const int lanes = int(std::min<int64_t>(out_.most_lanes(), nnz_ - i));
        const auto number = [&](Gpr base, int64_t first, const std::vector<int64_t>& at) {
          return [=, &at](int lane) { return place(base, first + at[size_t(i + lane)]); };
        };
        gather_lanes(out_, lanes, 0, 1, number(Gpr::rax, outer.a, at_.a));
        if (!at_.same_b) gather_lanes(out_, lanes, kSame, 1, number(Gpr::rcx, outer.b, at_.b));
        out_.mul(out_.most_lanes(), 0, 0, kSame);
        out_.store(lanes, place(Gpr::rdx, outer.c + i), 0, 1);
      }
    }
  }

 private:
  static constexpr int kSame = 2;
  Memory place(Gpr base, int64_t number) const { return {base, number * out_.element()}; }

  Assembler& out_;
  const Step& step_;
  const Loop* pool_;
  const int64_t nnz_;
  const EntryPlaces<Index> at_;
};

// c[at(n), k] = sum over the entries n of a group of a[n] * b[at(n), k]
template <class Index>
class SampledRowsCode {
  static constexpr int kMost = 8;  // packs of a row at once
  static constexpr int kNumber = 13, kSame = 14, kMask = 15;

 public:
  SampledRowsCode(Assembler& out, const Step& step, const Loop* pool, const Entries& entries)
      : out_(out), step_(step), pool_(pool), nnz_(entries.nnz), order_(entries.orders[step.order]),
        at_(order_.columns, nnz_, pool, step.columns), starts_(static_cast<const Index*>(order_.starts)),
        width_(extent_of(pool, step.k)) {}

  bool fits() const {
    if (step_.k.count > 1 || width_ == 0) return false;
    if (step_.k.count && (pool_[step_.k.first].b != 1 || pool_[step_.k.first].c != 1)) return false;
    for (int i = 0; i < step_.outer.count; ++i)
      if (pool_[step_.outer.first + i].c == 0) return false;  // repetitions would add to c
    for (int64_t group = 0; group < order_.groups; ++group)
      if (starts_[group + 1] - starts_[group] > kBlock) return false;
    return nnz_ * packs() * extent_of(pool_, step_.outer) <= kMostEntries;
  }

  void write() const {
    fetch_array(out_, Gpr::rax, step_.a);
    fetch_array(out_, Gpr::rcx, step_.b);
    fetch_array(out_, Gpr::rdx, step_.c);
    const int tail = lanes_of(packs() - 1);
    if (!out_.moves_whole(tail)) out_.load(out_.most_lanes(), kMask, out_.lane_mask(tail));
    const bool same_b = width_ == 1 && !at_.template varies<&Loop::b>();
    Walk outer(pool_, step_.outer);
    for (int64_t r = outer.size(); r > 0; --r, outer.next()) {
      if (same_b) out_.load(1, kSame, place(Gpr::rcx, outer.b));
      for (int64_t group = 0; group < order_.groups; ++group)
        if (starts_[group] < starts_[group + 1]) row(outer, starts_[group], starts_[group + 1], same_b);
    }
  }

 private:
  int64_t packs() const { return pieces(width_, out_.most_lanes()); }
  int lanes_of(int64_t pack) const {
    return int(std::min<int64_t>(out_.most_lanes(), width_ - pack * out_.most_lanes()));
  }
  Memory place(Gpr base, int64_t number) const { return {base, number * out_.element()}; }

  void row(const Walk& outer, int64_t first, int64_t last, bool same_b) const {
    const auto* perm = static_cast<const Index*>(order_.perm);
    const int64_t c = outer.c + at_.template offset<&Loop::c>(first);
    for (int64_t begin = 0; begin < packs(); begin += kMost) {
      const int together = int(std::min<int64_t>(kMost, packs() - begin));
      for (int64_t i = first; i < last; ++i) {
        const Memory number = place(Gpr::rax, outer.a + int64_t(perm[i]));
        const int64_t b = outer.b + at_.template offset<&Loop::b>(i) + begin * out_.most_lanes();
        if (same_b) {
          multiply(1, 0, kSame, number, i == first);
          continue;
        }
        if (width_ == 1) out_.load(1, kNumber, number);
        else out_.broadcast(kNumber, number);
        for (int v = 0; v < together; ++v) {
          const int lanes = lanes_of(begin + v);
          const Memory from = place(Gpr::rcx, b + v * out_.most_lanes());
          if (lanes == 1 || lanes == out_.most_lanes()) {
            multiply(lanes, v, kNumber, from, i == first);
            continue;
          }
          out_.load(lanes, kSame, from, kMask);
          if (i == first) out_.mul(lanes, v, kNumber, kSame);
          else out_.fma231(lanes, v, kNumber, kSame);
        }
      }
      for (int v = 0; v < together; ++v)
        out_.store(lanes_of(begin + v), place(Gpr::rdx, c + (begin + v) * out_.most_lanes()), v, kNumber);
    }
  }
  void multiply(int lanes, int sum, int number, Memory from, bool first) const {
    if (first) out_.mul(lanes, sum, number, from);
    else out_.fma231(lanes, sum, number, from);
  }

  Assembler& out_;
  const Step& step_;
  const Loop* pool_;
  const int64_t nnz_;
  const Order& order_;
  Coordinates<Index> at_;
  const Index* starts_;
  const int64_t width_;
};

}  // namespace irk
