// Listed entries from gathered rows: y_n = P(the operands' rows at entry n), a block of entries at a time.
#pragma once
#include "plan/equation.h"

namespace irk {

// The dense product over `entries` entries: an operand's listed letters become one letter, the last: the entry. The others
// keep their order; strides and axes are not set.
struct RowsProduct {
  Product product;
  std::vector<int> letter;  // [letters of the whole product] here; listed ones: the entry
};
RowsProduct product_of_rows(const Product& product, int64_t entries);

// Whether listed entries are cheaper from gathered rows of every operand than from any tensor of the tree. One answer for
// every stage and every subset of wanted gradients.
bool prefers_gather(const Product& product, int64_t nnz);

// Entries of a block, of the last one where it is shorter (else 0), and how many blocks may be at work at the same time.
struct BlockSizes {
  int64_t block, last, slots;
};
BlockSizes block_sizes(int64_t width, int64_t nnz, double elements);  // width: elements of the rows of one entry

constexpr double kBlockElements = 1 << 20;  // of the rows of one block,
constexpr double kAlikeElements = 1 << 18;  // of rows that are alike: their gradients stay near

}  // namespace irk
