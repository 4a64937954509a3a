// Addresses of a call's tensors, in the order in which steps name them.
#pragma once
#include <vector>

#include "bind/pages.h"
#include "bind/state.h"

namespace irk {

inline void* address(const py::object& tensor) { return tensor.is_none() ? nullptr : framework.read(tensor).data; }

// The address of a tensor that the call writes whole.
inline void* fresh(const py::object& tensor) {
  if (tensor.is_none()) return nullptr;
  const TensorView v = framework.read(tensor);
  if (v.place.kind == DeviceKind::cpu) ask_for_large_pages(v);
  return v.data;
}

// The constant that stands for an absent operand, in the plan's type.
inline void* one(const Plan& plan) {
  static float one32 = 1;
  static double one64 = 1;
  return plan.dtype == Dtype::f64 ? static_cast<void*>(&one64) : static_cast<void*>(&one32);
}

inline std::vector<void*> buffers_of(const Plan& plan, const py::tuple& operands, const py::object& gradients, Place& place) {
  const size_t n = plan.product.operands.size();
  std::vector<void*> buffers(kOperands + 2 * n, nullptr);
  buffers[kOne] = one(plan);
  for (size_t i = 0; i < n; ++i) {
    const TensorView v = framework.read(operands[i]);
    buffers[kOperands + i] = v.data;
    place = v.place;  // of all, as plan() has seen
  }
  if (!gradients.is_none()) {
    const auto given = gradients.cast<py::tuple>();
    for (size_t i = 0; i < n; ++i) buffers[kOperands + n + i] = fresh(given[i]);
  }
  return buffers;
}

}  // namespace irk
