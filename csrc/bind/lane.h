// The lane of ordinary calls: a verb on plain tensors of the CPU in one native call, from operands to results.
// Whatever is out of the ordinary (a subclass, another device, an error, some steps for BLAS and some not) gives None, and the
// caller goes the long way, which names what is wrong. Plain C functions: the binding's own dispatch would cost as much as a small product.
#pragma once
#include "bind/calls.h"
#include "bind/requests.h"

namespace irk {

class LaneCall {
 public:
  // Whether the tuple holds, from `first` on, plain tensors of one dtype on the CPU: the operands.
  bool read(PyObject* operands, Py_ssize_t first) {
    const Py_ssize_t n = PyTuple_GET_SIZE(operands);
    if (n <= first || n > first + kMostBits) return false;
    operands_ = &PyTuple_GET_ITEM(operands, first);
    views_.reserve(size_t(n));
    for (Py_ssize_t i = first; i < n; ++i) {
      PyObject* operand = PyTuple_GET_ITEM(operands, i);
      if (!framework.is_plain(operand)) return false;
      views_.push_back(framework.read(operand));
      const TensorView& v = views_.back();
      if (v.place.kind != DeviceKind::cpu || int(v.scalar) > int(Scalar::f16) || v.scalar != views_[0].scalar) return false;
    }
    return true;
  }

  // Listed entries: None, or (columns [order, nnz], extents, sorted orders by their columns). Half types go the long way.
  bool list(PyObject* at) {
    if (at == Py_None) return true;
    if (int(views_[0].scalar) > int(Scalar::f64)) return false;
    columns_ = py::reinterpret_borrow<py::object>(PyTuple_GET_ITEM(at, 0));
    extents_ = PyTuple_GET_ITEM(at, 1);
    sorted_ = PyTuple_GET_ITEM(at, 2);
    const TensorView v = framework.read(columns_);
    nnz_ = v.ndim == 2 && v.place.kind == DeviceKind::cpu ? v.shape[1] : -1;
    return nnz_ > 0;
  }

  // The plan and its buffers; false where some of its steps are for BLAS and some not, rows are gathered by torch, or the
  // coordinates are of another product.
  bool find(PyObject* equation, Stage stage, uint64_t wanted, PyObject* cotangent = nullptr) {
    Py_ssize_t length;
    const char* text = PyUnicode_AsUTF8AndSize(equation, &length);
    if (!text) return false;
    TensorView g;
    if (cotangent) {
      if (!framework.is_plain(cotangent)) return false;
      g = framework.read(cotangent);
      if (g.place.kind != DeviceKind::cpu || g.scalar != views_[0].scalar) return false;
    }
    plan_ = find_plan({text, size_t(length)}, stage, {wanted, {}}, views_, Dtype(int(views_[0].scalar)), nnz_, cotangent ? &g : nullptr);
    const bool launched = targets.at({}).tier != nullptr;
    by_blas_ = goes_to_blas(*plan_, launched);
    if (by_blas_ && (launched || !plan_->blas.at_once)) return false;
    if (plan_->gather && !targets.at({}).fit) return false;
    if (nnz_ >= 0 && !(coordinates_fit() && find_orders() && (!cotangent || is_entries(g)))) return false;
    buffers_.assign(kOperands + 2 * views_.size(), nullptr);
    buffers_[kOne] = one(*plan_);
    for (size_t i = 0; i < views_.size(); ++i) buffers_[kOperands + i] = views_[i].data;
    buffers_[kCotangent] = g.data;
    for (size_t i = 0; by_blas_ && i < views_.size(); ++i) tensors_[py::int_(i)] = py::reinterpret_borrow<py::object>(operands_[i]);
    if (by_blas_ && cotangent) tensors_[py::int_(kCotangent - kOperands)] = py::reinterpret_borrow<py::object>(cotangent);
    return true;
  }

  // Whether some operand has size 1 for a letter whose size is another.
  bool broadcasts() const {
    const Product& product = plan_->product;
    for (const Operand& operand : product.operands)
      for (size_t axis = 0; axis < operand.axes.size(); ++axis) {
        const Letter& letter = product.letters[size_t(operand.axes[axis])];
        if (operand.shape[axis] != letter.extent && !letter.ellipsis) return true;
      }
    return false;
  }
  bool listed() const { return nnz_ >= 0; }
  bool gathers() const { return plan_->gather; }

  py::object output() { return result(kOutput, plan_->output_shape.data(), plan_->output_shape.size(), views_[0].scalar); }
  py::object kept() {
    const int64_t elements = plan_->saved * plan_->trials;
    if (!elements) return py::none();
    return result(kSaved, &elements, 1, plan_->dtype == Dtype::f64 ? Scalar::f64 : Scalar::f32);
  }
  py::tuple gradients(uint64_t wanted) {
    py::tuple found(views_.size());
    for (size_t i = 0; i < views_.size(); ++i) {
      const int buffer = int(kOperands + views_.size() + i);
      if (wanted >> i & 1) found[i] = result(buffer, views_[i].shape, size_t(views_[i].ndim), views_[i].scalar);
      else found[i] = py::none();
    }
    return found;
  }
  // Saved-tensor hooks may hand back another tensor than forward kept.
  bool set_kept(PyObject* kept) {
    if (kept == Py_None) return plan_->saved == 0;
    const TensorView v = framework.read(kept);
    buffers_[kSaved] = v.data;
    if (by_blas_) tensors_[py::int_(kSaved - kOperands)] = py::reinterpret_borrow<py::object>(kept);
    return v.place.kind == DeviceKind::cpu && holds_kept(*plan_, v);
  }

  // One loss a trial. False where values or weights are neither one row for all trials nor one for each, as the entries are.
  bool set_loss(int kind, double delta, PyObject* values, PyObject* weights, py::object& losses) {
    const auto& shape = plan_->output_shape;
    if (plan_->trials * nnz_ != checked_elements(shape)) return false;
    losses = result(kScratch, shape.data(), shape.size() - 1, views_[0].scalar);
    target_ = {Loss(kind), delta, nullptr, nullptr, 0, 0, buffers_[kScratch]};
    return set_row(values, target_.values, target_.values_stride) &&
           (weights == Py_None || set_row(weights, target_.weights, target_.weights_stride));
  }

  void run() {
    if (by_blas_ && multiply()) return;
    const int threads = surroundings.threads();
    alignas(64) char small[kStackScratch];
    const int64_t size = scratch_bytes(*plan_, threads);
    py::object scratch;
    buffers_[kScratch] = small;
    if (size > kStackScratch) scratch = result(kScratch, &size, 1, Scalar::u8);
    const EntriesArgument entries(framework, *plan_, nnz_, columns_, orders_);
    const Call call{buffers_.data(), entries.get(), target_.loss ? &target_ : nullptr, threads, 0, plan_->trials, 0,
                    int32_t(plan_->steps.size()), 0, nullptr};
    run_steps(targets.at({}), *plan_, call);
  }

  static constexpr Py_ssize_t kMostBits = 62;

 private:
  // All steps by the vendor's library; false where own kernels are to be kept to.
  bool multiply() {
    py::object scratch;
    if (const int64_t size = blas_scratch(*plan_, false))
      scratch = result(kScratch, &size, 1, plan_->dtype == Dtype::f64 ? Scalar::f64 : Scalar::f32);
    return whole_by_blas(blas_steps(*plan_, false), tensors_).cast<bool>();
  }

  // A new tensor whose address goes into a buffer.
  py::object result(int buffer, const int64_t* shape, size_t ndim, Scalar scalar) {
    TensorView v;
    py::object tensor = framework.allocate(shape, ndim, scalar, {}, v.data);
    if (!tensor) throw std::bad_alloc();
    v.scalar = scalar;
    v.ndim = int(ndim);
    v.shape = shape;
    ask_for_large_pages(v);
    buffers_[size_t(buffer)] = v.data;
    if (by_blas_) tensors_[py::int_(buffer - kOperands)] = tensor;
    return tensor;
  }

  bool coordinates_fit() const {
    Py_ssize_t column = 0;
    for (const int l : plan_->product.output) {
      if (plan_->product.letters[size_t(l)].ellipsis) continue;
      if (column == PyTuple_GET_SIZE(extents_) || PyLong_AsLongLong(PyTuple_GET_ITEM(extents_, column++)) != plan_->product.extent(l)) return false;
    }
    return column == PyTuple_GET_SIZE(extents_);
  }

  bool find_orders() {
    orders_ = py::tuple(plan_->orders.size());
    for (size_t i = 0; i < plan_->orders.size(); ++i) {
      const auto& columns = plan_->orders[i];
      py::tuple key(columns.size());
      for (size_t c = 0; c < columns.size(); ++c) key[c] = py::int_(columns[c]);
      PyObject* found = PyDict_GetItemWithError(sorted_, key.ptr());
      if (!found) return false;  // not sorted so yet
      orders_[i] = py::reinterpret_borrow<py::object>(found);
    }
    return true;
  }

  // Whether a tensor is contiguous and of the shape of the listed entries.
  bool is_entries(const TensorView& v) const {
    const auto& shape = plan_->output_shape;
    if (size_t(v.ndim) != shape.size()) return false;
    int64_t stride = 1;
    for (size_t i = shape.size(); i-- > 0; stride *= shape[i])
      if (v.shape[i] != shape[i] || (shape[i] > 1 && v.strides[i] != stride)) return false;
    return true;
  }

  bool set_row(PyObject* tensor, const void*& data, int64_t& stride) const {
    const TensorView v = framework.read(tensor);
    const bool shared = v.ndim == 1 && v.shape[0] == nnz_ && (nnz_ == 1 || v.strides[0] == 1);
    if (v.scalar != views_[0].scalar || v.place.kind != DeviceKind::cpu || !(shared || is_entries(v))) return false;
    data = v.data;
    stride = shared ? 0 : nnz_;
    return true;
  }

  PyObject* const* operands_ = nullptr;
  std::vector<TensorView> views_;
  std::vector<void*> buffers_;
  PlanPointer plan_;
  bool by_blas_ = false;  // all of it, unless own kernels are to be kept to
  py::dict tensors_;      // then: by the numbers that steps give them
  int64_t nnz_ = -1;
  py::object columns_ = py::none();
  PyObject *extents_ = nullptr, *sorted_ = nullptr;
  py::tuple orders_;
  Target target_{};
};

// A bit for each operand that requires grad.
inline uint64_t requiring_grad(PyObject* operands) {
  static PyObject* const name = PyUnicode_InternFromString("requires_grad");
  uint64_t bits = 0;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(operands); ++i) {
    const auto flag = py::reinterpret_steal<py::object>(PyObject_GetAttr(PyTuple_GET_ITEM(operands, i), name));
    if (!flag) throw py::error_already_set();
    bits |= uint64_t(flag.ptr() == Py_True) << i;
  }
  return bits;
}

// An error here is met again on the long way, which tells it: the lane itself raises nothing.
// args: equation, a tuple that holds the operands from `first` on, ..., and at last the listed entries or None.
template <class Body>
PyObject* in_lane(PyObject* const* args, Py_ssize_t n, Py_ssize_t expected, Py_ssize_t first, Body&& body) {
  try {
    LaneCall call;
    if (n == expected && !surroundings.watched() && PyUnicode_Check(args[0]) && PyTuple_Check(args[1]) && call.read(args[1], first) && call.list(args[n - 1]))
      if (py::object found = body(call)) return found.release().ptr();
  } catch (...) {
  }
  PyErr_Clear();
  Py_RETURN_NONE;
}

// A bit for each operand that wants a gradient now.
inline uint64_t wanted_of(PyObject* operands) { return surroundings.records() ? requiring_grad(operands) : 0; }

// (equation, operands, whether a letter's sizes 1 and n may meet, at)
// -> the product or its entries; where an operand wants a gradient (the bits of those that do, product, what backward reads or
// None)
inline PyObject* lane_product(PyObject*, PyObject* const* args, Py_ssize_t n) {
  return in_lane(args, n, 4, 0, [&](LaneCall& call) -> py::object {
    if (surroundings.casts()) return {};
    const uint64_t wanted = wanted_of(args[1]);
    if (!call.find(args[0], wanted ? Stage::forward : Stage::value, wanted)) return {};
    if (args[2] != Py_True && call.broadcasts()) return {};
    py::object output = call.output(), kept = call.kept();
    call.run();
    if (!wanted) return output;
    return py::make_tuple(wanted, std::move(output), std::move(kept));
  });
}

// (equation, operands, kind, delta, values, weights or None, at)
// -> (the bits of the operands that want a gradient, losses, their cotangent at the entries, what backward reads or None)
inline PyObject* lane_loss(PyObject*, PyObject* const* args, Py_ssize_t n) {
  return in_lane(args, n, 7, 0, [&](LaneCall& call) -> py::object {
    const uint64_t wanted = wanted_of(args[1]);
    py::object losses;
    if (surroundings.casts() || !call.listed() || !call.find(args[0], Stage::loss, wanted) ||
        !call.set_loss(int(PyLong_AsLong(args[2])), PyFloat_AsDouble(args[3]), args[4], args[5], losses))
      return {};
    py::object slope = call.output(), kept = call.kept();
    call.run();
    return py::make_tuple(wanted, std::move(losses), std::move(slope), std::move(kept));
  });
}

// (equation, (kept or None, *operands), wanted, cotangent, at) -> one gradient an operand, None where it is not wanted
inline PyObject* lane_backward(PyObject*, PyObject* const* args, Py_ssize_t n) {
  return in_lane(args, n, 5, 1, [&](LaneCall& call) -> py::object {
    const uint64_t wanted = PyLong_AsUnsignedLongLong(args[2]);
    if (surroundings.records() || !call.find(args[0], Stage::backward, wanted, args[3])) return {};
    if (!call.set_kept(PyTuple_GET_ITEM(args[1], 0))) return {};
    py::tuple found = call.gradients(wanted);
    call.run();
    if (call.listed() && !call.gathers() && !all_finite(found)) return {};  // see run()
    return found;
  });
}

inline void add_lane(py::module_& m) {
  static PyMethodDef methods[] = {
      {"lane_product", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(lane_product)), METH_FASTCALL, nullptr},
      {"lane_loss", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(lane_loss)), METH_FASTCALL, nullptr},
      {"lane_backward", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(lane_backward)), METH_FASTCALL, nullptr},
      {nullptr, nullptr, 0, nullptr}};
  if (PyModule_AddFunctions(m.ptr(), methods) != 0) throw py::error_already_set();
}

}  // namespace irk
