// The step list: plain data that a plan hands to an executor. All strides and offsets count elements.
// Everything below describes ONE trial; the trial axes are loops around the whole list.
#pragma once
#include <cstdint>

namespace irk {

constexpr int64_t kReduction = 1024;  // terms whose sum is one block of a reduction to one number
constexpr int kTurns = 8;             // parts of a block that threads of a launch sum up

enum class Dtype : int32_t { f32, f64, bf16, f16 };  // storage; half types are computed in f32

enum class Op : int32_t {
  contract,      // c[out] = sum over k of a[out, k] * b[out, k]
  dot,           // the same when one trial has a single number per index of `outer`
  widen,         // c = a, from storage to compute type
  narrow,        // c = a, from compute to storage type
  fill,          // c = 0
  sampled_dot,   // c[n] = sum over k of a[at(n), k] * b[at(n), k]
  sampled_axpy,  // c[at(n), k] = sum over the entries n of a group of a[n] * b[at(n), k]
  loss,          // a = prediction -> c = cotangent in place, and one number per trial
  rows_value,    // c[n] = the product of the operands' rows at entry n (Gathered)
  rows_pull,     // gradients of the operands from a[n], by way of those of their rows
  exponents,     // c = the sum of `count` of the exponents a, b (0: zeros)
  normalize,     // c = c / 2^e and b = b + e, with e the exponent of the largest of c
  scale,         // c = a * 2^b
  level,         // c = the largest of the exponents b over k, and b = b - c
};

// Buffers that a step may name. Operand i is kOperands + i, its gradient kOperands + n_operands + i.
enum Buffer : int32_t { kScratch, kSaved, kOutput, kCotangent, kOne, kOperands };
constexpr int kMaxOperands = 2000;  // their addresses and those of their gradients lie on the stack
constexpr int kMaxBuffers = kOperands + 2 * kMaxOperands;

struct Ref {
  int32_t buffer;
  int64_t offset;
};

struct Loop {
  int64_t extent;
  int64_t a, b, c;  // strides in the step's three arrays, 0 where the letter is absent
};

struct Span {
  int32_t first, count;  // into the plan's pool of loops
};

struct Step {
  Op op;
  Ref a, b, c;
  Span outer;      // output letters that are neither lane nor row
  Span k;          // contracted letters, the last one fastest: products are accumulated in this order
  Span columns;    // sampled steps: column (in `extent`) and its strides
  Loop row, lane;  // contract: the register tile. b never depends on row
  int32_t order;   // sampled steps: which sorted order of the entries (a dot: -1 for the caller's); fill: that of the
                   // entries whose groups overwrite rows of it later, or -1
  int64_t count;   // fill, widen, narrow: elements; loss: scalars of the prediction
  int64_t spread;  // sampled steps: elements over which the rows of a tensor lie; fill of an order: how many rows
  int64_t work;    // multiply-adds of one trial
  int32_t fence;   // whether a team must have made all steps before: it reads or overwrites what they left since the last fence
};

// One operand of a product at listed coordinates, and its row for each entry of a block: [entries, width].
struct RowsOperand {
  Ref operand, gradient;  // gradient: kNowhere where it is not wanted
  Span columns;           // listed letters: column (in `extent`), stride in the operand (a), its gradient (b), its rows' order (c)
  Span listed;            // the same letters with their extents: stride in the gradient (b), in the order of rows (c)
  Span rest;              // the other letters, whose strides in a row are its elements in order: operand (a), gradient (b);
                          // the same order in all operands where their rows are alike
  int64_t width;          // elements of a row
  int64_t rows, pulled;   // where rows and their gradients lie in the workspace of a block; rows -1: no letter is listed, the
};                        // operand itself is read, and its gradient comes whole from each block. pulled of alike rows that are
                          // summed by blocks: where its sums begin
constexpr int32_t kNowhere = -1;
constexpr int kAlikeSide = 8;  // entries whose rows are multiplied side by side

struct Program;

// Listed entries, a block of them at a time: a dense product of rows.
struct Gathered {
  const RowsOperand* operands;
  const Program *value[2], *pull[2];  // of a whole block, and of the last one where it is shorter
  Span dense;                         // '...' letters of the output, in order: stride between entries of all (b)
  int64_t block;                      // entries
  int64_t slots, slot;                // blocks at work at the same time, and elements of the workspace of each
  int64_t output, scratch;            // where these lie in it
  int64_t padded;                     // rows of all operands alike: elements from one row's gradient to the next, no programs; else 0
  int64_t sums, summed;               // alike: where a block's own sums of the gradients of rows lie in its workspace, and how many
                                      // elements; 0: the rows' gradients lie there one by one
};

struct TrialLoop {
  int64_t extent;
  const int64_t* strides;  // [n_buffers]
};

// How far one index of a trial axis moves a place in a launch, where each trial has a scratch of its own; faster: the trials
// that the index passes over.
inline int64_t launched_stride(const TrialLoop& axis, const Ref& ref, int64_t faster, int64_t scratch) {
  return ref.buffer == kScratch ? faster * scratch : axis.strides[ref.buffer];
}

struct Program {
  Dtype dtype;
  int32_t n_operands;
  const Step* steps;
  int32_t n_steps;
  const Loop* loops;
  const TrialLoop* trials;
  int32_t n_trials;
  int64_t saved;    // compute elements of one trial
  int64_t scratch;
  int64_t work;     // multiply-adds of one trial
  int32_t sampled;  // output and cotangent are listed entries, in compute type
  const Gathered* gathered;  // of rows_value, rows_pull; else null
};

enum class Loss : int32_t { mse, half_sse, l1, huber };

// One sorted order of the observed entries: groups of entries that share the coordinates of some columns.
struct Order {
  const void* perm;     // [nnz] entry of the caller's order
  const void* starts;   // [groups + 1]
  const void* columns;  // [n_columns, nnz] coordinates in sorted order
  int64_t groups;
};

struct Entries {
  int64_t nnz;
  int32_t wide;         // 1: indices are int64, 0: int32
  const void* columns;  // [n_columns, nnz] coordinates in the caller's order
  const Order* orders;
};

struct Target {
  Loss kind;
  double delta;             // huber's threshold
  const void* values;       // [values_trials?, n]
  const void* weights;      // [weights_trials?, n] or null
  int64_t values_stride;    // between trials, 0 when shared
  int64_t weights_stride;
  void* loss;               // [trials], compute type
};

// What one call supplies: addresses, how many threads may serve it, and which trials and steps it covers.
struct Call {
  void* const* buffers;  // [kOperands + 2 * n_operands]
  const Entries* entries;
  const Target* target;
  int32_t threads;
  int64_t first_trial, last_trial;
  int32_t first_step, last_step;
  int32_t device;  // CUDA: its number, and the stream to launch on
  void* stream;
};

}  // namespace irk
