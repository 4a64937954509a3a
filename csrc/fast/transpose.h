// A copy that exchanges two axes: squares go through registers. Bound by bytes; the general contraction gathers one by one.
#pragma once
#include <algorithm>
#include <utility>

#include "core/pack.h"
#include "steps/walk.h"
#include "team/team.h"

namespace irk {

template <class T>
class TransposeStep {
  static constexpr int W = Pack<T>::kLanes;

 public:
  // Nothing is contracted, a is the constant 1, and of the two fastest loops one has unit stride in b, the other in c.
  static bool fits(const Step& step, const Loop* pool) {
    if (step.k.count || step.a.buffer != kOne || step.row.extent != 1 || !step.outer.count) return false;
    const Loop &last = pool[step.outer.first + step.outer.count - 1], &lane = step.lane;
    return lane.extent >= W && last.extent >= W && lane.b != last.b && lane.c != last.c &&
           ((lane.b == 1 && last.c == 1) || (lane.c == 1 && last.b == 1));
  }

  TransposeStep(const Step& step, const Loop* pool, const T* b, T* c)
      : pool_(pool), outer_{step.outer.first, step.outer.count - 1}, inner_(pool[step.outer.first + step.outer.count - 1]),
        lane_(step.lane), b_(b), c_(c) {
    if (inner_.b != 1) std::swap(inner_, lane_);  // inner: unit stride in b; lane: unit stride in c
  }

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
        square[x] = x < lanes ? Pack<T>::load(b_ + outer.b + i + (j + x) * lane_.b, rows) : Pack<T>::zero();
      transpose(square);
      for (int x = 0; x < rows; ++x) square[x].store(c_ + outer.c + (i + x) * inner_.c + j, lanes);
    }
  }

  const Loop* pool_;
  Span outer_;
  Loop inner_, lane_;
  const T* b_;
  T* c_;
};

}  // namespace irk
