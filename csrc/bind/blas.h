// Steps that the vendor's library takes, for Python, whose tensors it works on.
#pragma once
#include <pybind11/pybind11.h>

#include <algorithm>
#include <array>
#include <map>

#include "plan/plan.h"

namespace irk {

namespace py = pybind11;

inline std::array<bool, 4> blas_pays{true, true, false, false};  // on this machine's cores, by Dtype
inline py::handle whole_by_blas;  // (steps, tensors) -> whether it did them: all of a plan

// Whether steps of a plan are the vendor's where own kernels need not be kept to.
inline bool goes_to_blas(const Plan& plan, bool launched) {
  return !plan.blas_of(launched).products.empty() && (launched || blas_pays[size_t(plan.dtype)]);
}

inline bool is_intermediate(const Matrix& m) { return m.ref.buffer == kScratch || m.ref.buffer == kSaved; }

// The most elements that one product of half types takes beside: its intermediates, in float32 where they lie, rounded.
inline int64_t blas_rounded(const Plan& plan, bool launched) {
  int64_t most = 0;
  for (const BlasStep& b : plan.blas_of(launched).products) {
    const auto [rows, columns, depth] = b.extents;
    const int64_t elements = is_intermediate(b.a) * rows * depth + is_intermediate(b.b) * depth * columns + is_intermediate(b.c) * rows * columns;
    most = std::max(most, elements * (b.batch.empty() ? 1 : b.batch.back().extent));
  }
  return most;
}

// Elements of the scratch beside the vendor's steps: one for each trial of a launch, one in turn on cores, none where nothing
// lies there.
inline int64_t blas_scratch(const Plan& plan, bool launched) {
  const Blas& blas = plan.blas_of(launched);
  if (launched) return plan.scratch * plan.trials;
  const auto inside = [](const Matrix& m) { return m.ref.buffer == kScratch; };
  const auto touches = [&](const BlasStep& b) { return inside(b.a) || inside(b.b) || inside(b.c); };
  return !blas.at_once || std::any_of(blas.products.begin(), blas.products.end(), touches) ? plan.scratch : 0;
}

// Steps that BLAS does better, in order: (step, ((rows, columns, depth), (extent, strides of the three) of each loop over
// products, then (buffer, offset, row stride, column stride) x 3)), or (step, None) of one that is then left out. Buffers from 0
// are the operands, then their gradients.
inline py::tuple blas_steps(const Plan& plan, bool launched) {
  const auto place = [](const Matrix& m) { return py::make_tuple(m.ref.buffer - kOperands, m.ref.offset, m.strides[0], m.strides[1]); };
  std::map<int, py::tuple> steps;
  for (const int step : plan.blas_of(launched).idle) steps[step] = py::make_tuple(step, py::none());
  for (const BlasStep& b : plan.blas_of(launched).products) {
    py::list batch;
    for (const Loop& axis : b.batch) batch.append(py::make_tuple(axis.extent, axis.a, axis.b, axis.c));
    const py::tuple extents = py::make_tuple(b.extents[0], b.extents[1], b.extents[2]);
    steps[b.step] = py::make_tuple(b.step, py::make_tuple(extents, py::tuple(batch), place(b.a), place(b.b), place(b.c)));
  }
  py::list in_order;
  for (const auto& [_, step] : steps) in_order.append(step);
  return py::tuple(in_order);
}

}  // namespace irk
