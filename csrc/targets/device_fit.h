// Training on a machine that runs threads by the launch: one launch takes all steps of a call. A trial belongs to a crew: one
// thread, the threads of a block, or those of all blocks. Bits are the same whoever it is.
// Machine::crews, send, train: see targets/simt.cpp and targets/cuda_training.h.
#pragma once
#include <stdexcept>

#include "run/buffers.h"
#include "run/train.h"
#include "targets/parcel.h"

namespace irk {

// Who takes a trial: `lanes`, one thread; `trials`, the threads of a block; `steps`, those of several blocks.
struct Crews {
  Sharing tier;
  int32_t threads;   // of a block
  int64_t shared;    // bytes of a block's own memory that hold its room; 0: rooms lie in the workspace
  int64_t count;     // crews at work at the same time, each with a room
  int32_t blocks;    // of a crew, where it has several
  bool near = false;  // these lie side by side and share a barrier of their own: a cluster
};

// Chosen by arithmetic alone, not yet measured on a GPU: multiply-adds of a step that one thread takes, those from which
// one block is too few, and the trials that make up for it.
constexpr int64_t kThreadWork = 2048, kThreadTrials = 512, kBlocksWork = 1 << 22, kFewTrials = 16;

inline Sharing launched_tier(const Program& program, int64_t trials, Sharing asked) {
  if (asked != Sharing::cheapest) return asked;
  if (program.work <= kThreadWork && trials >= kThreadTrials) return Sharing::lanes;
  return program.work >= kBlocksWork && trials <= kFewTrials ? Sharing::steps : Sharing::trials;
}

// The most members that a step can use.
inline int64_t most_items(const Program& program, const FitCall& fit) {
  const Entries* entries = fit.batches && fit.batches->entries ? fit.batches->entries : fit.call.entries;
  int64_t most = 1;
  for (int s = 0; s < program.n_steps; ++s) {
    const Step& step = program.steps[s];
    const int64_t items = step.op == Op::loss ? step.count : items_of(step, program.loops, listed_of(step, entries));
    if (items > most) most = items;
  }
  return most;
}

template <class Machine>
class DeviceFit {
 public:
  DeviceFit(const Program& program, const FitCall& fit) : program_(program), fit_(fit) {
    for (int s = 0; s < program.n_steps; ++s)
      if (program.steps[s].op == Op::rows_value || program.steps[s].op == Op::rows_pull || program.steps[s].op == Op::widen)
        throw std::logic_error("gathered rows and half types are not trained by launches");
    training_.room = room_of(program, fit, program.dtype == Dtype::f64 ? 8 : 4);
    training_.trials = trial_count(program);
    const Sharing tier = launched_tier(program, training_.trials, fit.sharing);
    with_compute_type(program.dtype, [&](auto zero) {
      crews_ = Machine::template crews<decltype(zero)>(tier, training_, most_items(program, fit));
    });
    training_.crews = crews_.count;
  }

  // Of the workspace: what the launch is told, then rooms.
  int64_t bytes() const {
    Parcel parcel(nullptr);
    pack(parcel);
    return rounded(int64_t(parcel.bytes().size())) + (crews_.shared ? 0 : crews_.count * training_.room.bytes);
  }

  void run() {
    if (!training_.trials) return;
    char* workspace = static_cast<char*>(fit_.call.buffers[kScratch]);
    Parcel parcel(workspace);
    Training training = pack(parcel);
    training.rooms = crews_.shared ? nullptr : workspace + rounded(int64_t(parcel.bytes().size()));
    Machine::send(parcel.bytes(), workspace, fit_.call.stream);
    with_compute_type(program_.dtype, [&](auto zero) { Machine::template train<decltype(zero)>(training, crews_, fit_.call.stream); });
  }

 private:
  static int64_t rounded(int64_t bytes) { return (bytes + 255) / 256 * 256; }
  Training pack(Parcel& parcel) const {
    Training training = training_;
    const Program program = packed(parcel, program_);
    training.program = parcel.add(&program, 1);
    training.fit = packed(parcel, program_, fit_);
    return training;
  }

  const Program& program_;
  const FitCall& fit_;
  Training training_{};
  Crews crews_{};
};

}  // namespace irk
