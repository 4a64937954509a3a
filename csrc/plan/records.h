// What a native training run notes of its steps and when it lets a trial go, as plain data.
#pragma once
#include "plan/program.h"

namespace irk {

// One word of a formula in postfix order, over the state of one trial at one step.
enum class Word : int32_t {
  loss, watched, determinant, constant,        // push: the loss, watched[index], det W, constant
  add, subtract, multiply, divide,             // of the two on top
  absolute, root, power,                       // of the one on top; power: to `index` >= 1
  less, at_most,                               // 1 or 0
  choose,                                      // [value, condition, otherwise]: value where condition is not 0
};

struct Token {
  Word word;
  int32_t index;
  double constant;
};

enum class Keep : int32_t { value, least, greatest };  // of the recorded step, or of all steps until then

struct Probe {
  int32_t first, count;  // its formula, into the tokens
  Keep keep;
};

constexpr int kFormulaDepth = 16;      // numbers on a formula's stack
constexpr int kDeterminantOrder = 8;   // larger ones are taken between chunks

// Entries of the product, made by a step list of their own and written from `offset` on among those watched.
struct Sight {
  Program program;
  void* const* buffers;  // [kOperands + 2 * n_operands]; kOutput and kScratch are set by who runs it
  int64_t offset, scratch_offset;
};

struct Records {
  int64_t every;         // a row at each multiple of it
  const Token* tokens;
  const Probe* probes;
  int32_t n_probes;
  int32_t each_step;     // some probe keeps an extreme, so every step is looked at,
  int32_t watch_each_step;  // and one of them is not of the loss alone
  int32_t order;         // of the determinant, the watched being all of a square W; 0: none
  const Sight* sights;
  int32_t n_sights;
  void* rows;            // [rows, n_probes, trials], compute type
  void* now;             // [n_probes, trials] extremes so far, and the values last looked at
  void* scratch;         // [threads, scratch_elements], compute type: the watched entries, then the intermediates of the sights
  int64_t scratch_elements;
};

// Why a trial stopped.
enum class Verdict : uint8_t { none, converged, diverged };

struct Limits {
  double below, above;   // converged: loss < below at `patience` checks on end; diverged: loss > above
  int64_t patience, every;
  int64_t checked;       // the last step that has been checked already
  int64_t* streak;       // [trials] checks on end at which the loss was below
};

}  // namespace irk
