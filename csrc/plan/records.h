// What a native training run notes of its steps and when it lets a trial go, as plain data.
#pragma once
#include "plan/program.h"

namespace irk {

// How one number of a trial at one step follows from those before it in the list.
enum class Word : int32_t {
  loss, watched, determinant, constant,  // the loss, watched[a], det W, the constant
  add, subtract, multiply, divide,       // of numbers a and b
  absolute, root, power,                 // of number a; power: to b >= 1
  less, at_most,                         // 1 where a < b (a <= b), else 0
  choose,                                // number a where number b is not 0, else the constant
};

struct Number {
  Word word;
  int32_t a, b;
  double constant;
};

enum class Keep : int32_t { value, least, greatest };  // of the recorded step, or of all steps until then

struct Probe {
  int32_t number;
  Keep keep;
};

constexpr int kNumbers = 64;           // of one trial at one step
constexpr int kDeterminantOrder = 8;   // larger ones are taken between chunks

// Entries of the product, made by a step list of their own and written from `offset` on among those watched.
struct Sight {
  Program program;
  void* const* buffers;  // [kOperands + 2 * n_operands]; kOutput and kScratch are set by who runs it
  int64_t offset, scratch_offset;
};

struct Records {
  int64_t every;            // a row at each multiple of it
  const Number* numbers;
  int32_t n_numbers;
  int32_t n_each_step;      // the first so many are wanted at each step, for the extremes; the others in rows only,
  int32_t watch_each_step;  // and some of them are not of the loss alone
  const Probe* probes;
  int32_t n_probes;
  int32_t order;            // of the determinant, the watched being all of a square W; 0: none
  const Sight* sights;
  int32_t n_sights;
  void* rows;               // [n_probes, trials, n_rows], compute type
  int64_t n_rows;
  void* now;                // [n_probes, trials] extremes so far, and the values last looked at
  void* scratch;            // [threads, scratch_elements], compute type: watched entries, then intermediates
  int64_t scratch_elements;
};

// Why a trial stopped. interrupted: nothing of its step under way was noted or made.
enum class Verdict : uint8_t { none, converged, diverged, interrupted };

struct Limits {
  double below, above;   // converged: loss < below at `patience` checks on end; diverged: loss > above
  int64_t patience, every;
  int64_t checked;       // the last step that has been checked already
  int64_t* streak;       // [trials] checks on end at which the loss was below
};

}  // namespace irk
