// A tape ready to run: its parts, each as machine code where there is any, and the bytes that a pack of trials takes.
#pragma once
#include <optional>

#include "fast/machine_code.h"
#include "plan/fit_program.h"
#include "run/blind_steps.h"

namespace irk {

class TracedStep {
 public:
  TracedStep(Tape tape, const FitCall& fit, bool wide, bool single)
      : tape(std::move(tape)), wide(wide), single(single), steady(fit.rule.kind == RuleKind::sgd && !fit.rule.clip) {
    if (BlindSteps::possible(fit.rule)) blind_.emplace(this->tape);
    const TapeOp *begin = this->tape.step.data(), *end = begin + this->tape.step.size();
    leave = std::find_if(begin, end, [](const TapeOp& op) { return op.op == Arith::leave; }) + 1;
    const std::vector<char>& kept = this->tape.kept;
    whole_ = code({begin, end, kept});
    gradients_ = code({begin, leave, kept});
    update_ = code({leave, end, kept});
    if (blind_) unchecked_ = code(blind_->range());
  }

  int64_t element() const { return wide ? 8 : 4; }
  int64_t lanes() const { return single ? 1 : IRK_VECTOR_BYTES / element(); }
  int64_t bytes() const { return ((blind_ ? blind_->numbers() : tape.numbers) * lanes() * element() + 63) / 64 * 64; }

  bool compiled() const { return bool(whole_); }

  // Whole steps of equal coefficients: how many of n were made before some lane's numbers were not finite.
  template <class V>
  int64_t steps(V* x, int64_t n) const {
    for (int64_t made = 0; made < n;) {
      const int64_t some = std::min(n - made, BlindSteps::kAtOnce);
      const bool worth = blind_ && some >= BlindSteps::kFewest;
      const int64_t done = worth && blind_->run(x, some, unchecked_) ? some : checked_steps(x, some);
      made += done;
      if (done < some) return made;
    }
    return n;
  }
  // Loss and gradients of one step; false where a lane's are not finite.
  template <class V>
  bool gradients(V* x) const { return gradients_ ? gradients_(x, 1) == 1 : interpret(tape.step.data(), leave, x); }
  template <class V>
  void update(V* x) const {
    if (update_) update_(x, 1);
    else interpret(leave, tape.step.data() + tape.step.size(), x);
  }

  const Tape tape;
  const bool wide, single;
  const bool steady;  // coefficients change with the first step at most

 private:
  template <class V>
  int64_t checked_steps(V* x, int64_t n) const {
    if (whole_) return whole_(x, n);
    for (int64_t made = 0; made < n; ++made)
      if (!interpret(tape.step.data(), tape.step.data() + tape.step.size(), x)) return made;
    return n;
  }
  MachineCode code(const TapeRange& range) const {
    return wide ? MachineCode::of<double>(range, int(lanes())) : MachineCode::of<float>(range, int(lanes()));
  }

  const TapeOp* leave;  // the first operation of the update
  MachineCode whole_, gradients_, update_, unchecked_;
  std::optional<BlindSteps> blind_;
};

}  // namespace irk
