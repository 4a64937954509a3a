// Listed entries and targets as they come from Python, checked before any address is used.
#pragma once
#include <stdexcept>
#include <vector>

#include "bind/tensor.h"
#include "plan/plan.h"

namespace irk {

// The coordinates of listed entries: columns [order, nnz] and the sorted orders that a plan asks for.
class EntriesArgument {
 public:
  EntriesArgument(const Framework& framework, const Plan& plan, int64_t nnz, const py::object& columns, const py::tuple& orders)
      : framework_(framework) {
    if (columns.is_none()) return;
    int64_t expected = 0;
    for (int l : plan.product.output) expected += !plan.product.letters[size_t(l)].ellipsis;
    const TensorView c = index_tensor(columns, expected * nnz);
    entries_ = {nnz, c.scalar == Scalar::i64, c.data, nullptr};
    if (orders.size() < plan.orders.size()) throw py::value_error("the plan reads more sorted orders than were given");
    for (const auto& item : orders) {
      const auto order = item.cast<py::tuple>();
      const TensorView starts = index_tensor(order[1], -1);
      orders_.push_back({index_tensor(order[0], nnz).data, starts.data, index_tensor(order[2], expected * nnz).data, starts.shape[0] - 1});
    }
    entries_.orders = orders_.data();
    given_ = true;
  }
  const Entries* get() const { return given_ ? &entries_ : nullptr; }

 private:
  TensorView index_tensor(const py::object& tensor, int64_t elements) {
    TensorView v = framework_.read(tensor);
    int64_t n = 1, stride = 1;
    bool contiguous = true;
    for (int i = v.ndim; i-- > 0;) {
      contiguous = contiguous && (v.shape[i] <= 1 || v.strides[i] == stride);
      stride *= v.shape[i];
      n *= v.shape[i];
    }
    const bool integer = v.scalar == Scalar::i32 || v.scalar == Scalar::i64;
    if ((n && !contiguous) || !integer || (elements >= 0 && n != elements) || (given_scalar_ && v.scalar != scalar_))
      throw py::value_error("coordinates must be contiguous, of one integer dtype, and as many as the entries");
    scalar_ = v.scalar;
    given_scalar_ = true;
    return v;
  }

  const Framework& framework_;
  Entries entries_{};
  std::vector<Order> orders_;
  bool given_ = false, given_scalar_ = false;
  Scalar scalar_ = Scalar::i64;
};

// (kind, delta, values, values stride, weights, weights stride, loss)
inline Target target_of(const Framework& framework, const py::tuple& t) {
  const auto address = [&](const py::object& tensor) { return tensor.is_none() ? nullptr : framework.read(tensor).data; };
  return {Loss(t[0].cast<int>()), t[1].cast<double>(), address(t[2]), address(t[4]), t[3].cast<int64_t>(), t[5].cast<int64_t>(), address(t[6])};
}

}  // namespace irk
