// Half types: products whose sides are float32 copies of what is stored, read and written where it is stored instead.
#pragma once
#include <set>
#include <utility>

#include "plan/plan.h"

namespace irk {

// A contraction with its loops by name; turning a side changes its place and its strides.
struct MatrixProduct {
  int32_t index;
  Step step;
  Loop row, lane, k;
  std::vector<Loop> batch;
};

enum class Side { a, b, c };

class StoredHalves {
 public:
  explicit StoredHalves(const Plan& plan) : plan_(plan) {}

  // Whether a side is a copy of an operand, or is copied to a result, and strides can say so: then it is turned to that.
  bool turn(MatrixProduct& product, Side side) const {
    const int copy = side == Side::c ? narrowed(product.index) : widened(product.index, side == Side::a ? product.step.a : product.step.b);
    if (copy < 0) return false;
    MatrixProduct turned = product;
    const auto move = [&](Loop& loop) { return turn_stride(side == Side::a ? loop.a : side == Side::b ? loop.b : loop.c, loop.extent, copy); };
    if (!move(turned.row) || !move(turned.lane) || !move(turned.k)) return false;
    for (Loop& loop : turned.batch)
      if (!move(loop)) return false;
    const Step& step = plan_.steps[size_t(copy)];
    (side == Side::a ? turned.step.a : side == Side::b ? turned.step.b : turned.step.c) = side == Side::c ? step.c : step.a;
    product = turned;
    return true;
  }

  // Conversions that nobody needs where these sides of steps are turned.
  std::vector<int32_t> idle(const std::set<std::pair<int, Side>>& turned) const {
    std::vector<int32_t> found;
    for (int i = 0; i < int(plan_.steps.size()); ++i) {
      const Step& step = plan_.steps[size_t(i)];
      if (step.op == Op::widen && !read(i, turned)) found.push_back(i);
      if (step.op == Op::narrow && turned.count({maker(i, step.a), Side::c})) found.push_back(i);
    }
    return found;
  }

 private:
  static bool same(const Ref& x, const Ref& y) { return x.buffer == kScratch && y.buffer == kScratch && x.offset == y.offset; }

  // The step before i that wrote what lies there, or -1. Blocks of the scratch are read by where they begin.
  int maker(int i, const Ref& ref) const {
    while (--i >= 0 && !same(plan_.steps[size_t(i)].c, ref)) {}
    return i;
  }
  int widened(int i, const Ref& ref) const {
    const int made = ref.buffer == kScratch ? maker(i, ref) : -1;
    return made >= 0 && plan_.steps[size_t(made)].op == Op::widen ? made : -1;
  }
  // The conversion of what step i makes, if that is all that becomes of it and nothing was there before.
  int narrowed(int i) const {
    const Step& step = plan_.steps[size_t(i)];
    if (step.c.buffer != kScratch) return -1;
    const int before = maker(i, step.c);
    if (before >= 0 && plan_.steps[size_t(before)].op == Op::fill) return -1;
    int found = -1;
    for (size_t j = size_t(i) + 1; j < plan_.steps.size(); ++j) {
      const Step& next = plan_.steps[j];
      const bool reads = same(next.a, step.c) || (next.op != Op::widen && next.op != Op::narrow && same(next.b, step.c));
      if (reads && (next.op != Op::narrow || found >= 0)) return -1;
      if (reads) found = int(j);
      if (same(next.c, step.c)) break;
    }
    return found;
  }
  bool read(int made, const std::set<std::pair<int, Side>>& turned) const {
    const Ref& copy = plan_.steps[size_t(made)].c;
    for (int i = made + 1; i < int(plan_.steps.size()); ++i) {
      const Step& step = plan_.steps[size_t(i)];
      const bool converts = step.op == Op::widen || step.op == Op::narrow;
      if (same(step.a, copy) && !turned.count({i, Side::a})) return true;
      if (!converts && same(step.b, copy) && !turned.count({i, Side::b})) return true;
      if (same(step.c, copy)) return step.op != Op::contract && step.op != Op::widen && step.op != Op::fill;
    }
    return false;
  }

  // A stride in the copy as one in what is stored: both walk one loop of the conversion.
  bool turn_stride(int64_t& stride, int64_t extent, int copy) const {
    if (stride == 0 || extent == 1) return true;
    const Step& step = plan_.steps[size_t(copy)];
    for (int l = step.outer.first; l < step.outer.first + step.outer.count; ++l) {
      const Loop& loop = plan_.loops[size_t(l)];
      const int64_t own = step.op == Op::widen ? loop.c : loop.a, stored = step.op == Op::widen ? loop.a : loop.c;
      if (stride % own || stride / own * (extent - 1) >= loop.extent) continue;
      stride = stored * (stride / own);
      return true;
    }
    return false;
  }

  const Plan& plan_;
};

}  // namespace irk
