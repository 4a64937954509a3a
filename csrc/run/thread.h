// One step as a launch hands it to its threads: everything by value, nothing that lies in the plan's memory.
// A launch serves `trials` trials with teams of `members`; its end is the team's sync().
#pragma once
#include "core/half.h"
#include "fast/patch.h"
#include "steps/convert.h"
#include "steps/exponent.h"
#include "steps/loss.h"
#include "steps/sampled.h"

namespace irk {

constexpr int kMaxLoops = 64;  // of one step with its trial axes: what an argument of 4 KB holds
constexpr int64_t kMostMembers = 1 << 20;  // more items of one trial than this are shared out in runs

// What a sampled step goes over: entries, or the groups of them that share a row.
IRK_FN inline int64_t listed_of(const Step& step, const Entries* entries) {
  if (step.op == Op::sampled_dot) return entries->nnz;
  return step.op == Op::sampled_axpy ? entries->orders[step.order].groups : 0;
}

// How many members a step of one trial can keep busy; of a loss, those of its first phase.
IRK_FN inline int64_t items_of(const Step& step, const Loop* pool, int64_t listed, Patch patch = {}) {
  switch (step.op) {
    case Op::contract: return patch.of(step, pool);
    case Op::fill: return extent_of(pool, step.outer) * step.count;
    case Op::widen:
    case Op::narrow: return step.count;
    case Op::sampled_dot: return listed;
    case Op::sampled_axpy: return listed * extent_of(pool, step.k);
    case Op::loss: return reduction_blocks(step.count) * kTurns;  // loss_parts<T>
    default: return extent_of(pool, step.outer);
  }
}

struct Launch {
  Step step;              // its spans count from `loops`
  Loop loops[kMaxLoops];  // the step's, then one a trial axis with the strides of the step's three arrays
  Span trial_axes;
  void *a, *b, *c;        // of trial 0; null is the constant 1
  int64_t first_trial, trials, members;
  Entries entries;        // without orders: the one that the step reads is `order`
  Order order;
  Target target;
  int64_t stride;         // of the branches that a loss gathers
  float one32 = 1;
  double one64 = 1;
};
static_assert(sizeof(Launch) <= 4096, "an argument of a kernel has at most 4 KB");

// The step's arrays at one trial.
struct Seat {
  const Launch& launch;
  int64_t trial, a_offset, b_offset, c_offset;

  template <class T>
  IRK_FN const T* a() const { return array<T>(launch.a, a_offset); }
  template <class T>
  IRK_FN const T* b() const { return array<T>(launch.b, b_offset); }
  template <class T>
  IRK_FN T* c() const { return static_cast<T*>(launch.c) + c_offset; }

 private:
  template <class T>
  IRK_FN const T* array(const void* data, int64_t offset) const {
    if (data) return static_cast<const T*>(data) + offset;
    if constexpr (sizeof(T) == sizeof(double)) return &launch.one64;
    else return reinterpret_cast<const T*>(&launch.one32);
  }
};

template <class Body>
IRK_FN void serve(const Launch& x, int64_t thread, int64_t threads) {
  for (int64_t i = thread; i < x.trials * x.members; i += threads) {
    const Divided of_trials = divide(i, x.members);
    const int64_t trial = x.first_trial + of_trials.quotient;
    const Offsets at(x.loops, x.trial_axes, trial);
    const Seat seat{x, trial, x.step.a.offset + at.a, x.step.b.offset + at.b, x.step.c.offset + at.c};
    Body::run(x, seat, Team{int(of_trials.rest), int(x.members)});
  }
}

template <class T, int R, int L>
struct Contract {
  IRK_FN static void run(const Launch& x, const Seat& at, const Team& team) {
    contract_patches<T, R, L>(x.step, x.loops, at.a<T>(), at.b<T>(), at.c<T>(), team);
  }
};
template <class T>
struct Dot {
  IRK_FN static void run(const Launch& x, const Seat& at, const Team& team) {
    dot_step(x.step, x.loops, at.a<T>(), at.b<T>(), at.c<T>(), team);
  }
};
template <class T>
struct Fill {
  IRK_FN static void run(const Launch& x, const Seat& at, const Team& team) { fill_step(x.step, x.loops, at.c<T>(), team); }
};
template <class Half>
struct Widen {
  IRK_FN static void run(const Launch& x, const Seat& at, const Team& team) {
    widen_step(x.step, x.loops, at.a<Half>(), at.c<float>(), team);
  }
};
template <class Half>
struct Narrow {
  IRK_FN static void run(const Launch& x, const Seat& at, const Team& team) {
    narrow_step(x.step, x.loops, at.a<float>(), at.c<Half>(), team);
  }
};
template <class T, class Index>
struct SampledDot {
  IRK_FN static void run(const Launch& x, const Seat& at, const Team& team) {
    sampled_dot_step<T, Index>(x.step, x.loops, at.a<T>(), at.b<T>(), at.c<T>(), x.entries, team);
  }
};
template <class T, class Index>
struct SampledPull {
  IRK_FN static void run(const Launch& x, const Seat& at, const Team& team) {
    sampled_axpy_step<T, Index>(x.step, x.loops, at.a<T>(), at.b<T>(), at.c<T>(), x.order, x.entries.nnz, team);
  }
};
template <class T>
struct Exponents {
  IRK_FN static void run(const Launch& x, const Seat& at, const Team& team) {
    exponents_step(x.step, x.loops, at.a<T>(), at.b<T>(), at.c<T>(), team);
  }
};
template <class T>
struct Normalize {
  IRK_FN static void run(const Launch& x, const Seat& at, const Team& team) {
    normalize_step(x.step, x.loops, const_cast<T*>(at.b<T>()), at.c<T>(), team);
  }
};
template <class T>
struct Level {
  IRK_FN static void run(const Launch& x, const Seat& at, const Team& team) {
    level_step(x.step, x.loops, const_cast<T*>(at.b<T>()), at.c<T>(), team);
  }
};
template <class T>
struct Scale {
  IRK_FN static void run(const Launch& x, const Seat& at, const Team& team) {
    scale_step(x.step, x.loops, at.a<T>(), at.b<T>(), at.c<T>(), team);
  }
};
template <class T>
struct LossTerms {
  IRK_FN static void run(const Launch& x, const Seat& at, const Team& team) {
    loss_terms(x.step, at.a<T>(), at.c<T>(), const_cast<T*>(at.b<T>()), x.target, at.trial, team);
  }
};
template <class T>
struct LossGather {
  IRK_FN static void run(const Launch& x, const Seat& at, const Team& team) {
    loss_gather(x.step, const_cast<T*>(at.b<T>()), x.stride, team);
  }
};
template <class T>
struct LossDivide {
  IRK_FN static void run(const Launch& x, const Seat& at, const Team& team) {
    loss_divide(x.step, at.c<T>(), at.b<T>(), x.target, at.trial, team);
  }
};

}  // namespace irk
