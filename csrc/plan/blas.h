// Which steps the vendor's BLAS takes: large ones that are one strided matrix product.
#pragma once
#include <algorithm>

#include "plan/plan.h"

namespace irk {

constexpr int64_t kBlasWork = int64_t(1) << 29;  // multiply-adds of one trial up to which own kernels were faster
constexpr int64_t kBlasExtent = 128;             // a thinner product is bound by bytes, and faster here

inline bool blas_fits(const Plan& plan, int index, BlasStep& blas) {
  const Step& s = plan.steps[size_t(index)];
  if (s.op != Op::contract || s.work < kBlasWork || s.outer.count > 1 || s.k.count != 1 || s.lane.a != 0) return false;
  const Loop batch = s.outer.count ? plan.loops[size_t(s.outer.first)] : Loop{1, 0, 0, 0}, k = plan.loops[size_t(s.k.first)];
  if (std::min({s.row.extent, s.lane.extent, k.extent}) < kBlasExtent) return false;
  // One unit stride and rows (or columns) that do not overlap.
  const auto matrix = [](int64_t x, int64_t extent_x, int64_t y, int64_t extent_y) {
    return (x == 1 && y >= extent_x) || (y == 1 && x >= extent_y);
  };
  if (!matrix(s.row.a, s.row.extent, k.a, k.extent) || !matrix(k.b, k.extent, s.lane.b, s.lane.extent) ||
      !matrix(s.row.c, s.row.extent, s.lane.c, s.lane.extent))
    return false;
  blas = {index, {batch.extent, s.row.extent, s.lane.extent, k.extent}, {batch.a, s.row.a, k.a}, {batch.b, k.b, s.lane.b},
          {batch.c, s.row.c, s.lane.c}};
  return true;
}

}  // namespace irk
