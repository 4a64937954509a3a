// A small copy that exchanges two axes, as machine code: squares go through registers, as in fast/transpose.h.
#pragma once
#include <algorithm>
#include <utility>

#include "fast/code_arrays.h"
#include "steps/walk.h"

namespace irk {

class TransposeCode {
  static constexpr int64_t kMost = 1 << 12;  // numbers

 public:
  TransposeCode(Assembler& out, const Step& step, const Loop* pool) : out_(out), step_(step), pool_(pool) {}

  // Nothing is contracted, a is the constant 1, and of the two fastest loops one has unit stride in b, the other in c.
  bool fits() const {
    if (step_.k.count || step_.a.buffer != kOne || step_.row.extent != 1 || !step_.outer.count) return false;
    const Loop &last = inner(), &lane = step_.lane;
    if (lane.extent * extent_of(pool_, step_.outer) > kMost || lane.b == last.b || lane.c == last.c) return false;
    return (lane.b == 1 && last.c == 1) || (lane.c == 1 && last.b == 1);
  }

  void write() const {
    Loop along = inner(), lane = step_.lane;
    if (along.b != 1) std::swap(along, lane);  // along: neighbours in b; lane: neighbours in c
    fetch_array(out_, Gpr::rcx, step_.b);
    fetch_array(out_, Gpr::rdx, step_.c);
    Walk outer(pool_, {step_.outer.first, step_.outer.count - 1});
    for (int64_t r = outer.size(); r > 0; --r, outer.next())
      for (int64_t i = 0, n; i < along.extent; i += n) {
        n = along.extent - i < neighbours(out_) ? 1 : neighbours(out_);
        for (int64_t j = 0; j < lane.extent; j += out_.most_lanes()) {
          const int lanes = int(std::min<int64_t>(out_.most_lanes(), lane.extent - j));
          const auto from = [&](int x) { return place(Gpr::rcx, outer.b + i + (j + x) * lane.b); };
          if (n == 1) gather_lanes(out_, lanes, 0, 1, from);
          else transpose_lanes(out_, lanes, 0, from);
          for (int64_t k = 0; k < n; ++k)
            out_.store(lanes, place(Gpr::rdx, outer.c + (i + k) * along.c + j), int(k), kSpare);
        }
      }
  }

 private:
  static constexpr int kSpare = 8;
  const Loop& inner() const { return pool_[step_.outer.first + step_.outer.count - 1]; }
  Memory place(Gpr base, int64_t number) const { return {base, number * out_.element()}; }

  Assembler& out_;
  const Step& step_;
  const Loop* pool_;
};

}  // namespace irk
