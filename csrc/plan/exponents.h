// Writing steps that keep the exponents of deep products (steps/exponent.h) into a plan.
#pragma once
#include "plan/emission.h"

namespace irk {

class ExponentEmission : public Emission {
 public:
  using Emission::Emission;

 protected:
  // Loops over the common letters (`outer`, as exponents vary) and over the others of `like` (`k`).
  Step exponent_step(Op op, const Tensor& like, const Tensor& a, const Tensor& b, const Tensor& c) {
    std::vector<Loop> outer, k;
    for (int l : layout_of(like)) {
      const Loop loop{product_.extent(l), a.strides[l], b.strides[l], c.strides[l]};
      (common_[size_t(l)] ? outer : k).push_back(loop);
    }
    merge_loops(outer);
    merge_loops(k);
    Step step{};
    step.op = op;
    step.a = a.ref;
    step.b = b.ref;
    step.c = c.ref;
    step.outer = pool(outer);
    step.k = pool(k);
    return step;
  }

  // The exponent of a product of two tensors; false where neither has one.
  bool joined(const Exponent& a, const Exponent& b, Tensor& sum) {
    if (!a.held && !b.held) return false;
    sum = a.held ? a.tensor : b.tensor;
    if (!a.held || !b.held) return true;
    sum.ref = {kScratch, arena_.add(elements(common_))};
    add_exponents(a, b, sum);
    return true;
  }
  void add_exponents(const Exponent& a, const Exponent& b, const Tensor& to) {
    const Tensor none = one(product_);
    const bool both = a.held && b.held;
    Step step = exponent_step(Op::exponents, to, a.held ? a.tensor : b.held ? b.tensor : none, both ? b.tensor : none, to);
    step.count = int(a.held) + int(b.held);
    plan_.steps.push_back(step);
  }

  // Of a tensor that has just been made from two others.
  void settle(const Tensor& t, const Exponent& own, const Exponent& a, const Exponent& b) {
    if (!own.held) return;
    add_exponents(a, b, own.tensor);
    if (own.normal) plan_.steps.push_back(exponent_step(Op::normalize, t, one(product_), own.tensor, t));
  }

  // The exponents brought to at most 0 over letters that the output lacks; returns what was taken off.
  Tensor level(const Tensor& exponents, const LetterSet& output) {
    std::vector<int> layout;
    std::vector<Loop> outer, k;
    for (int l : layout_of(exponents))
      if (output[size_t(l)]) layout.push_back(l);
    const Tensor most = make(layout);
    for (int l : layout_of(exponents))
      (output[size_t(l)] ? outer : k).push_back({product_.extent(l), 0, exponents.strides[size_t(l)], most.strides[size_t(l)]});
    merge_loops(outer);
    merge_loops(k);
    Step step{};
    step.op = Op::level;
    step.a = {kOne, 0};
    step.b = exponents.ref;
    step.c = most.ref;
    step.outer = pool(outer);
    step.k = pool(k);
    plan_.steps.push_back(step);
    return most;
  }

  void scale(const Tensor& from, const Tensor& exponent, const Tensor& to) {
    plan_.steps.push_back(exponent_step(Op::scale, from, from, exponent, to));
  }

  // In place of the product of two sides that carry these exponents, the exponents of its numbers: the largest over summed letters
  // first, so that the product can be formed at that size; then that of its largest number.
  void emit_exponent(const Tensor& left, Exponent of_left, const Tensor& right, Exponent of_right) {
    const Tensor a = sized(left, of_left), b = sized(right, of_right);
    Tensor exponents;
    joined(of_left, of_right, exponents);
    const Tensor most = level(exponents, output_.letters), raised = make(layout_of(a));
    scale(a, exponents, raised);
    const Tensor product = make(layout_of(output_));
    contract(raised, b, product);
    plan_.steps.push_back(exponent_step(Op::normalize, product, one(product_), most, product));
    Tensor to = output_;
    to.letters &= local_;
    contract(most, one(product_), to);
  }

 private:
  // The tensor brought to size, if it is not and if it is one at all.
  Tensor sized(const Tensor& t, Exponent& exponent) {
    if (exponent.normal || t.ref.buffer == kOne) return t;
    const Tensor copy = make(layout_of(t));
    contract(t, one(product_), copy);
    Exponent own = exponent_like(copy, exponent, {});
    own.tensor.ref.offset = arena_.add(elements(common_));
    settle(copy, own, exponent, {});
    exponent = own;
    return copy;
  }
};

}  // namespace irk
