// Steps of training without their check: what is not finite once leaves a factor or a moment that is not, or a loss, so
// that many steps are checked at their end, and taken again with open eyes where that fails, or where some loss among
// them was beyond a limit.
#pragma once
#include <algorithm>
#include <vector>

#include "fast/machine_code.h"
#include "run/interpret.h"
#include "run/repeated_step.h"

namespace irk {

class BlindSteps {
 public:
  static constexpr int64_t kAtOnce = 256;  // steps
  static constexpr int64_t kFewest = 8;    // worth saving the numbers before

  // Whether what is not finite lasts: a bound on gradients would swallow it.
  static bool possible(const Rule& rule) { return rule.kind == RuleKind::sgd && !rule.clip && !rule.clip_value; }

  // The numbers of its own come after those of the tape: losses added up, alarms, then what moves as it was before.
  BlindSteps(const Tape& tape, const RepeatedStep& step)
      : losses_(tape.numbers), alarms_(losses_ + 1), columns_(step.columns) {
    for (size_t i = 0; i < tape.leaves.size(); ++i) {
      if (!moves(tape.leaves[i].kind)) continue;
      moving_.push_back(int32_t(i));
      if (tape.leaves[i].kind != LeafKind::extreme) checked_.push_back(int32_t(i));  // an extreme is of any value
    }
    kept_.assign(size_t(numbers()), false);
    std::fill_n(kept_.begin(), tape.leaves.size(), true);
    for (const int32_t number : {tape.loss, losses_, alarms_}) kept_[size_t(number)] = true;
    write(tape, step.ops);
  }

  size_t length() const { return ops_.size(); }
  int32_t numbers() const { return alarms_ + 1 + int32_t(moving_.size()); }
  TapeRange range() const { return {ops_.data(), ops_.data() + ops_.size(), kept_, columns_}; }

  // Whether n steps were made; x is as before where not, since some number was not finite or some loss beyond a limit.
  template <class V>
  bool run(V* x, int64_t n, const MachineCode& code, V* notes) const {
    V* saved = x + alarms_ + 1;
    for (size_t i = 0; i < moving_.size(); ++i) saved[i] = x[moving_[i]];
    x[losses_] = x[alarms_] = V{};
    if (code) code(x, n, notes);
    else
      for (int64_t step = 0; step < n; ++step)
        interpret(ops_.data(), ops_.data() + ops_.size(), x, notes + step * columns_);
    V check = x[losses_] * V{};
    for (const int32_t number : checked_) check = fma(x[number], V{}, check);
    if (!Bits<V>::some_nan(check) && !Bits<V>::some_nan(x[alarms_])) return true;
    for (size_t i = 0; i < moving_.size(); ++i) x[moving_[i]] = saved[i];
    return false;
  }

 private:
  void write(const Tape& tape, const std::vector<TapeOp>& step) {
    std::copy_if(step.begin(), step.end(), std::back_inserter(ops_), [](const TapeOp& op) { return op.op != Arith::leave; });
    ops_.push_back({Arith::add, losses_, losses_, tape.loss, 0});
    if (tape.alarm) ops_.push_back({Arith::either, alarms_, alarms_, tape.alarm, 0});
    ops_ = needed_ops(ops_, kept_);
    advance_moves();
  }
  // What moves does so once its own number is read no more: a gradient keeps its register for a short time.
  void advance_moves() {
    for (size_t i = 0; i < ops_.size(); ++i) {
      const TapeOp op = ops_[i];
      if (!std::binary_search(moving_.begin(), moving_.end(), op.d)) continue;
      const auto meets = [&](const TapeOp& other) {
        const auto reads = [](const TapeOp& x, int32_t d) { return x.a == d || x.b == d || x.c == d; };
        return reads(other, op.d) || (makes(other.op) && (other.d == op.d || reads(op, other.d)));
      };
      const auto from = std::make_reverse_iterator(ops_.begin() + int64_t(i));
      const auto to = std::find_if(from, ops_.rend(), meets).base();
      std::rotate(to, ops_.begin() + int64_t(i), ops_.begin() + int64_t(i) + 1);
    }
  }

  const int32_t losses_, alarms_, columns_;
  std::vector<int32_t> moving_, checked_;
  std::vector<char> kept_;
  std::vector<TapeOp> ops_;
};

}  // namespace irk
