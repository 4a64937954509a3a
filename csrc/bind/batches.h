// Mini-batches from Python: drawn and listed into tensors that the caller has allocated, and read back as a fit's plain data.
#pragma once
#include <string>
#include <vector>

#include "bind/arguments.h"
#include "bind/state.h"
#include "plan/fit_program.h"
#include "plan/listing.h"
#include "plan/sampler.h"

namespace irk {

// A contiguous tensor of at least so many elements of this type.
inline void* array(const Framework& framework, const py::object& tensor, Scalar scalar, int64_t elements, const char* what) {
  const TensorView v = framework.read(tensor);
  int64_t n = 1;
  bool contiguous = true;
  for (int i = v.ndim; i-- > 0; n *= v.shape[i]) contiguous = contiguous && (v.shape[i] <= 1 || v.strides[i] == n);
  if (v.scalar != scalar || !contiguous || n < elements)
    throw py::value_error(std::string(what) + " must be contiguous, of the right dtype and no shorter than " + std::to_string(elements));
  return v.data;
}

// indices [steps, size] int64: the observations of steps first, first + 1, ...
inline void draw_batches(const py::object& indices, int64_t steps, int64_t size, int64_t count, uint64_t seed, int64_t first) {
  auto* to = static_cast<int64_t*>(array(framework, indices, Scalar::i64, steps * size, "indices"));
  const py::gil_scoped_release release;
  for (int64_t s = 0; s < steps; ++s) draw_batch(count, size, seed, first + s, to + s * size);
}

// columns [order, count] of all entries, drawn [steps, order, size]; orders: (ranks [count], by, perm [steps, size],
// starts [steps, size + 1], sorted [steps, order, size], groups int64 [steps]); work: bytes.
template <class Index>
void list_batches_as(Scalar scalar, const int64_t* indices, int64_t steps, int64_t size, int64_t count, int64_t order,
                     const py::object& columns, const py::object& drawn, const py::tuple& orders, Ranked* work) {
  struct One {
    const Index* ranks;
    std::vector<int> by;
    Index *perm, *starts, *sorted;
    int64_t* groups;
  };
  const auto index = [&](const py::object& t, int64_t n, const char* what) { return static_cast<Index*>(array(framework, t, scalar, n, what)); };
  const Listed<Index> all{count, order, index(columns, order * count, "columns")};
  Index* to = index(drawn, steps * order * size, "drawn");
  std::vector<One> list;
  for (const auto& item : orders) {
    const auto o = item.cast<py::tuple>();
    list.push_back({index(o[0], count, "ranks"), o[1].cast<std::vector<int>>(), index(o[2], steps * size, "perm"),
                    index(o[3], steps * (size + 1), "starts"), index(o[4], steps * order * size, "sorted"),
                    static_cast<int64_t*>(array(framework, o[5], Scalar::i64, steps, "groups"))});
  }
  const py::gil_scoped_release release;
  for (int64_t s = 0; s < steps; ++s) {
    const int64_t* batch = indices + s * size;
    Index* here = to + s * order * size;
    list_columns(all, batch, size, here);
    for (const One& o : list)
      o.groups[s] = list_order(all, o.ranks, batch, size, o.by.data(), int(o.by.size()), here, o.perm + s * size,
                               o.starts + s * (size + 1), o.sorted + s * order * size, work);
  }
}

inline void list_batches(const py::object& indices, int64_t steps, int64_t size, int64_t count, int64_t order, const py::object& columns,
                         const py::object& drawn, const py::tuple& orders, const py::object& work) {
  const auto* from = static_cast<const int64_t*>(array(framework, indices, Scalar::i64, steps * size, "indices"));
  auto* space = static_cast<Ranked*>(array(framework, work, Scalar::i64, 4 * size, "work"));
  const Scalar scalar = framework.read(columns).scalar;
  if (scalar == Scalar::i32) list_batches_as<int32_t>(scalar, from, steps, size, count, order, columns, drawn, orders, space);
  else list_batches_as<int64_t>(scalar, from, steps, size, count, order, columns, drawn, orders, space);
}

// (size, entries or None, values step, weights step, rows): entries (drawn, ((perm, starts, sorted, groups), ...)), rows
// ((operand position, elements a step), ...).
class BatchesArgument {
 public:
  BatchesArgument(const Framework& framework, const Plan& plan, const py::object& given, int64_t steps) {
    if (given.is_none()) return;
    given_ = true;
    const auto b = given.cast<py::tuple>();
    const int64_t size = b[0].cast<int64_t>();
    for (const auto& item : b[4]) {
      const auto row = item.cast<py::tuple>();
      rows_.push_back({kOperands + row[0].cast<int32_t>(), row[1].cast<int64_t>()});
    }
    if (!b[1].is_none()) list(framework, plan, b[1].cast<py::tuple>(), size, steps);
    batches_ = {entries_.empty() ? nullptr : entries_.data(), b[2].cast<int64_t>(), b[3].cast<int64_t>(), rows_.data(), int32_t(rows_.size())};
  }
  const Batches* get() const { return given_ ? &batches_ : nullptr; }

 private:
  void list(const Framework& framework, const Plan& plan, const py::tuple& entries, int64_t size, int64_t steps) {
    int64_t order = 0;
    for (int l : plan.product.output) order += !plan.product.letters[size_t(l)].ellipsis;
    const TensorView drawn = framework.read(entries[0]);
    const int64_t bytes = drawn.scalar == Scalar::i64 ? 8 : 4;
    const auto given = entries[1].cast<py::tuple>();
    if (given.size() < plan.orders.size()) throw py::value_error("the plan reads more sorted orders than were given");
    const auto at = [&](const py::object& t, int64_t elements) {
      return static_cast<const char*>(array(framework, t, drawn.scalar, steps * elements, "a batch's coordinates"));
    };
    const char* columns = at(entries[0], order * size);
    orders_.resize(size_t(steps) * given.size());
    for (size_t o = 0; o < given.size(); ++o) {
      const auto parts = given[o].cast<py::tuple>();
      const char *perm = at(parts[0], size), *starts = at(parts[1], size + 1), *sorted = at(parts[2], order * size);
      const auto* groups = static_cast<const int64_t*>(array(framework, parts[3], Scalar::i64, steps, "groups"));
      for (int64_t s = 0; s < steps; ++s)
        orders_[size_t(s) * given.size() + o] = {perm + s * size * bytes, starts + s * (size + 1) * bytes,
                                                 sorted + s * order * size * bytes, groups[s]};
    }
    for (int64_t s = 0; s < steps; ++s)
      entries_.push_back({size, bytes == 8, columns + s * order * size * bytes, orders_.data() + size_t(s) * given.size()});
  }

  Batches batches_{};
  std::vector<Order> orders_;
  std::vector<Entries> entries_;
  std::vector<BatchRows> rows_;
  bool given_ = false;
};

}  // namespace irk
