// Where the tensors of a plan lie: operands, outputs and gradients as given, intermediates in the arena or kept for backward.
#pragma once
#include <algorithm>
#include <stdexcept>

#include "plan/arena.h"
#include "plan/layouts.h"

namespace irk {

inline bool is_half(Dtype d) { return d == Dtype::bf16 || d == Dtype::f16; }

// The power of two that a tensor of a deep product carries for each index of the common letters (below), and how many
// factors have been multiplied since it was last brought to size.
struct Exponent {
  bool held = false, normal = false;  // normal: it is brought to size as it is made
  int loose = 0;
  Tensor tensor;
};

class Placement : public Layouts {
  static constexpr size_t kDeep = 32;  // a product of more factors carries exponents
  static constexpr int kLoose = 8;     // factors, and as many of a second tensor, that may meet before they are brought to size

 public:
  Placement(const PlanRequest& request, Plan& plan) : Layouts(plan), request_(request) {
    find_trials();
    plan_.scaled = (product_.operands.size() > kDeep || exponents_only()) && !plan_.gather;
    if (plan_.scaled) common_ = common_letters();
    exponents_.resize(tree_.nodes.size());
    ready_.assign(tree_.nodes.size(), false);
    for (size_t i = 0; i < tree_.nodes.size(); ++i)
      if (tree_.nodes[i].operand >= 0) place_operand(int(i));
    lay_out_intermediates();
    for (size_t i = 0; i < tree_.nodes.size(); ++i)
      if (tree_.nodes[i].operand < 0 && int(i) != tree_.root) place(int(i));
  }

 protected:
  int gradient_buffer(size_t i) const { return kOperands + int(product_.operands.size() + i); }
  bool sampled() const { return request_.nnz >= 0; }
  bool exponents_only() const { return request_.stage == Stage::exponent; }  // the product's exponents alone are wanted

  Tensor tensor_of(Ref ref, const std::vector<int>& axes, const std::vector<int64_t>& strides) const {
    Tensor t{ref, {}, std::vector<int64_t>(product_.letters.size(), 0)};
    for (size_t i = 0; i < axes.size(); ++i) {
      if (product_.extent(axes[i]) == 1) continue;
      t.letters.set(axes[i]);
      t.strides[axes[i]] += strides[i];
    }
    return t;
  }

  Tensor make(const std::vector<int>& layout, bool side = false) {
    int64_t elements;
    Tensor t = shaped(layout, {kScratch, -1}, elements, side);
    t.ref.offset = arena_.add(elements);
    return t;
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

  // Of a tensor made from two others and not yet placed.
  Exponent exponent_like(const Tensor& t, const Exponent& a, const Exponent& b) const {
    Exponent made;
    if (!plan_.scaled) return made;
    made.loose = a.loose + b.loose;
    made.normal = made.loose > (exponents_only() ? 0 : kLoose);
    made.held = made.normal || a.held || b.held;
    if (made.normal) made.loose = 1;
    if (!made.held) return made;
    std::vector<int> layout;
    for (int l : layout_of(t))
      if (common_[size_t(l)]) layout.push_back(l);
    int64_t n;
    made.tensor = shaped(layout, {kScratch, -1}, n);
    return made;
  }

  const PlanRequest& request_;
  std::vector<bool> ready_;     // [nodes] the value is there already
  LetterSet common_;                  // letters that exponents vary along
  std::vector<Exponent> exponents_;   // [nodes]
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
    strides[kCotangent] = request_.stage == Stage::penalty;
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

  // Letters that all tensors have whose products carry exponents: operands, or what is made where they meet each other.
  LetterSet common_letters() const {
    LetterSet common = local_;
    const auto leaf = [&](int i) { return i >= 0 && tree_.nodes[size_t(i)].operand >= 0; };
    for (size_t i = 0; i < tree_.nodes.size(); ++i) {
      const Node& node = tree_.nodes[i];
      if (node.operand >= 0) continue;
      const bool root = int(i) == tree_.root, pure = !root && leaf(node.left) && (node.right < 0 || leaf(node.right));
      if (!root) common &= node.letters;
      for (int child : {node.left, node.right})
        if (!pure && leaf(child)) common &= tree_.nodes[size_t(child)].letters;
    }
    return common;
  }

  void place_operand(int i) {
    const Node& node = tree_.nodes[i];
    const Operand& operand = product_.operands[node.operand];
    Tensor& t = values_[i];
    t = {{kOperands + node.operand, 0}, operand.letters & local_, operand.strides};
    for (size_t l = 0; l < t.strides.size(); ++l)
      if (!t.letters[l]) t.strides[l] = 0;
    if (is_half(request_.dtype)) t = widened_tensor(operand.axes, operand.shape);
    exponents_[i].loose = 1;
  }

  // Decides where a node's value lies, from the tree and the operands' strides alone: forward and backward must agree.
  void place(int i) {
    const Node& node = tree_.nodes[i];
    const bool side = is_sampled_side(i);
    const bool saved = saved_by_forward(i);
    int64_t n;
    const std::vector<int> layout = layout_of(values_[i]);
    values_[i] = saved ? shaped(layout, save(0), n, side) : make(layout, side);
    if (saved) save(n);
    Exponent& exponent = exponents_[i] = exponent_like(values_[i], exponents_[node.left], node.right >= 0 ? exponents_[node.right] : Exponent{});
    if (exponent.held) exponent.tensor.ref = saved ? save(elements(common_)) : Ref{kScratch, arena_.add(elements(common_))};
    ready_[i] = saved && request_.stage == Stage::backward;
  }

  // Room for so many elements among what forward keeps.
  Ref save(int64_t n) {
    const Ref ref{kSaved, plan_.saved};
    plan_.saved += (n + 15) / 16 * 16;
    return ref;
  }

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
