// Steps of training without their check: what is not finite once leaves a factor or a moment that is not, or a loss, so
// that many steps are checked at their end, and taken again with open eyes where that fails.
#pragma once
#include <algorithm>
#include <vector>

#include "fast/machine_code.h"
#include "plan/fit_program.h"
#include "run/interpret.h"

namespace irk {

class BlindSteps {
 public:
  static constexpr int64_t kAtOnce = 256;  // steps
  static constexpr int64_t kFewest = 8;    // worth saving the numbers before

  // Whether what is not finite lasts: a bound on gradients would swallow it.
  static bool possible(const Rule& rule) { return rule.kind == RuleKind::sgd && !rule.clip && !rule.clip_value; }

  // The numbers of its own come after those of the tape: losses added up, then what moves as it was before.
  explicit BlindSteps(const Tape& tape) : losses_(tape.numbers) {
    for (size_t i = 0; i < tape.leaves.size(); ++i)
      if (tape.leaves[i].kind == LeafKind::factor || tape.leaves[i].kind == LeafKind::moment)
        moving_.push_back(int32_t(i));
    kept_.assign(size_t(numbers()), false);
    std::fill_n(kept_.begin(), tape.leaves.size(), true);
    kept_[size_t(tape.loss)] = kept_[size_t(losses_)] = true;
    write(tape);
  }

  int32_t numbers() const { return losses_ + 1 + int32_t(moving_.size()); }
  TapeRange range() const { return {ops_.data(), ops_.data() + ops_.size(), kept_}; }

  // Whether n steps were made; x is as before where not, since some number was not finite.
  template <class V>
  bool run(V* x, int64_t n, const MachineCode& code) const {
    V* saved = x + losses_ + 1;
    for (size_t i = 0; i < moving_.size(); ++i) saved[i] = x[moving_[i]];
    x[losses_] = V{};
    if (code) code(x, n);
    else
      for (int64_t step = 0; step < n; ++step) interpret(ops_.data(), ops_.data() + ops_.size(), x);
    V check = x[losses_] * V{};
    for (const int32_t number : moving_) check = fma(x[number], V{}, check);
    if (!Bits<V>::some_nan(check)) return true;
    for (size_t i = 0; i < moving_.size(); ++i) x[moving_[i]] = saved[i];
    return false;
  }

 private:
  // The operations that what moves and the loss depend on.
  void write(const Tape& tape) {
    std::vector<char> needed = kept_;
    for (auto op = tape.step.rbegin(); op != tape.step.rend(); ++op) {
      if (op->op == Arith::leave || !needed[size_t(op->d)]) continue;
      needed[size_t(op->d)] = false;
      for (const int32_t number : {op->a, op->b, op->c}) needed[size_t(number)] = true;
      ops_.push_back(*op);
    }
    std::reverse(ops_.begin(), ops_.end());
    ops_.push_back({Arith::add, losses_, losses_, tape.loss, 0});
    advance_moves();
  }
  // What moves does so once its own number is read no more: a gradient keeps its register for a short time.
  void advance_moves() {
    for (size_t i = 0; i < ops_.size(); ++i) {
      const TapeOp op = ops_[i];
      if (!std::binary_search(moving_.begin(), moving_.end(), op.d)) continue;
      const auto meets = [&](const TapeOp& other) {
        const auto reads = [](const TapeOp& x, int32_t d) { return x.a == d || x.b == d || x.c == d; };
        return other.d == op.d || reads(other, op.d) || reads(op, other.d);
      };
      const auto from = std::make_reverse_iterator(ops_.begin() + int64_t(i));
      const auto to = std::find_if(from, ops_.rend(), meets).base();
      std::rotate(to, ops_.begin() + int64_t(i), ops_.begin() + int64_t(i) + 1);
    }
  }

  const int32_t losses_;
  std::vector<int32_t> moving_;
  std::vector<char> kept_;
  std::vector<TapeOp> ops_;
};

}  // namespace irk
