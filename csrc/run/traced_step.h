// A tape ready to run: its parts, each as machine code where there is any, and the bytes that a pack of trials takes.
#pragma once
#include <optional>

#include "fast/machine_code.h"
#include "run/blind_steps.h"

namespace irk {

class TracedStep {
 public:
  TracedStep(Tape made, const FitCall& fit, bool wide, bool single)
      : tape(std::move(made)),
        wide(wide),
        single(single),
        steady(fit.rule.kind == RuleKind::sgd && !fit.rule.clip && !fit.batches),
        repeated_(tape, fit.records) {
    if (BlindSteps::possible(fit.rule)) blind_.emplace(tape, repeated_);
    const TapeOp *begin = tape.step.data(), *end = begin + tape.step.size();
    leave = std::find_if(begin, end, [](const TapeOp& op) { return op.op == Arith::leave; }) + 1;
    const std::vector<TapeOp>& ops = repeated_.ops;
    whole_ = code({ops.data(), ops.data() + ops.size(), repeated_.kept, repeated_.columns});
    gradients_ = code({begin, leave, tape.kept});
    update_ = code({leave, end, tape.kept});
    if (blind_) unchecked_ = code(blind_->range());
  }

  int64_t element() const { return wide ? 8 : 4; }
  int64_t lanes() const { return single ? 1 : IRK_VECTOR_BYTES / element(); }
  // Numbers of a pack, then the notes of so many steps.
  int64_t numbers_bytes() const {
    return ((blind_ ? blind_->numbers() : tape.numbers) * lanes() * element() + 63) / 64 * 64;
  }
  int64_t bytes() const { return numbers_bytes() + columns() * lanes() * element() * at_once(); }
  // What the step itself takes, however many trials: its operations and its code.
  int64_t held_bytes() const {
    const size_t ops = tape.once.size() + tape.step.size() + repeated_.ops.size() + (blind_ ? blind_->length() : 0);
    const size_t told = tape.gradients.size() + tape.noted.size();
    return int64_t(ops * sizeof(TapeOp) + tape.leaves.size() * sizeof(Leaf) + told * sizeof(int32_t)) +
           int64_t(tape.kept.size() + repeated_.kept.size()) + code_bytes();
  }
  int64_t code_bytes() const { return whole_.size() + gradients_.size() + update_.size() + unchecked_.size(); }

  bool compiled() const { return bool(whole_); }
  int32_t columns() const { return repeated_.columns; }
  // The most steps whose notes there is room for; without notes, any number.
  int64_t at_once() const {
    const int64_t row = columns() * lanes() * element();
    return row ? std::clamp(kNotes / row, BlindSteps::kFewest, BlindSteps::kAtOnce) : BlindSteps::kAtOnce;
  }

  // Whole steps of equal coefficients: how many of n were made before some lane's numbers were not finite, or its loss
  // beyond a limit.  notes: [n, columns]
  template <class V>
  int64_t steps(V* x, int64_t n, V* notes) const {
    for (int64_t made = 0; made < n;) {
      const int64_t some = std::min(n - made, BlindSteps::kAtOnce);
      const bool worth = blind_ && some >= BlindSteps::kFewest;
      const int64_t done = worth && blind_->run(x, some, unchecked_, notes) ? some : checked_steps(x, some, notes);
      made += done;
      notes += done * columns();
      if (done < some) return made;
    }
    return n;
  }
  // Loss, gradients and what is noted of one step; false where a lane would leave.
  template <class V>
  bool gradients(V* x) const { return gradients_ ? gradients_(x, 1) == 1 : interpret(tape.step.data(), leave, x); }
  template <class V>
  void update(V* x) const {
    if (update_) update_(x, 1);
    else interpret(leave, tape.step.data() + tape.step.size(), x);
  }

  const Tape tape;
  const bool wide, single;
  const bool steady;  // no step has observations of its own, and coefficients change with the first one at most

 private:
  static constexpr int64_t kNotes = 32768;  // bytes that stay near

  template <class V>
  int64_t checked_steps(V* x, int64_t n, V* notes) const {
    if (whole_) return whole_(x, n, notes);
    const std::vector<TapeOp>& ops = repeated_.ops;
    for (int64_t made = 0; made < n; ++made)
      if (!interpret(ops.data(), ops.data() + ops.size(), x, notes + made * columns())) return made;
    return n;
  }
  MachineCode code(const TapeRange& range) const {
    return wide ? MachineCode::of<double>(range, int(lanes())) : MachineCode::of<float>(range, int(lanes()));
  }

  const TapeOp* leave;  // the first operation of the update
  const RepeatedStep repeated_;
  MachineCode whole_, gradients_, update_, unchecked_;
  std::optional<BlindSteps> blind_;
};

}  // namespace irk
