// One training step of ONE trial as straight-line arithmetic on numbered numbers: what run/trace.h makes of a step
// list. run/lanes.h computes it for a trial in each lane, fast/machine_code.h turns it into instructions.
#pragma once
#include <cstdint>
#include <vector>

namespace irk {

enum class Arith : int32_t {
  fma,     // a * b + c, rounded once
  add, sub, mul, div,
  root,    // square root of a
  least,   // a < b ? a : b, as machines have it: b where they do not compare
  most,    // a > b ? a : b
  both,    // the bits that a and b have
  either,  // the bits that a or b has
  filled,  // all bits where a is not 0, else none
  leave,   // ends the run where some lane of a is not a number
};

struct TapeOp {
  Arith op;
  int32_t d, a, b, c;  // numbers; those that an operation has no use for are 0
};

enum class LeafKind : int32_t {
  literal,      // `literal` in every trial
  magnitude,    // the bits of a magnitude
  sign,         // the bit of a sign
  operand,      // element `index` of buffer `which`, another one with every pack of trials
  factor,       // element `index` of factor `which`
  moment,       // element `index` of what the rule keeps beside factor `which`
  constant,     // element `index` of buffer `which`
  value,        // target value `index`
  weight,       // its weight
  coefficient,  // of the update rule, number `index`
};

// What a number holds before the first step.
struct Leaf {
  LeafKind kind;
  int32_t which;
  int64_t index;
  double literal;
};

struct Tape {
  int32_t numbers = 0;         // the first are leaves
  std::vector<Leaf> leaves;
  std::vector<TapeOp> once;    // what no step changes
  std::vector<TapeOp> step;    // the loss, the gradients, `leave`, then the update in place
  std::vector<int32_t> gradients;  // of all factors, one after the other, where the rule asks for their norm
  std::vector<char> kept;          // [numbers] has to be in memory between the parts of a step
  int32_t loss = 0, check = 0;     // check: 0, or not a number where the loss or a gradient is not finite
};

}  // namespace irk
