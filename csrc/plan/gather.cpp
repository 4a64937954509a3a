// Whether entries are read from the tree or from gathered rows: the two costs, side by side.
#include <algorithm>

#include "plan/cost.h"
#include "plan/tree.h"

namespace irk {

bool prefers_gather(const Product& product, int64_t nnz) {
  const std::vector<bool> all(product.operands.size(), true);
  if (product.operands.size() < 3 || product.empty) return false;
  Product rows = product;  // every output letter of an operand becomes one letter: the entry
  const int entry = int(rows.letters.size());
  rows.letters.push_back({"entry", nnz, false});
  double gathered = 0;
  for (Operand& operand : rows.operands) {
    double row = 1;
    bool listed = false;
    for (size_t l = 0; l < product.letters.size(); ++l) {
      if (!operand.letters[l]) continue;
      const bool output = std::count(product.output.begin(), product.output.end(), int(l)) && !product.letters[l].ellipsis;
      if (output) operand.letters.reset(l);
      else if (!product.letters[l].ellipsis) row *= double(product.letters[l].extent);
      listed |= output;
    }
    operand.letters.set(size_t(entry), listed);
    gathered += listed ? row * double(nnz) : 0;
  }
  rows.output = {entry};
  for (int l : product.output)
    if (product.letters[size_t(l)].ellipsis) rows.output.push_back(l);
  if (gathered == 0) return false;
  const double each = 3 * kSampledEntry * double(nnz);  // coordinates are read here too
  return find_tree(rows, {all, -1}).cost + each + kGathered * gathered < find_tree(product, {all, nnz}).cost;
}

}  // namespace irk
