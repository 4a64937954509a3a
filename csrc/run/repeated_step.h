// A step as it is taken many times in a row: no more of it than lasts, and, where rows of records are dense, with notes
// of what stands in them.
#pragma once
#include "plan/fit_program.h"
#include "run/needed_ops.h"

namespace irk {

struct RepeatedStep {
  std::vector<char> kept;   // [numbers] has to be in memory in the end
  std::vector<TapeOp> ops;
  int32_t columns = 0;      // of the notes; 0: none are made, and a row of records ends the repetition

  RepeatedStep(const Tape& tape, const Records* records) : kept(size_t(tape.numbers)) {
    std::fill_n(kept.begin(), tape.leaves.size(), true);
    kept[size_t(tape.loss)] = kept[size_t(tape.check)] = true;
    ops = needed_ops(tape.step, kept);
    if (!records) return;
    std::vector<TapeOp> noting = needed_ops(with_notes(tape), kept);
    if (int64_t(noting.size() - ops.size()) * (records->every - 1) > kLook) return;
    ops = std::move(noting);
    columns = int32_t(tape.noted.size());
  }

 private:
  static constexpr int64_t kLook = 150;  // operations in whose time a step is looked at

  static std::vector<TapeOp> with_notes(const Tape& tape) {
    std::vector<TapeOp> ops;
    for (const TapeOp& op : tape.step) {
      if (op.op == Arith::leave)
        for (size_t column = 0; column < tape.noted.size(); ++column)
          ops.push_back({Arith::note, 0, tape.noted[column], 0, int32_t(column)});
      ops.push_back(op);
    }
    return ops;
  }
};

}  // namespace irk
