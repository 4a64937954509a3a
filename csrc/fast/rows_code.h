// A sampled axpy of short rows as machine code: a row of c stays in registers while the entries of its group add to it.
// The bits are those of steps/sampled.h.
#pragma once
#include <algorithm>

#include "fast/ahead.h"
#include "fast/numbers_code.h"

namespace irk {

// Of sampled rows: packs of entries that are worth writing, those that are worth it wherever they lie (no row is asked for
// ahead), and those from which their places are read from a table.
constexpr int64_t kMostEntries = 1 << 19, kFewEntries = 4096, kUnrolled = 512;

// c[at(n), k] = sum over the entries n of a group of a[n] * b[at(n), k]
template <class Index>
class SampledRowsCode {
  static constexpr int kMost = 8;  // packs of a row at once
  static constexpr int kNothing = 12, kNumber = 13, kSame = 14, kMask = 15;
  static constexpr Gpr kTable = Gpr::r11, kStored = Gpr::r10, kCount = Gpr::r9, kRead = Gpr::r8;

 public:
  // team: whose share is written
  SampledRowsCode(Assembler& out, const Step& step, const Loop* pool, const Entries& entries, const Team& team)
      : out_(out), step_(step), pool_(pool), nnz_(entries.nnz), order_(entries.orders[step.order]),
        at_(order_.columns, nnz_, pool, step.columns), starts_(static_cast<const Index*>(order_.starts)),
        groups_(order_, nnz_, team), width_(extent_of(pool, step.k)) {}

  bool fits() const {
    if (step_.k.count > 1 || width_ == 0) return false;
    if (step_.k.count && (pool_[step_.k.first].b != 1 || pool_[step_.k.first].c != 1)) return false;
    for (int i = 0; i < step_.outer.count; ++i)
      if (pool_[step_.outer.first + i].c == 0) return false;  // repetitions would add to c
    for (int64_t group = 0; group < order_.groups; ++group)
      if (starts_[group + 1] - starts_[group] > kBlock) return false;
    const bool near = step_.spread * out_.element() <= kOwnCache;
    return nnz_ * packs() * extent_of(pool_, step_.outer) <= (width_ == 1 ? kMostNumbers : near ? kMostEntries : kFewEntries);
  }

  void write() {
    fetch_array(out_, Gpr::rax, step_.a);
    fetch_array(out_, Gpr::rcx, step_.b);
    fetch_array(out_, Gpr::rdx, step_.c);
    const int tail = lanes_of(packs() - 1);
    if (!out_.moves_whole(tail)) out_.load(out_.most_lanes(), kMask, out_.lane_mask(tail));
    const bool same_b = width_ == 1 && !at_.template varies<&Loop::b>();
    Walk outer(pool_, step_.outer);
    for (int64_t r = outer.size(); r > 0; --r, outer.next()) {
      if (same_b) out_.load(1, kSame, place(Gpr::rcx, outer.b));
      if (width_ > 1 && nnz_ * packs() > kUnrolled) {
        for (int64_t begin = 0; begin < packs(); begin += kMost) listed_rows(outer, begin);
        continue;
      }
      for (int64_t group = groups_.first; group < groups_.last; ++group)
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
        add_row(begin, together, place(Gpr::rcx, b), i == first);
      }
      store_row(begin, together, place(Gpr::rdx, c + begin * out_.most_lanes()));
    }
  }
  void add_row(int64_t begin, int together, Memory b, bool first) const {
    for (int v = 0; v < together; ++v, b = b + Assembler::kBytes) {
      const int lanes = lanes_of(begin + v);
      if (lanes == 1 || lanes == out_.most_lanes()) {
        multiply(lanes, v, kNumber, b, first);
        continue;
      }
      out_.load(lanes, kSame, b, kMask);
      if (first) out_.mul(lanes, v, kNumber, kSame);
      else out_.fma231(lanes, v, kNumber, kSame);
    }
  }
  void store_row(int64_t begin, int together, Memory c) const {
    for (int v = 0; v < together; ++v) out_.store(lanes_of(begin + v), c + v * Assembler::kBytes, v, kNumber);
  }

  // All groups, the packs of a row from `begin` on. The table has the place and length of a group, then the places of
  // its entries, and so on.
  void listed_rows(const Walk& outer, int64_t begin) {
    const auto* perm = static_cast<const Index*>(order_.perm);
    const int together = int(std::min<int64_t>(kMost, packs() - begin));
    const int64_t column = begin * out_.most_lanes();
    std::vector<int64_t> places;
    int32_t groups = 0;
    for (int64_t group = groups_.first; group < groups_.last; ++group) {
      const int64_t first = starts_[group], last = starts_[group + 1];
      if (first == last) continue;
      ++groups;
      places.insert(places.end(), {at_.template offset<&Loop::c>(first) * out_.element(), last - first});
      for (int64_t i = first; i < last; ++i) {
        places.push_back(int64_t(perm[i]) * out_.element());
        places.push_back(at_.template offset<&Loop::b>(i) * out_.element());
      }
    }
    if (!groups) return;
    out_.point(kTable, out_.table(places));
    out_.load(out_.most_lanes(), kNothing, out_.constant(-0.0));
    out_.set(Gpr::rsi, groups);
    const size_t group = out_.size();
    out_.fetch_number(kStored, {kTable, 0});
    out_.fetch_number(kCount, {kTable, 4});
    out_.add(kTable, 8);
    out_.add(kStored, Gpr::rdx);
    for (int v = 0; v < together; ++v) out_.copy(v, kNothing);
    const size_t entry = out_.size();
    out_.fetch_number(kRead, {kTable, 0});
    out_.add(kRead, Gpr::rax);
    out_.broadcast(kNumber, place(kRead, outer.a));
    out_.fetch_number(kRead, {kTable, 4});
    out_.add(kRead, Gpr::rcx);
    add_row(begin, together, place(kRead, outer.b + column), false);
    out_.add(kTable, 8);
    out_.repeat(kCount, entry);
    store_row(begin, together, place(kStored, outer.c + column));
    out_.repeat(Gpr::rsi, group);
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
  const Groups<Index> groups_;
  const int64_t width_;
};

}  // namespace irk
