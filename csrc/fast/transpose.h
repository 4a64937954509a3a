// Products of two arrays of which one has two axes exchanged, plain copies among them: squares go through registers. Bound
// by bytes; the general contraction gathers one by one.
#pragma once
#include <algorithm>
#include <utility>

#include "fast/panels.h"
#include "steps/walk.h"
#include "team/team.h"

namespace irk {

template <class T>
class TransposeStep {
  static constexpr int W = Pack<T>::kLanes;

 public:
  // Nothing is summed; of the two fastest loops one has unit stride in c, the other in the operand to be turned.
  static bool fits(const Step& step, const Loop* pool) {
    if (step.k.count || step.row.extent != 1 || !step.outer.count) return false;
    const Loop &last = pool[step.outer.first + step.outer.count - 1], &lane = step.lane;
    return lane.extent >= W && last.extent >= W && lane.c != last.c && (turns(lane, last, false) || turns(lane, last, true));
  }

  TransposeStep(const Step& step, const Loop* pool, const T* a, const T* b, T* c)
      : pool_(pool), outer_{step.outer.first, step.outer.count - 1}, inner_(pool[step.outer.first + step.outer.count - 1]),
        lane_(step.lane), of_a_(!turns(lane_, inner_, false)), a_(a), b_(b), c_(c) {
    if (lane_.c != 1) std::swap(inner_, lane_);
    if (of_a_) {
      for (Loop* loop : {&inner_, &lane_}) std::swap(loop->a, loop->b);
    }
  }

  void run(const Team& team) const {
    const int64_t strips = (inner_.extent + W - 1) / W;
    Walk outer(pool_, outer_);
    const int64_t total = outer.size() * strips;
    for (int64_t task = team.begin(total); task < team.end(total); ++task) {
      outer.seek(task / strips);
      const T *straight = of_a_ ? b_ + outer.b : a_ + outer.a, *turned = of_a_ ? a_ + outer.a : b_ + outer.b;
      strip(straight, turned, c_ + outer.c, task % strips * W);
    }
  }

 private:
  // Whether b (or a) is turned, and the other one has unit stride where c has, or one number for all of them.
  static bool turns(const Loop& lane, const Loop& last, bool a) {
    const auto x = a ? &Loop::a : &Loop::b, y = a ? &Loop::b : &Loop::a;
    if (lane.*x == last.*x) return false;
    return (lane.c == 1 && last.*x == 1 && lane.*y >> 1 == 0) || (last.c == 1 && lane.*x == 1 && last.*y >> 1 == 0);
  }

  // W rows of c, all lanes.
  void strip(const T* straight, const T* turned, T* c, int64_t i) const {
    const int rows = int(std::min<int64_t>(W, inner_.extent - i));
    for (int64_t j = 0; j < lane_.extent; j += W) {
      const int lanes = int(std::min<int64_t>(W, lane_.extent - j));
      Pack<T> square[W];
      load_square(turned + i + j * lane_.b, lane_.b, lanes, rows, square);
      const T* row = straight + i * inner_.a + j * lane_.a;
      T* to = c + i * inner_.c + j;
      for (int x = 0; x < rows; ++x, row += inner_.a, to += inner_.c) {
        const Pack<T> by = !lane_.a ? Pack<T>::broadcast(*row) : lanes == W ? Pack<T>::load(row) : Pack<T>::load(row, lanes);
        (by * square[x]).store(to, lanes);
      }
    }
  }

  const Loop* pool_;
  Span outer_;
  Loop inner_, lane_;  // unit stride in what is turned, and in c; their a is the other operand, their b what is turned
  bool of_a_;
  const T *a_, *b_;
  T* c_;
};

}  // namespace irk
