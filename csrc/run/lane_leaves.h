// What the leaves of a tape hold of the trials of a pack: read from a call's buffers, and what moves written back.
#pragma once
#include <algorithm>
#include <cstring>
#include <vector>

#include "plan/fit_program.h"
#include "plan/tape.h"
#include "run/buffers.h"

namespace irk {

template <class T, int W>
class LaneLeaves {
 public:
  // x: [numbers, W]
  LaneLeaves(const Tape& tape, const Program& program, const FitCall& fit, T* x)
      : leaves_(tape.leaves), program_(program), fit_(fit), target_(*fit.call.target), trials_(trial_count(program)), x_(x) {
    for (size_t i = 0; fit.batches && i < leaves_.size(); ++i)
      if (drawn(leaves_[i].kind)) drawn_.push_back(int32_t(i));
  }

  // trial: [W] of each lane
  void load(const int64_t* trial) {
    batch_ = 0;
    for (size_t i = 0; i < leaves_.size(); ++i) load(int32_t(i), trial);
  }
  // The observations of one step, where every step has its own.
  void take_batch(int64_t step, const int64_t* trial) {
    batch_ = step - fit_.first;
    for (const int32_t number : drawn_) load(number, trial);
  }
  // What moves.
  void store(int lane, int64_t trial) const {
    for (size_t i = 0; i < leaves_.size(); ++i)
      if (moves(leaves_[i].kind)) *element(leaves_[i], trial) = at(int32_t(i))[lane];
  }

 private:
  static bool drawn(LeafKind kind) {
    return kind == LeafKind::row || kind == LeafKind::value || kind == LeafKind::weight;
  }
  T* at(int32_t number) const { return x_ + int64_t(number) * W; }

  void load(int32_t number, const int64_t* trial) const {
    const Leaf& leaf = leaves_[size_t(number)];
    if (shared(leaf.kind)) std::fill_n(at(number), W, value_of(leaf, trial[0]));
    else
      for (int lane = 0; lane < W; ++lane) at(number)[lane] = value_of(leaf, trial[lane]);
  }
  // Whether all trials have the same.
  bool shared(LeafKind kind) const {
    return kind == LeafKind::row || (kind == LeafKind::value && !target_.values_stride) ||
           (kind == LeafKind::weight && !target_.weights_stride);
  }

  T value_of(const Leaf& leaf, int64_t trial) const {
    using Unsigned = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
    constexpr Unsigned kSign = Unsigned(1) << (8 * sizeof(T) - 1);
    const Batches none{}, &batches = fit_.batches ? *fit_.batches : none;
    const auto element_of = [&](const Program& program, void* const* buffers, int32_t buffer) {
      return static_cast<const T*>(buffers[buffer]) + trial_offset(program, buffer, trial) + leaf.index;
    };
    const auto of_target = [&](const void* rows, int64_t stride, int64_t step) {
      return static_cast<const T*>(rows)[trial * stride + batch_ * step + leaf.index];
    };
    switch (leaf.kind) {
      case LeafKind::literal: return T(leaf.literal);
      case LeafKind::magnitude: return number_of(~kSign);
      case LeafKind::sign: return number_of(kSign);
      case LeafKind::factor:
      case LeafKind::moment:
      case LeafKind::extreme: return *element(leaf, trial);
      case LeafKind::constant: return *element_of(program_, fit_.call.buffers, leaf.which);
      case LeafKind::row: return element_of(program_, fit_.call.buffers, leaf.which)[batch_ * rows_step(leaf.which)];
      case LeafKind::watched: {
        const Sight& sight = fit_.records->sights[leaf.which / kMaxBuffers];
        return *element_of(sight.program, sight.buffers, leaf.which % kMaxBuffers);
      }
      case LeafKind::value: return of_target(target_.values, target_.values_stride, batches.values_step);
      case LeafKind::weight: return of_target(target_.weights, target_.weights_stride, batches.weights_step);
      case LeafKind::operand:
      case LeafKind::coefficient: break;  // set before an update
    }
    return T(0);
  }
  int64_t rows_step(int32_t buffer) const {
    const BatchRows* rows = fit_.batches->rows;
    while (rows->buffer != buffer) ++rows;
    return rows->step;
  }
  template <class Unsigned>
  static T number_of(Unsigned bits) {
    T x;
    std::memcpy(&x, &bits, sizeof(T));
    return x;
  }
  T* element(const Leaf& leaf, int64_t trial) const {
    if (leaf.kind == LeafKind::extreme) return static_cast<T*>(fit_.records->now) + leaf.which * trials_ + trial;
    const bool factor = leaf.kind == LeafKind::factor;
    const Factor& of = fit_.factors[factor ? leaf.which : leaf.which / kMoments];
    return static_cast<T*>(factor ? of.data : of.moments[leaf.which % kMoments]) + trial * of.elements + leaf.index;
  }

  const std::vector<Leaf>& leaves_;
  const Program& program_;
  const FitCall& fit_;
  const Target& target_;
  const int64_t trials_;
  T* x_;
  std::vector<int32_t> drawn_;  // leaves that every step's batch has for itself
  int64_t batch_ = 0;
};

}  // namespace irk
