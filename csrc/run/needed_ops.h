// A part of a tape without what nobody asks for.
#pragma once
#include <algorithm>
#include <vector>

#include "plan/tape.h"

namespace irk {

// In order, the operations that `kept` numbers, where a step is left early and where it ends, and all notes depend on.
inline std::vector<TapeOp> needed_ops(const std::vector<TapeOp>& ops, const std::vector<char>& kept) {
  std::vector<char> needed = kept;
  std::vector<TapeOp> found;
  for (auto op = ops.rbegin(); op != ops.rend(); ++op) {
    if (op->op == Arith::leave)
      for (size_t n = 0; n < kept.size(); ++n) needed[n] = needed[n] || kept[n];
    if (makes(op->op)) {
      if (!needed[size_t(op->d)]) continue;
      needed[size_t(op->d)] = false;
    }
    const int32_t in[] = {op->a, op->b, op->c};
    for (int k = 0; k < inputs(op->op); ++k) needed[size_t(in[k])] = true;
    found.push_back(*op);
  }
  std::reverse(found.begin(), found.end());
  found.shrink_to_fit();
  return found;
}

}  // namespace irk
