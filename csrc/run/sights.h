// The watched entries of W at one trial, by step lists of their own, on a core.
#pragma once
#include <vector>

#include "run/sweep.h"
#include "run/watch.h"

namespace irk {

template <class T>
class FrameSights {
 public:
  // part: which of the records' scratches is this team's.
  FrameSights(const FitCall& fit, int part) : records_(fit.records) {
    if (!records_) return;
    watched_ = static_cast<T*>(records_->scratch) + part * records_->scratch_elements;
    for (int v = 0; v < records_->n_sights; ++v)
      bases_.emplace_back(size_t(kOperands + 2 * records_->sights[v].program.n_operands));
  }

  void begin(int64_t trial) {
    trial_ = trial;
    for (int v = 0; v < records_->n_sights; ++v) {
      const Sight& sight = records_->sights[v];
      const Frame<T> frame = frame_of(v);
      seat(frame, sight.program, sight.buffers, trial, reinterpret_cast<char*>(watched_ + sight.scratch_offset));
      frame.base[kOutput] = reinterpret_cast<char*>(watched_ + sight.offset);
    }
  }
  void look(const Team& team) {
    for (int v = 0; v < records_->n_sights; ++v) {
      const Frame<T> frame = frame_of(v);
      for (int s = 0; s < frame.program.n_steps; ++s) {
        frame.run(frame.program.steps[s], team);
        team.sync();
      }
    }
  }
  const T* watched() const { return watched_; }
  T* noted() { return noted_; }

 private:
  Frame<T> frame_of(int v) {
    return {records_->sights[v].program, nullptr, nullptr, bases_[size_t(v)].data(), trial_};
  }

  const Records* records_;
  T* watched_ = nullptr;
  T noted_[kNoted];
  std::vector<std::vector<char*>> bases_;  // [sights][buffers]
  int64_t trial_ = 0;
};

}  // namespace irk
