// Zeros, and a sampled dot whose entries read single numbers, as machine code: the place of each entry is written into
// it. The bits are those of steps/sampled.h.
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

constexpr int64_t kMostNumbers = 2048;  // entries that are written one by one

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

  bool fits() const { return !step_.k.count && nnz_ * extent_of(pool_, step_.outer) <= kMostNumbers; }

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

}  // namespace irk
