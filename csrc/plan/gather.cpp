// Listed entries from gathered rows: the dense product of a block of entries, and whether it costs less than the tree does.
#include "plan/gather.h"

#include <algorithm>

#include "plan/cost.h"
#include "plan/tree.h"

namespace irk {
namespace {

constexpr int64_t kFewest = 16, kMost = 1024;   // entries of a block
constexpr int64_t kSlots = 4;               // blocks that may be at work at the same time

}  // namespace

RowsProduct product_of_rows(const Product& product, int64_t entries) {
  RowsProduct made;
  Product& rows = made.product;
  const size_t n = product.letters.size();
  std::vector<bool> listed(n);
  for (int l : product.output) listed[size_t(l)] = !product.letters[size_t(l)].ellipsis;
  for (size_t l = 0; l < n; ++l) {
    made.letter.push_back(int(rows.letters.size()));
    if (!listed[l]) rows.letters.push_back(product.letters[l]);
  }
  const int entry = int(rows.letters.size());
  rows.letters.push_back({"entry", entries, false});
  for (size_t l = 0; l < n; ++l)
    if (listed[l]) made.letter[l] = entry;
  for (const Operand& operand : product.operands) {
    Operand own;
    for (size_t l = 0; l < n; ++l)
      if (operand.letters[l]) own.letters.set(size_t(made.letter[l]));
    rows.operands.push_back(own);
  }
  for (int l : product.output)
    if (product.letters[size_t(l)].ellipsis) rows.output.push_back(made.letter[size_t(l)]);
  rows.output.push_back(entry);
  return made;
}

namespace {

double elements(const Product& product, const LetterSet& letters) {
  double n = 1;
  for (size_t l = 0; l < product.letters.size(); ++l)
    if (letters[l] && !product.letters[l].ellipsis) n *= double(product.extent(int(l)));
  return n;
}

// Whether a deep tree's tensors, all of which backward reads, are many times as large as its operands.
bool outgrows(const Product& product, const Tree& tree) {
  constexpr size_t kDeep = 32;
  constexpr double kTimes = 2;
  if (product.operands.size() <= kDeep) return false;
  double given = 0, made = 0;
  for (const Node& node : tree.nodes) (node.operand >= 0 ? given : made) += elements(product, node.letters);
  return made - elements(product, tree.nodes[size_t(tree.root)].letters) > kTimes * given;
}

}  // namespace

bool prefers_gather(const Product& product, int64_t nnz) {
  const std::vector<bool> all(product.operands.size(), true);
  if (product.operands.size() < 3 || product.empty) return false;
  const Product rows = product_of_rows(product, nnz).product;
  double gathered = 0;
  for (const Operand& operand : rows.operands) {
    if (!operand.letters[rows.letters.size() - 1]) continue;
    double row = 1;
    for (size_t l = 0; l + 1 < rows.letters.size(); ++l)
      if (operand.letters[l] && !rows.letters[l].ellipsis) row *= double(rows.letters[l].extent);
    gathered += row * double(nnz);
  }
  if (gathered == 0) return false;
  const double each = 3 * kSampledEntry * double(nnz);  // coordinates are read here too
  const Tree whole = find_tree(product, {all, nnz});
  return outgrows(product, whole) || find_tree(rows, {all, -1}).cost + each + kGathered * gathered < whole.cost;
}

BlockSizes block_sizes(int64_t width, int64_t nnz, double elements) {
  const double fitting = elements / double(std::max<int64_t>(width, 1));
  BlockSizes sizes;
  sizes.block = std::min({nnz, kMost, std::max(kFewest, int64_t(std::min(fitting, double(kMost))) / kFewest * kFewest)});
  sizes.last = nnz % sizes.block;
  sizes.slots = std::min(kSlots, (nnz + sizes.block - 1) / sizes.block);
  return sizes;
}

}  // namespace irk
