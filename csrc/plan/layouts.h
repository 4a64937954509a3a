// In which order the letters of intermediates lie in memory: from a first guess on, whatever makes the steps that write and
// read them cheaper. A value and its cotangent may lie differently. No order changes a bit.
#pragma once
#include <algorithm>
#include <stdexcept>

#include "plan/contraction.h"
#include "plan/plan.h"

namespace irk {

inline std::vector<int64_t> contiguous(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0;) { strides[i] = stride; stride *= shape[i]; }
  return strides;
}

class Layouts {
  static constexpr int64_t kLine = 16;      // elements that rows are rounded to: a line of memory in float32
  static constexpr int64_t kCompared = 32;  // intermediates up to which orders are compared
  static constexpr int kAnywhere = 4;       // letters up to which each is tried in each place, beyond only as the last one
  static constexpr int kRounds = 3;
  static constexpr double kGain = 0.98;     // what another order must come down to

 protected:
  explicit Layouts(Plan& plan) : plan_(plan), product_(plan.product), tree_(plan.tree), values_(tree_.nodes.size()), cotangents_(tree_.nodes.size()) {}

  // From operands in place (`values_`) and the output: the letters and strides of all that lies between them.
  void lay_out_intermediates() {
    std::vector<int> made;
    for (int i = 0; i < int(tree_.nodes.size()); ++i) {
      if (tree_.nodes[i].operand >= 0) lay_out_gradient(i);
      else if (i != tree_.root) made.push_back(i);
    }
    for (int i : made) elements(tree_.nodes[i].letters);  // the size must fit before anything is laid out
    for (int i : made) guess(i);
    if (made.empty() || int64_t(made.size()) > kCompared) return;
    const double guessed = search(made);
    const std::vector<Tensor> values = values_, cotangents = cotangents_;
    for (int i : made) in_order(i);
    if (search(made) < kGain * guessed) return;
    values_ = values;
    cotangents_ = cotangents;
  }

  int64_t elements(const LetterSet& letters) const {
    int64_t n = 1;
    for (size_t l = 0; l < product_.letters.size(); ++l)
      if (letters[l] && local_[l] && __builtin_mul_overflow(n, product_.extent(int(l)), &n))
        throw std::overflow_error("an intermediate of the product would have more than 2^63 elements");
    return n;
  }

  // A contiguous tensor with its letters outermost first; `elements` is how many it has. A side of a sampled root has rows
  // (its contracted letters) that begin on lines of memory, where that costs little.
  Tensor shaped(const std::vector<int>& layout, Ref ref, int64_t& elements, bool side = false) const {
    const LetterSet& output = tree_.nodes[tree_.root].letters;
    Tensor t{ref, {}, std::vector<int64_t>(product_.letters.size(), 0)};
    int64_t stride = 1;
    for (size_t i = layout.size(); i-- > 0;) {
      if (side && i + 1 < layout.size() && output[layout[i]] && !output[layout[i + 1]]) stride = whole_lines(stride);
      t.letters.set(layout[i]);
      t.strides[layout[i]] = stride;
      stride *= product_.extent(layout[i]);
    }
    elements = stride;
    return t;
  }

  std::vector<int> layout_of(const Tensor& t) const {
    std::vector<int> layout;
    for (size_t l = 0; l < product_.letters.size(); ++l)
      if (t.letters[l] && local_[l]) layout.push_back(int(l));
    std::stable_sort(layout.begin(), layout.end(), [&](int x, int y) { return t.strides[x] > t.strides[y]; });
    return layout;
  }

  // A side of a sampled root: one row for each coordinate, its contracted letters together at the end.
  std::vector<int> contracted_last(std::vector<int> layout) const {
    const LetterSet& output = tree_.nodes[tree_.root].letters;
    std::stable_sort(layout.begin(), layout.end(), [&](int x, int y) {
      return output[x] != output[y] ? output[x] : (!output[x] && x < y);
    });
    return layout;
  }

  bool is_sampled_side(int i) const {
    const Node& root = tree_.nodes[tree_.root];
    return tree_.sampled && root.right >= 0 && (i == root.left || i == root.right);
  }

  static Tensor one(const Product& product) { return {{kOne, 0}, {}, std::vector<int64_t>(product.letters.size(), 0)}; }

  Plan& plan_;
  const Product& product_;
  const Tree& tree_;
  LetterSet local_;                 // letters that loop inside one trial
  Tensor output_;
  std::vector<Tensor> values_;      // [nodes]
  std::vector<Tensor> cotangents_;  // [nodes] letters and strides alone

 private:
  static int64_t whole_lines(int64_t elements) {
    const int64_t rounded = (elements + kLine - 1) / kLine * kLine;
    return rounded - elements <= elements / 8 ? rounded : elements;
  }

  void lay_out_gradient(int i) {
    const Operand& operand = product_.operands[size_t(tree_.nodes[i].operand)];
    Tensor& t = cotangents_[i] = {{kScratch, -1}, values_[i].letters, std::vector<int64_t>(product_.letters.size(), 0)};
    const auto strides = contiguous(operand.shape);
    for (size_t axis = 0; axis < operand.axes.size(); ++axis)
      if (t.letters[operand.axes[axis]]) t.strides[operand.axes[axis]] += strides[axis];
  }

  // After the tensors that it is made from.
  void guess(int i) {
    const Node& node = tree_.nodes[i];
    const Tensor& left = values_[node.left];
    const LetterSet letters = node.letters & local_;
    lay_out(i, values_[i], choose_layout(product_, left, node.right >= 0 ? values_[node.right] : left, letters), true);
    lay_out(i, cotangents_[i], layout_of(values_[i]), false);
  }

  // As the letters come in the equation, and as products are accumulated: contracted letters join to one loop.
  void in_order(int i) {
    std::vector<int> layout = layout_of(values_[i]);
    std::sort(layout.begin(), layout.end());
    lay_out(i, values_[i], layout, true);
    lay_out(i, cotangents_[i], layout, false);
  }

  void lay_out(int i, Tensor& t, std::vector<int> layout, bool value) const {
    const bool side = is_sampled_side(i);
    if (side) layout = contracted_last(layout);
    int64_t n;
    t = shaped(layout, {kScratch, -1}, n, side && value);
  }

  const Tensor& cotangent_at(int i) const { return i == tree_.root && !tree_.sampled ? output_ : cotangents_[i]; }

  // The value of a node and the cotangents of those below it.
  double cost(int i) const {
    const Node& node = tree_.nodes[i];
    if (node.operand >= 0 || (i == tree_.root && tree_.sampled)) return 0;
    const Tensor &left = values_[node.left], right = node.right >= 0 ? values_[node.right] : one(product_), &g = cotangent_at(i);
    const auto of = [&](const Tensor& a, const Tensor& b, const Tensor& c) { return arrange(product_, local_, a, b, c).cost; };
    double sum = of(left, right, i == tree_.root ? output_ : values_[i]);
    if (tree_.nodes[node.left].wanted) sum += of(g, right, cotangents_[node.left]);
    if (node.right >= 0 && tree_.nodes[node.right].wanted) sum += of(g, left, cotangents_[node.right]);
    return sum;
  }

  int parent_of(int i) const {
    for (int p = i + 1; p < int(tree_.nodes.size()); ++p)
      if (tree_.nodes[p].left == i || tree_.nodes[p].right == i) return p;
    return i;
  }

  // Better orders of one node after the other: what all steps cost then.
  double search(const std::vector<int>& made) {
    bool better = true;
    for (int round = 0; better && round < kRounds; ++round) {
      better = false;
      for (int i : made) better = improve(i, values_[i], true) || better;
      for (int i : made) better = (tree_.nodes[i].wanted && improve(i, cotangents_[i], false)) || better;
    }
    double sum = 0;
    for (int i = 0; i < int(tree_.nodes.size()); ++i) sum += cost(i);
    return sum;
  }

  // One letter elsewhere, as long as that helps: whether it did. t: the value or the cotangent of node i.
  bool improve(int i, Tensor& t, bool value) {
    const int parent = parent_of(i);
    double now = cost(i) + cost(parent);
    bool found = false;
    for (bool again = true; again;) {
      again = false;
      const std::vector<int> layout = layout_of(t);
      const int n = int(layout.size());
      for (int from = 0; from < n && !again; ++from)
        for (int to = n > kAnywhere ? n - 1 : 0; to < n && !again; ++to) {
          if (to == from) continue;
          std::vector<int> other = layout;
          other.erase(other.begin() + from);
          other.insert(other.begin() + to, layout[size_t(from)]);
          const Tensor before = t;
          lay_out(i, t, other, value);
          const double then = t.strides == before.strides ? now : cost(i) + cost(parent);
          if (then < kGain * now) { now = then; again = found = true; }
          else t = before;
        }
    }
    return found;
  }
};

}  // namespace irk
