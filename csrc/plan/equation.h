// An einsum equation and the product that it means for operands of given shapes and strides.
// Grammar: torch.einsum's and opt_einsum's. A letter is any code point but white space, control characters and the
// punctuation , . - > of the grammar; there may be any number of them. Behind the mark of plan/path.h an equation may
// carry the order in which its operands are to meet.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "plan/letters.h"
#include "plan/path.h"

namespace irk {

struct View {
  std::vector<int64_t> shape, strides;  // in elements
};

struct Letter {
  std::string name;   // UTF-8; "..." axes are named by their position from the right
  int64_t extent;
  bool ellipsis;
};

struct Operand {
  std::vector<int> axes;         // letter of every axis, as written
  std::vector<int64_t> shape;
  LetterSet letters;             // letters that it varies along: extent-1 axes are none
  std::vector<int64_t> strides;  // [letters of the product]; a repeated letter has the sum of its strides (a diagonal)
  bool diagonal = false;
};

struct Product {
  std::vector<Letter> letters;
  std::vector<Operand> operands;
  std::vector<int> output;       // letters of the result's axes
  Path path;                     // in which order the operands meet; empty: the planner chooses
  bool empty = false;            // some extent is 0

  int64_t extent(int letter) const { return letters[letter].extent; }
  std::vector<int64_t> output_shape() const;
  std::string term(const LetterSet& set) const;  // for explain() and messages
};

Product parse_product(const std::string& equation, const std::vector<View>& views);

// Elements of a shape, in 64 bits; std::overflow_error when they do not fit.
int64_t checked_elements(const std::vector<int64_t>& shape);

}  // namespace irk
