// Where the tensors of a plan lie: operands, outputs and gradients as given, intermediates in the arena or kept for backward.
#pragma once
#include <algorithm>
#include <stdexcept>

#include "plan/arena.h"
#include "plan/contraction.h"
#include "plan/plan.h"

namespace irk {

inline bool is_half(Dtype d) { return d == Dtype::bf16 || d == Dtype::f16; }

inline std::vector<int64_t> contiguous(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0;) { strides[i] = stride; stride *= shape[i]; }
  return strides;
}

class Placement {
 public:
  Placement(const PlanRequest& request, Plan& plan) : request_(request), plan_(plan), product_(plan.product), tree_(plan.tree) {
    find_trials();
    values_.resize(tree_.nodes.size());
    ready_.assign(tree_.nodes.size(), false);
    for (size_t i = 0; i < tree_.nodes.size(); ++i) place(int(i));
  }

 protected:
  int gradient_buffer(size_t i) const { return kOperands + int(product_.operands.size() + i); }
  bool sampled() const { return request_.nnz >= 0; }

  Tensor tensor_of(Ref ref, const std::vector<int>& axes, const std::vector<int64_t>& strides) const {
    Tensor t{ref, {}, std::vector<int64_t>(product_.letters.size(), 0)};
    for (size_t i = 0; i < axes.size(); ++i) {
      if (product_.extent(axes[i]) == 1) continue;
      t.letters.set(axes[i]);
      t.strides[axes[i]] += strides[i];
    }
    return t;
  }

  int64_t elements(const LetterSet& letters) const {
    int64_t n = 1;
    for (size_t l = 0; l < product_.letters.size(); ++l)
      if (letters[l] && local_[l] && __builtin_mul_overflow(n, product_.extent(int(l)), &n))
        throw std::overflow_error("an intermediate of the product would have more than 2^63 elements");
    return n;
  }

  // A contiguous tensor with its letters outermost first; `elements` is how many it has.
  Tensor shaped(const std::vector<int>& layout, Ref ref, int64_t& elements) const {
    Tensor t{ref, {}, std::vector<int64_t>(product_.letters.size(), 0)};
    int64_t stride = 1;
    for (size_t i = layout.size(); i-- > 0;) {
      t.letters.set(layout[i]);
      t.strides[layout[i]] = stride;
      stride *= product_.extent(layout[i]);
    }
    elements = stride;
    return t;
  }

  Tensor make(const std::vector<int>& layout) {
    int64_t elements;
    Tensor t = shaped(layout, {kScratch, -1}, elements);
    t.ref.offset = arena_.add(elements);
    return t;
  }

  std::vector<int> layout_of(const Tensor& t) const {
    std::vector<int> layout;
    for (size_t l = 0; l < product_.letters.size(); ++l)
      if (t.letters[l] && local_[l]) layout.push_back(int(l));
    std::stable_sort(layout.begin(), layout.end(), [&](int x, int y) { return t.strides[x] > t.strides[y]; });
    return layout;
  }

  Tensor widened_tensor(const std::vector<int>& axes, const std::vector<int64_t>& shape) {
    std::vector<int64_t> inner = shape;
    for (size_t axis = 0; axis < axes.size(); ++axis)
      if (!local_[axes[axis]]) inner[axis] = 1;  // a trial axis is not part of one trial's copy
    Tensor t{{kScratch, -1}, {}, std::vector<int64_t>(product_.letters.size(), 0)};
    const auto strides = contiguous(inner);
    for (size_t axis = 0; axis < axes.size(); ++axis) {
      if (inner[axis] == 1) continue;
      t.letters.set(axes[axis]);
      t.strides[axes[axis]] += strides[axis];
    }
    t.ref.offset = arena_.add(checked_elements(inner));
    return t;
  }

  std::vector<int64_t> local_contiguous(const std::vector<int>& axes, std::vector<int64_t> shape) const {
    for (size_t axis = 0; axis < axes.size(); ++axis)
      if (!local_[axes[axis]]) shape[axis] = 1;
    return contiguous(shape);
  }

  // A side of a sampled root: one row for each coordinate, its contracted letters together at the end.
  std::vector<int> contracted_last(std::vector<int> layout) const {
    const LetterSet& output = tree_.nodes[tree_.root].letters;
    std::stable_sort(layout.begin(), layout.end(), [&](int x, int y) {
      return output[x] != output[y] ? output[x] : (!output[x] && x < y);
    });
    return layout;
  }

  static Tensor one(const Product& product) { return {{kOne, 0}, {}, std::vector<int64_t>(product.letters.size(), 0)}; }

  const PlanRequest& request_;
  Plan& plan_;
  const Product& product_;
  const Tree& tree_;
  LetterSet local_;             // letters that loop inside one trial
  Tensor output_;
  std::vector<Tensor> values_;  // [nodes]
  std::vector<bool> ready_;     // [nodes] the value is there already
  Arena arena_;

 private:
  // '...' axes that every operand and the output have are trials: loops around the plan.
  void find_trials() {
    const std::vector<int64_t> output_strides = sampled() ? sampled_strides() : contiguous(product_.output_shape());
    const size_t n = product_.operands.size(), n_buffers = kOperands + 2 * n;
    output_ = tensor_of({kOutput, 0}, product_.output, output_strides);
    for (size_t l = 0; l < product_.letters.size(); ++l) local_.set(l, product_.letters[l].extent != 1);
    if (!request_.trial_strides.empty()) return outer_trials();
    for (size_t at = product_.output.size(); at-- > 0;) {  // innermost last in the output is fastest in the saved buffer
      const int l = product_.output[at];
      const bool everywhere = product_.letters[l].ellipsis && local_[l] &&
                              std::all_of(product_.operands.begin(), product_.operands.end(),
                                          [l](const Operand& o) { return o.letters[l]; });
      if (!everywhere) continue;
      local_.reset(l);
      std::vector<int64_t> strides(n_buffers, 0);
      for (size_t i = 0; i < n; ++i) {
        const Operand& operand = product_.operands[i];
        strides[kOperands + i] = operand.strides[l];
        const auto own = contiguous(operand.shape);
        for (size_t axis = 0; axis < operand.axes.size(); ++axis)
          if (operand.axes[axis] == l) strides[gradient_buffer(i)] += own[axis];
      }
      strides[kOutput] = output_.strides[l];
      strides[kCotangent] = sampled() ? output_.strides[l] : cotangent_stride(l);
      strides[kSaved] = plan_.trials;  // times the saved elements of a trial, once they are known
      plan_.trials *= product_.extent(l);
      plan_.trial_strides.push_back(strides);
      plan_.trial_loops.push_back({product_.extent(l), nullptr});
    }
  }

  void outer_trials() {
    std::vector<int64_t> strides(kOperands + 2 * product_.operands.size(), 0);
    std::copy(request_.trial_strides.begin(), request_.trial_strides.end(), strides.begin() + kOperands);
    plan_.trials = request_.trials;
    plan_.trial_strides.push_back(strides);
    plan_.trial_loops.push_back({request_.trials, nullptr});
  }

  // Listed entries: the '...' axes stay dense and come first, then the entries.
  std::vector<int64_t> sampled_strides() {
    std::vector<int64_t> strides(product_.output.size(), 0);
    int64_t stride = request_.nnz;
    for (size_t at = product_.output.size(); at-- > 0;) {
      if (!product_.letters[product_.output[at]].ellipsis) continue;
      strides[at] = stride;
      stride *= product_.extent(product_.output[at]);
    }
    return strides;
  }

  int64_t cotangent_stride(int letter) const {
    if (request_.cotangent.shape.empty()) return 0;
    for (size_t axis = 0; axis < product_.output.size(); ++axis)
      if (product_.output[axis] == letter) return request_.cotangent.strides[axis];
    return 0;
  }

  // Decides where a node's value lies, from the tree and the operands' strides alone: forward and backward must agree.
  void place(int i) {
    const Node& node = tree_.nodes[i];
    if (node.operand >= 0) {
      const Operand& operand = product_.operands[node.operand];
      Tensor& t = values_[i];
      t = {{kOperands + node.operand, 0}, operand.letters & local_, operand.strides};
      for (size_t l = 0; l < t.strides.size(); ++l)
        if (!t.letters[l]) t.strides[l] = 0;
      if (is_half(request_.dtype)) t = widened_tensor(operand.axes, operand.shape);
      return;
    }
    if (i == tree_.root) return;
    const LetterSet letters = node.letters & local_;
    const Tensor& left = values_[node.left];
    std::vector<int> layout = choose_layout(product_, left, node.right >= 0 ? values_[node.right] : left, letters);
    if (tree_.sampled && tree_.is_pair(tree_.root) && is_root_side(i)) layout = contracted_last(layout);
    elements(letters);  // the size must fit before anything is laid out
    if (!saved_by_forward(i)) { values_[i] = make(layout); return; }
    int64_t n;
    values_[i] = shaped(layout, {kSaved, plan_.saved}, n);
    plan_.saved += (n + 15) / 16 * 16;
    ready_[i] = request_.stage == Stage::backward;
  }

  bool is_root_side(int i) const { return i == tree_.nodes[tree_.root].left || i == tree_.nodes[tree_.root].right; }

  bool saved_by_forward(int i) const {
    if (request_.stage != Stage::forward && request_.stage != Stage::backward && request_.stage != Stage::loss) return false;
    for (const Node& parent : tree_.nodes) {
      if (parent.right < 0) continue;
      if (parent.left == i && tree_.nodes[parent.right].wanted) return true;
      if (parent.right == i && tree_.nodes[parent.left].wanted) return true;
    }
    return false;
  }
};

}  // namespace irk
