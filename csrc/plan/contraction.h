// One pairwise contraction as loops: which letter runs along the vector lanes, which along the rows of the register tile.
#pragma once
#include <stdexcept>
#include <string>
#include <vector>

#include "plan/program.h"
#include "plan/tree.h"

namespace irk {

// A tensor inside a plan: where it lies and its stride along each letter (0: does not vary).
struct Tensor {
  Ref ref{kScratch, -1};
  LetterSet letters;
  std::vector<int64_t> strides;  // [letters of the product]
};

// Beyond 2^63 there is an error, never a wrong number.
inline int64_t checked_times(int64_t a, int64_t b, const char* what) {
  int64_t n;
  if (__builtin_mul_overflow(a, b, &n)) throw std::overflow_error(std::string("the product would have more than 2^63 ") + what);
  return n;
}

struct Contraction {
  std::vector<Loop> outer, k;
  Loop row{1, 0, 0, 0}, lane{1, 0, 0, 0};
  bool swapped = false;  // the first operand became the step's b
  int64_t work = 1;
  double cost = 0;       // as plan/tile_cost.h counts
};

// c[output] = sum over the other letters of a * b. The order of accumulation depends on the letters alone.
Contraction arrange(const Product& product, const LetterSet& local, const Tensor& a, const Tensor& b, const Tensor& c);

// Letters of a new intermediate, outermost first, so that its maker and its readers find unit strides.
std::vector<int> choose_layout(const Product& product, const Tensor& a, const Tensor& b, const LetterSet& result);

// Joins neighbouring loops that one loop can walk.
void merge_loops(std::vector<Loop>& loops);

}  // namespace irk
