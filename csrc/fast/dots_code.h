// A sampled dot of short rows as machine code: the place of each entry is written into it. The bits are those of
// steps/dot.h: 32 strided partial sums and their halving tree, here of a register of entries at once.
#pragma once
#include <algorithm>
#include <optional>

#include "fast/rows_code.h"

namespace irk {

// c[n] = sum over k of a[at(n), k] * b[at(n), k]
template <class Index>
class SampledDotsCode {
  static constexpr Gpr kTable = Gpr::r11, kStored = Gpr::r10, kA = Gpr::r8, kB = Gpr::r9;
  static constexpr int64_t kPlaces = 8;  // bytes of two, of an entry
  static constexpr int64_t kShort = 4;   // packs of rows that cost no more to read twice than to bring into order
  static constexpr int kZero = 12, kLeft = 13, kRight = 14, kMask = 15;  // registers; sums come first

 public:
  // team: whose share is written
  SampledDotsCode(Assembler& out, const Step& step, const Loop* pool, const Entries& entries, const Team& team)
      : out_(out), step_(step), pool_(pool), entries_(entries), begin_(team.begin(entries.nnz)), end_(team.end(entries.nnz)),
        depth_(extent_of(pool, step.k)), width_(out.most_lanes()), partials_(kPartials / width_) {}

  bool fits() const {
    const Loop* k = pool_ + step_.k.first;
    if (step_.k.count != 1 || k->a != 1 || k->b != 1 || depth_ == 0 || depth_ > kReduction) return false;
    const bool near = step_.spread * out_.element() <= kOwnCache;
    return entries_.nnz * packs() * extent_of(pool_, step_.outer) <= (near && packs() <= kShort ? kMostEntries : kFewEntries);
  }

  void write() {
    at_.emplace(step_, pool_, entries_);
    fetch_array(out_, Gpr::rax, step_.a);
    fetch_array(out_, Gpr::rcx, step_.b);
    fetch_array(out_, Gpr::rdx, step_.c);
    out_.clear(kZero);
    const int tail = lanes_of(packs() - 1);
    if (!out_.moves_whole(tail)) out_.load(width_, kMask, out_.lane_mask(tail));
    Walk outer(pool_, step_.outer);
    for (int64_t r = outer.size(); r > 0; --r, outer.next()) {
      a_ = outer.a, b_ = outer.b, first_ = begin_;
      if ((end_ - begin_) * packs() > kUnrolled && end_ - begin_ >= width_) rounds(outer.c);
      for (; first_ < end_; first_ += width_) {
        fold(0, 0, 1);
        out_.store(int(std::min<int64_t>(width_, end_ - first_)), place(Gpr::rdx, outer.c + first_), 0, kLeft);
      }
    }
  }

 private:
  int64_t packs() const { return pieces(depth_, width_); }
  int lanes_of(int64_t pack) const { return int(std::min<int64_t>(width_, depth_ - pack * width_)); }
  Memory place(Gpr base, int64_t number) const { return {base, number * out_.element()}; }

  // A register of entries at a time, their places from a table.
  void rounds(int64_t c) {
    std::vector<int64_t> places;
    for (size_t i = size_t(begin_); i < size_t(end_); ++i) {
      places.push_back(at_->a[i] * out_.element());
      places.push_back(at_->b[i] * out_.element());
    }
    out_.point(kTable, out_.table(places));
    out_.copy(kStored, Gpr::rdx);
    out_.set(Gpr::rsi, int32_t((end_ - begin_) / width_));
    const size_t begin = out_.size();
    listed_ = true;
    fold(0, 0, 1);
    listed_ = false;
    out_.store(width_, place(kStored, c + begin_), 0, kLeft);
    out_.add(kStored, Assembler::kBytes);
    out_.add(kTable, width_ * kPlaces);
    out_.repeat(Gpr::rsi, begin);
    first_ = begin_ + (end_ - begin_) / width_ * width_;
  }

  // Register d = sums of several entries, of each `half` lanes. Which entries meet when is what brings them into order:
  // first those half a register apart, whose sums stay in the two halves, then neighbours.
  void fold(int d, int entry, int half) {
    if (half == width_) return entry_sums(d, entry);
    fold(d, entry, 2 * half);
    fold(d + 1, entry + (2 * half == width_ ? width_ / 2 : width_ / 4 / half), 2 * half);
    out_.fold_two(half, d, d, d + 1, kLeft);
  }

  void entry_sums(int d, int entry) {
    const size_t n = size_t(std::min<int64_t>(first_ + entry, end_ - 1));
    Memory a = place(Gpr::rax, a_ + at_->a[n]), b = place(Gpr::rcx, b_ + at_->b[n]);
    if (listed_) {
      a = place(listed(kA, Gpr::rax, {kTable, entry * kPlaces}), a_);
      b = place(listed(kB, Gpr::rcx, {kTable, entry * kPlaces + kPlaces / 2}), b_);
    }
    halve(d, 0, 1, a, b);
    if (packs() < partials_) out_.add(width_, d, d, kZero);  // partial sums without a product are 0
  }
  Gpr listed(Gpr d, Gpr base, Memory from) const {
    out_.fetch_number(d, from);
    out_.add(d, base);
    return d;
  }
  // The halving tree over partial sums `part`, part + step, ...
  void halve(int d, int part, int step, Memory a, Memory b) {
    if (step == partials_) return partial(d, part, a, b);
    halve(d, part, 2 * step, a, b);
    if (part + step >= packs()) return;
    halve(d + 1, part + step, 2 * step, a, b);
    out_.add(width_, d, d, d + 1);
  }
  void partial(int d, int64_t part, Memory a, Memory b) {
    out_.clear(d);
    for (int64_t pack = part; pack < packs(); pack += partials_) {
      const int64_t at = pack * Assembler::kBytes;
      const int lanes = lanes_of(pack);
      out_.load(lanes, kLeft, a + at, kMask);
      if (lanes == width_) {
        out_.fma231(width_, d, kLeft, b + at);
      } else {
        out_.load(lanes, kRight, b + at, kMask);
        out_.fma231(width_, d, kLeft, kRight);
      }
    }
  }

  Assembler& out_;
  const Step& step_;
  const Loop* pool_;
  const Entries& entries_;
  const int64_t begin_, end_;  // entries
  std::optional<EntryPlaces<Index>> at_;
  const int64_t depth_;
  const int width_, partials_;
  int64_t a_ = 0, b_ = 0, first_ = 0;  // offsets at one index of `outer`, and the first entry of a register
  bool listed_ = false;                // places are read from a table
};

}  // namespace irk
