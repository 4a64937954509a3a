// The buffers of one trial as threads of a launch find them, and one step of the list shared out among a crew: what a
// launch does (run/thread.h), without the launch. Nothing is kept for a trial but its number.
#pragma once
#include "plan/fit_program.h"
#include "run/thread.h"

namespace irk {

template <class T>
struct TrialFrame {
  const Program& program;
  void* const* buffers;    // of trial 0
  const Entries* entries;
  const Target* target;
  int64_t trial;
  T* scratch;
  T* output;               // or null: where buffers says
  const Batches* batches;  // or null
  int64_t batch;           // the mini-batch whose rows the constants show

  IRK_FN T* at(Ref ref) const {
    if (ref.buffer == kScratch) return scratch + ref.offset;
    if (ref.buffer == kOutput && output) return output + ref.offset;
    int64_t offset = ref.offset, t = trial;
    for (int i = 0; i < program.n_trials; ++i) {
      const Divided at = divide(t, program.trials[i].extent);
      offset += at.rest * program.trials[i].strides[ref.buffer];
      t = at.quotient;
    }
    for (int r = 0; batches && r < batches->n_rows; ++r)
      if (batches->rows[r].buffer == ref.buffer) offset += batch * batches->rows[r].step;
    return static_cast<T*>(buffers[ref.buffer]) + offset;
  }
};

// What a mini-batch is held against, if the data comes in them.
template <class T>
IRK_FN Target target_of(Target all, const Batches* batches, int64_t batch) {
  if (!batches) return all;
  all.values = static_cast<const T*>(all.values) + batch * batches->values_step;
  if (all.weights) all.weights = static_cast<const T*>(all.weights) + batch * batches->weights_step;
  return all;
}

// f(rank, size) of members, each with its part of the items: threads side by side have numbers side by side.
template <class Crew, class F>
IRK_FN void share_out(const Crew& crew, int64_t members, F&& f) {
  if (crew.size == 1) return f(0, 1);
  for (int64_t i = crew.rank; i < members; i += crew.size) f(int(i), int(members));
}

// One member's share of a step, whatever crew it belongs to. What is told by value lies in registers.
template <class T>
IRK_FN IRK_APART void take_share(const Step& step, const Loop* pool, const T* a, T* b, T* c, int32_t rows, int32_t lanes, int rank,
                                 int size) {
  const Team team{rank, size};
  switch (step.op) {
    case Op::contract: return contract_patches<T>(step, pool, a, b, c, {rows, lanes}, team);
    case Op::dot: return dot_step<T>(step, pool, a, b, c, team);
    case Op::fill: return fill_step(step, pool, c, team);
    case Op::exponents: return exponents_step<T>(step, pool, a, b, c, team);
    case Op::normalize: return normalize_step<T>(step, pool, b, c, team);
    case Op::level: return level_step<T>(step, pool, b, c, team);
    case Op::scale: return scale_step<T>(step, pool, a, b, c, team);
    default: return;  // half types and gathered rows are not trained by launches: targets/device_fit.h
  }
}
template <class T, class Index>
IRK_FN IRK_APART void take_sampled_share(const Step& step, const Loop* pool, const T* a, const T* b, T* c, const Entries& entries,
                                         int rank, int size) {
  const Team team{rank, size};
  if (step.op == Op::sampled_dot) return sampled_dot_step<T, Index>(step, pool, a, b, c, entries, team);
  sampled_axpy_step<T, Index>(step, pool, a, b, c, entries.orders[step.order], entries.nnz, team);
}
// Of a loss, by phase: its terms (stride 0), a gathering, the division.
template <class T>
IRK_FN IRK_APART void take_loss_share(const Step& step, const T* prediction, T* sums, T* cotangent, const Target& all,
                                      const Batches* batches, int64_t batch, int64_t trial, int64_t stride, int rank, int size) {
  const Team team{rank, size};
  if (stride && gathers<T>(step, stride)) return loss_gather<T>(step, sums, stride, team);
  const Target target = target_of<T>(all, batches, batch);
  if (!stride) return loss_terms<T>(step, prediction, cotangent, sums, target, trial, team);
  loss_divide<T>(step, cotangent, sums, target, trial, team);
}

template <class T, class Crew>
IRK_FN void take_loss(const TrialFrame<T>& x, const Step& step, const T* prediction, T* sums, T* cotangent, const Crew& crew) {
  int64_t members = loss_parts<T>(step);
  bool last = false;
  for (int64_t stride = 0; !last; stride = stride ? stride * kGathered : 1) {
    if (stride) {
      crew.sync();
      last = !gathers<T>(step, stride);
      members = last ? step.count : loss_parts<T>(step, stride * kGathered);
    }
    share_out(crew, least(members, kMostMembers), [&](int rank, int size) {
      take_loss_share<T>(step, prediction, sums, cotangent, *x.target, x.batches, x.batch, x.trial, stride, rank, size);
    });
  }
}

template <class T, class Crew>
IRK_FN void take_step(const TrialFrame<T>& x, const Step& step, const Crew& crew) {
  const Loop* pool = x.program.loops;
  const T* a = x.at(step.a);
  T *b = x.at(step.b), *c = x.at(step.c);
  if (step.op == Op::loss) return take_loss(x, step, a, b, c, crew);
  const bool sampled = step.op == Op::sampled_dot || step.op == Op::sampled_axpy;
  const Patch patch = step.op == Op::contract ? best_patch(step, pool, 1, crew.size) : Patch{};
  share_out(crew, least(items_of(step, pool, listed_of(step, x.entries), patch), kMostMembers), [&](int rank, int size) {
    if (!sampled) take_share<T>(step, pool, a, b, c, patch.rows, patch.lanes, rank, size);
    else if (x.entries->wide) take_sampled_share<T, int64_t>(step, pool, a, b, c, *x.entries, rank, size);
    else take_sampled_share<T, int32_t>(step, pool, a, b, c, *x.entries, rank, size);
  });
}

}  // namespace irk
