// One training step of ONE trial as straight-line arithmetic on numbered numbers: what run/trace.h makes of a step
// list. run/lanes.h computes it for a trial in each lane, fast/machine_code.h turns it into instructions.
#pragma once
#include <cstdint>
#include <vector>

namespace irk {

enum class Arith : int32_t {
  fma,      // a * b + c, rounded once
  add, sub, mul, div,
  root,     // square root of a
  least,    // a < b ? a : b, as machines have it: b where they do not compare
  most,     // a > b ? a : b
  both,     // the bits that a and b have
  either,   // the bits that a or b has
  without,  // the bits that b has and a has not
  less, at_most, unlike,  // all bits where a < b (a <= b, a != b), else none
  leave,    // ends the run where some lane of a is not a number
  note,     // a stands in column c of this step's notes
};

// How many of a, b, c an operation reads, and whether it makes a number d.
inline int inputs(Arith op) {
  switch (op) {
    case Arith::fma: return 3;
    case Arith::root:
    case Arith::leave:
    case Arith::note: return 1;
    default: return 2;
  }
}
inline bool makes(Arith op) { return op != Arith::leave && op != Arith::note; }

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
  extreme,      // of probe `which` until now
  constant,     // element `index` of buffer `which`
  row,          // the same, of a buffer that has rows for every step's batch
  watched,      // the same of a sight: buffer `which` % kMaxBuffers of sight `which` / kMaxBuffers
  value,        // target value `index`
  weight,       // its weight
  coefficient,  // of the update rule, number `index`
};

// Whether steps change what is there.
inline bool moves(LeafKind kind) {
  return kind == LeafKind::factor || kind == LeafKind::moment || kind == LeafKind::extreme;
}

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
  std::vector<TapeOp> step;    // the loss, the gradients, what is noted, `leave`, then the update in place
  std::vector<int32_t> gradients;  // of all factors, one after the other, where the rule asks for their norm
  std::vector<int32_t> noted;      // [probes] until the update
  std::vector<char> kept;          // [numbers] has to be in memory between the parts of a step
  int32_t loss = 0, check = 0;     // check: 0, or not a number where the loss or a gradient is not finite
  int32_t alarm = 0;               // all bits where the loss is beyond a limit, else none; 0: there is no limit
};

}  // namespace irk
