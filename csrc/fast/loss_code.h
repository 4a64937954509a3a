// The loss of few entries without weights as machine code: cotangents in place, and one number. The bits are those of
// steps/loss.h: 32 strided partial sums and their halving tree.
#pragma once
#include <algorithm>

#include "fast/blocks.h"
#include "fast/code_arrays.h"
#include "steps/dot.h"

namespace irk {

class LossCode {
  static constexpr int64_t kMost = 512;  // entries
  static constexpr int kResidual = 8, kTerm = 9, kSlope = 10, kSpare = 11;  // registers; partial sums come first
  static constexpr int kHalf = 12, kFactor = 13, kSign = 14, kMask = 15;

 public:
  // values, loss: where the addresses of the trial's target values and of its loss are
  LossCode(Assembler& out, const Step& step, const Target& target, int32_t values, int32_t loss)
      : out_(out), step_(step), target_(target), values_(values), loss_(loss), width_(out.most_lanes()) {}

  bool fits() const { return step_.count > 0 && step_.count <= kMost && !target_.weights; }

  void write() const {
    fetch_array(out_, Gpr::rax, step_.a);
    fetch_array(out_, Gpr::rcx, step_.c);
    out_.fetch(Gpr::rdx, address_at(values_));
    out_.fetch(Gpr::rsi, address_at(loss_));
    const int tail = lanes_of(packs() - 1);
    if (!out_.moves_whole(tail)) out_.load(width_, kMask, out_.lane_mask(tail));
    out_.load(width_, kHalf, out_.constant(0.5));
    out_.load(width_, kSign, out_.constant(-0.0));
    out_.load(width_, kFactor, factor());
    for (int64_t pack = 0; pack < packs(); ++pack) entries(pack);
    sum();
  }

 private:
  int64_t packs() const { return pieces(step_.count, width_); }
  int lanes_of(int64_t pack) const { return int(std::min<int64_t>(width_, step_.count - pack * width_)); }
  int sums() const { return kPartials / width_; }

  // Of the loss and of the cotangents, in the type that computes.
  double share() const {
    if (target_.kind == Loss::half_sse) return 1;
    return out_.wide() ? 1 / double(step_.count) : double(1 / float(step_.count));
  }
  Memory factor() const { return out_.constant(target_.kind == Loss::mse ? 2 * share() : share()); }

  // Lanes behind the last entry hold zeros, whose terms are +0.
  void entries(int64_t pack) const {
    const int lanes = lanes_of(pack), total = int(pack % sums());
    const int64_t at = pack * width_ * out_.element();
    out_.load(lanes, kResidual, {Gpr::rax, at}, kMask);
    out_.load(lanes, kTerm, {Gpr::rdx, at}, kMask);
    out_.sub(width_, kResidual, kResidual, kTerm);
    term();
    if (pack < sums()) out_.copy(total, kTerm);
    else out_.add(width_, total, total, kTerm);
    out_.mul(width_, kSlope, kSlope, kFactor);
    out_.store(lanes, {Gpr::rcx, at}, kSlope, kSpare);
  }

  // kTerm and kSlope of kResidual
  void term() const {
    const int r = kResidual;
    switch (target_.kind) {
      case Loss::mse:
      case Loss::half_sse:
        out_.mul(width_, kTerm, r, r);
        if (target_.kind == Loss::half_sse) out_.mul(width_, kTerm, kTerm, kHalf);
        return out_.copy(kSlope, r);
      case Loss::l1:  // where r is beside 0, 1 with its sign; else r, which may be no number
        out_.clear(kSpare);
        out_.compare(Assembler::kOrderedUnlike, kTerm, r, kSpare);
        out_.both(kSlope, kSign, r);
        out_.load(width_, kSpare, out_.constant(1));
        out_.either(kSlope, kSlope, kSpare);
        out_.both(kSlope, kSlope, kTerm);
        out_.without(kTerm, kTerm, r);
        out_.either(kSlope, kSlope, kTerm);
        return out_.without(kTerm, kSign, r);
      case Loss::huber:
        out_.without(kSpare, kSign, r);
        out_.load(width_, kSlope, out_.constant(target_.delta));
        out_.least(width_, kSlope, kSlope, kSpare);
        out_.mul(width_, kTerm, kSlope, kHalf);
        out_.sub(width_, kTerm, kSpare, kTerm);
        out_.mul(width_, kTerm, kSlope, kTerm);
        out_.both(kSpare, kSign, r);
        return out_.either(kSlope, kSlope, kSpare);
    }
  }

  // Sums that have no entry are +0, which adds nothing to those that are never -0.
  void sum() const {
    int64_t there = std::min<int64_t>(packs(), sums());
    for (int half = sums() / 2; half >= 1; half /= 2) {
      for (int64_t p = 0; p < half && p + half < there; ++p) out_.add(width_, int(p), int(p), int(p + half));
      there = std::min<int64_t>(there, half);
    }
    out_.high_half(kSpare, 0);
    out_.add(width_ / 2, 0, 0, kSpare);
    out_.fold_half(0, kSpare);
    out_.load(1, kSpare, out_.constant(share()));
    out_.mul(1, 0, 0, kSpare);
    out_.store(1, {Gpr::rsi, 0}, 0, kSpare);
  }

  Assembler& out_;
  const Step& step_;
  const Target& target_;
  const int32_t values_, loss_;
  const int width_;
};

}  // namespace irk
