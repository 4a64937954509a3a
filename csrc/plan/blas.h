// Which steps the vendor's BLAS takes: large ones that are one strided matrix product.
#pragma once
#include <algorithm>

#include "plan/contraction.h"
#include "plan/placement.h"
#include "plan/stored_halves.h"

namespace irk {

// Multiply-adds up to which own kernels are faster: of one trial on cores, as measured; of all trials by a launch, where own
// kernels are slower than the vendor's by far, but each call costs about 10 us more (from arithmetic, to be measured).
constexpr int64_t kBlasWork = int64_t(1) << 29, kLaunchedBlasWork = int64_t(1) << 24;
// A thinner product is bound by bytes, and faster here.
constexpr int64_t kBlasExtent = 128, kLaunchedBlasExtent = 32;
// Half types on cores that multiply them themselves. Stored: all three sides are operands or results, rounded once as ever; of
// all trials, and of each product. Mixed: an intermediate is rounded to the half type, as torch's chain of products does.
constexpr int64_t kStoredWork = int64_t(1) << 19, kStoredProduct = int64_t(1) << 9, kMixedWork = int64_t(1) << 22;

// A step as a product of matrices, where its loops are those of one; its batch is the step's own loop.
inline bool read_product(const Plan& plan, int index, MatrixProduct& product) {
  const Step& s = plan.steps[size_t(index)];
  if (s.op != Op::contract || s.outer.count > 1 || s.k.count > 1 || s.lane.a != 0) return false;
  product = {index, s, s.row, s.lane, s.k.count ? plan.loops[size_t(s.k.first)] : Loop{1, 0, 0, 0}, {}};
  if (s.outer.count) product.batch.push_back(plan.loops[size_t(s.outer.first)]);
  return true;
}

// Whether a side is a matrix as BLAS reads them: one unit stride, and rows (or columns) that do not overlap. The stride of an
// extent of 1, which nobody walks, is made to be so.
inline bool is_matrix(MatrixProduct& p, Side side) {
  const auto matrix = [](int64_t& x, int64_t extent_x, int64_t& y, int64_t extent_y) {
    if (extent_x == 1) x = y == 1 ? extent_y : 1;
    if (extent_y == 1) y = x == 1 ? extent_x : 1;
    return (x == 1 && y >= extent_x) || (y == 1 && x >= extent_y);
  };
  switch (side) {
    case Side::a: return matrix(p.row.a, p.row.extent, p.k.a, p.k.extent);
    case Side::b: return matrix(p.k.b, p.k.extent, p.lane.b, p.lane.extent);
    default: return matrix(p.row.c, p.row.extent, p.lane.c, p.lane.extent);
  }
}

// The trial axes before the step's own, each merged with the next where one stride serves both; the longest last.
inline std::vector<Loop> with_trials(const Plan& plan, const Step& s, const std::vector<Loop>& own) {
  std::vector<Loop> axes;
  int64_t faster = 1;
  for (const TrialLoop& axis : plan.trial_loops) {
    const auto stride = [&](const Ref& ref) { return launched_stride(axis, ref, faster, plan.scratch); };
    axes.insert(axes.begin(), {axis.extent, stride(s.a), stride(s.b), stride(s.c)});
    faster *= axis.extent;
  }
  axes.insert(axes.end(), own.begin(), own.end());
  merge_loops(axes);
  const auto longest = std::max_element(axes.begin(), axes.end(), [](const Loop& x, const Loop& y) { return x.extent < y.extent; });
  if (longest != axes.end()) std::swap(*longest, axes.back());
  return axes;
}

// c' = b' a' for c = a b: libraries know results by rows best.
inline void transpose(BlasStep& p) {
  std::swap(p.extents[0], p.extents[1]);
  std::swap(p.a, p.b);
  for (Matrix* m : {&p.a, &p.b, &p.c}) std::swap(m->strides[0], m->strides[1]);
  for (Loop& loop : p.batch) std::swap(loop.a, loop.b);
}

// wanted(product, sides that are stored): which of a plan's matrix products to take.
template <class Wanted>
Blas choose(const Plan& plan, bool at_once, Wanted&& wanted) {
  Blas blas;
  const bool half = is_half(plan.dtype);
  const StoredHalves halves(plan);
  std::set<std::pair<int, Side>> all_turned;
  for (int i = 0; i < int(plan.steps.size()); ++i) {
    MatrixProduct product;
    if (!read_product(plan, i, product)) continue;
    std::vector<Side> turned;
    bool matrices = true;
    for (const Side side : {Side::a, Side::b, Side::c}) {
      MatrixProduct stored = product;
      if (half && halves.turn(stored, side) && is_matrix(stored, side)) {
        product = stored;
        turned.push_back(side);
      }
      matrices = matrices && is_matrix(product, side);
    }
    if (!matrices || !wanted(product, int(turned.size()))) continue;
    for (const Side side : turned) all_turned.insert({i, side});
    const auto& [index, s, row, lane, k, own] = product;
    blas.products.push_back({index, {row.extent, lane.extent, k.extent}, {s.a, {row.a, k.a}}, {s.b, {k.b, lane.b}},
                             {s.c, {row.c, lane.c}}, at_once ? with_trials(plan, s, own) : own});
    if (lane.c != 1) transpose(blas.products.back());
  }
  if (half) blas.idle = halves.idle(all_turned);
  blas.at_once = at_once;
  return blas;
}

inline int64_t thinnest(const MatrixProduct& p) { return std::min({p.row.extent, p.lane.extent, p.k.extent}); }

// Whether nothing is left for own kernels.
inline bool is_whole(const Plan& plan, const Blas& blas) { return blas.products.size() + blas.idle.size() == plan.steps.size(); }

inline Blas choose_on_cores(const Plan& plan) {
  if (!is_half(plan.dtype))
    return choose(plan, false, [](const MatrixProduct& p, int) { return p.step.work >= kBlasWork && thinnest(p) >= kBlasExtent; });
  const auto one = [](const MatrixProduct& p) { return p.row.extent * p.lane.extent * p.k.extent; };
  const auto stored = [&](const MatrixProduct& p, int sides) { return sides == 3 && one(p) >= kStoredProduct; };
  Blas all = choose(plan, true, [&](const MatrixProduct& p, int sides) { return stored(p, sides) && p.step.work * plan.trials >= kStoredWork; });
  if (is_whole(plan, all)) return all;
  Blas some = choose(plan, false, [&](const MatrixProduct& p, int sides) {
    return stored(p, sides) ? p.step.work >= kStoredWork : p.step.work >= kMixedWork && one(p) >= kMixedWork;
  });
  some.at_once = plan.trials == 1 && is_whole(plan, some);
  return some;
}

// For a plan whose trial loops have their strides.
inline void choose_blas(Plan& plan) {
  plan.blas = choose_on_cores(plan);
  plan.launched_blas = choose(plan, true, [&](const MatrixProduct& p, int) {
    return p.step.work * plan.trials >= kLaunchedBlasWork && thinnest(p) >= kLaunchedBlasExtent;
  });
}

}  // namespace irk
