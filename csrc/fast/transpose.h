// A copy that exchanges two axes: squares go through registers. Bound by bytes; the general contraction gathers one by one.
#pragma once
#include <algorithm>

#include "core/pack.h"
#include "steps/walk.h"
#include "team/team.h"

namespace irk {

template <class T>
class TransposeStep {
  static constexpr int W = Pack<T>::kLanes;

 public:
  // c[.., i, lane] = b[.., lane, i] + 0: nothing is contracted, a is the constant 1, b has unit stride along the last outer loop.
  static bool fits(const Step& step, const Loop* pool) {
    if (step.k.count || step.a.buffer != kOne || step.row.extent != 1 || !step.outer.count) return false;
    const Loop& inner = pool[step.outer.first + step.outer.count - 1];
    return inner.b == 1 && step.lane.b != 1 && step.lane.c == 1 && inner.extent >= W && step.lane.extent >= W;
  }

  TransposeStep(const Step& step, const Loop* pool, const T* b, T* c)
      : pool_(pool), outer_{step.outer.first, step.outer.count - 1}, inner_(pool[step.outer.first + step.outer.count - 1]),
        lane_(step.lane), b_(b), c_(c) {}

  void run(const Team& team) const {
    const int64_t strips = (inner_.extent + W - 1) / W;
    Walk outer(pool_, outer_);
    const int64_t total = outer.size() * strips;
    for (int64_t task = team.begin(total); task < team.end(total); ++task) {
      outer.seek(task / strips);
      strip(outer, task % strips * W);
    }
  }

 private:
  // W rows of c, all lanes.
  void strip(const Walk& outer, int64_t i) const {
    const int rows = int(std::min<int64_t>(W, inner_.extent - i));
    for (int64_t j = 0; j < lane_.extent; j += W) {
      const int lanes = int(std::min<int64_t>(W, lane_.extent - j));
      Pack<T> square[W];
      for (int x = 0; x < W; ++x)
        square[x] = x < lanes ? Pack<T>::load(b_ + outer.b + i + (j + x) * lane_.b, rows) + Pack<T>::zero() : Pack<T>::zero();
      transpose(square);
      for (int x = 0; x < rows; ++x) square[x].store(c_ + outer.c + (i + x) * inner_.c + j, lanes);
    }
  }

  const Loop* pool_;
  Span outer_;
  const Loop& inner_;
  const Loop lane_;
  const T* b_;
  T* c_;
};

}  // namespace irk
