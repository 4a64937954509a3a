// Which steps the vendor's BLAS takes: large ones that are one strided matrix product.
#pragma once
#include <algorithm>

#include "plan/contraction.h"
#include "plan/plan.h"

namespace irk {

// Multiply-adds up to which own kernels are faster: of one trial on cores, as measured; of all trials by a launch, where own
// kernels are some tens of times slower than the vendor's, but each call costs about 10 us more (from arithmetic).
constexpr int64_t kBlasWork = int64_t(1) << 29, kLaunchedBlasWork = int64_t(1) << 24;
// A thinner product is bound by bytes, and faster here.
constexpr int64_t kBlasExtent = 128, kLaunchedBlasExtent = 32;

// A step as a matrix product, where it is one; its batch is the step's own loop.
inline bool read_product(const Plan& plan, int index, BlasStep& blas) {
  const Step& s = plan.steps[size_t(index)];
  if (s.op != Op::contract || s.outer.count > 1 || s.k.count != 1 || s.lane.a != 0) return false;
  const Loop k = plan.loops[size_t(s.k.first)];
  // One unit stride and rows (or columns) that do not overlap.
  const auto matrix = [](int64_t x, int64_t extent_x, int64_t y, int64_t extent_y) {
    return (x == 1 && y >= extent_x) || (y == 1 && x >= extent_y);
  };
  if (!matrix(s.row.a, s.row.extent, k.a, k.extent) || !matrix(k.b, k.extent, s.lane.b, s.lane.extent) ||
      !matrix(s.row.c, s.row.extent, s.lane.c, s.lane.extent))
    return false;
  blas = {index, {s.row.extent, s.lane.extent, k.extent}, {s.row.a, k.a}, {k.b, s.lane.b}, {s.row.c, s.lane.c}, {}};
  if (s.outer.count) blas.batch.push_back(plan.loops[size_t(s.outer.first)]);
  return true;
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

// For a plan whose trial loops have their strides.
inline void choose_blas(Plan& plan) {
  BlasStep blas;
  for (int i = 0; i < int(plan.steps.size()); ++i) {
    if (!read_product(plan, i, blas)) continue;
    const Step& s = plan.steps[size_t(i)];
    const int64_t thinnest = *std::min_element(blas.extents.begin(), blas.extents.end());
    if (s.work >= kBlasWork && thinnest >= kBlasExtent) plan.blas.push_back(blas);
    if (s.work * plan.trials < kLaunchedBlasWork || thinnest < kLaunchedBlasExtent) continue;
    blas.batch = with_trials(plan, s, blas.batch);
    plan.launched_blas.push_back(blas);
  }
}

}  // namespace irk
