// A tensor as the binding sees it: address, shape, strides, dtype, device; and new ones from the framework's allocator. Both
// go through DLPack's C exchange table where the framework offers one (about 50 and 700 ns), else through Python.
#pragma once
#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "plan/program.h"

namespace irk {

namespace py = pybind11;

// Layout of DLPack 1.x, as its specification fixes it.
struct DlTensor {
  void* data;
  struct { int32_t type, id; } device;
  int32_t ndim;
  struct { uint8_t code, bits; uint16_t lanes; } dtype;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
};
struct DlManaged {
  struct { uint32_t major, minor; } version;
  void *manager, *deleter;
  uint64_t flags;
  DlTensor tensor;
};
struct DlExchangeTable {
  struct { uint32_t major, minor; } version;
  void* previous;
  int (*allocate)(DlTensor* like, DlManaged** out, void* context, void (*on_error)(void*, const char*, const char*));
  void* from_object;
  int (*to_object)(DlManaged* managed, void** out);
  int (*view)(void* object, DlTensor* out);
  void* current_stream;
};

enum class DeviceKind { cpu, cuda, other };
struct Place {
  DeviceKind kind = DeviceKind::cpu;
  int number = 0;
  bool operator!=(const Place& o) const { return kind != o.kind || number != o.number; }
};

enum class Scalar { f32, f64, bf16, f16, i32, i64, u8, other };

struct TensorView {
  void* data = nullptr;
  Scalar scalar = Scalar::other;
  Place place;
  int ndim = 0;
  const int64_t *shape = nullptr, *strides = nullptr;
  std::vector<int64_t> held;  // shape and strides when no table lends them

  // Elements without memory: the storage was given back, as sharding wrappers do between steps. The address is then the
  // tensor's offset alone, and no system maps the first 64 KiB.
  bool freed() const {
    if (reinterpret_cast<uintptr_t>(data) >> 16 || place.kind == DeviceKind::other || scalar == Scalar::other) return false;
    for (int i = 0; i < ndim; ++i)
      if (shape[i] == 0) return false;
    return true;
  }
};

class Framework {
 public:
  // `table`: the capsule torch.Tensor.__dlpack_c_exchange_api__, or None.
  void set_table(const py::object& table) {
    if (!table.is_none()) table_ = static_cast<DlExchangeTable*>(PyCapsule_GetPointer(table.ptr(), "dlpack_exchange_api"));
    if (table_ && (table_->version.major != 1 || !table_->view)) table_ = nullptr;
  }
  // Classes whose instances are plain tensors: reading one by the table sees all that it is.
  void set_plain(const py::object& tensor, const py::object& parameter) {
    plain_[0] = tensor.ptr();
    plain_[1] = parameter.ptr();
  }
  bool is_plain(PyObject* object) const {
    const auto* type = reinterpret_cast<PyObject*>(Py_TYPE(object));
    if (!table_ || (type != plain_[0] && type != plain_[1])) return false;
    static PyObject* const is_neg = PyUnicode_InternFromString("is_neg");  // the imaginary part of a conjugate view: the table does not tell
    const auto negative = py::reinterpret_steal<py::object>(PyObject_CallMethodNoArgs(object, is_neg));
    if (!negative) throw py::error_already_set();
    return negative.ptr() == Py_False;
  }

  // what: as the error names it.
  TensorView read(py::handle tensor, const char* what = "a tensor") const {
    TensorView v = table_ ? by_table(tensor) : by_attributes(tensor);
    if (v.freed()) throw py::value_error(std::string(what) + " has elements, but no memory (its storage was resized to nothing)");
    return v;
  }

  // A contiguous tensor and its address; an empty object where the table can't give one.
  py::object allocate(const int64_t* shape, size_t ndim, Scalar scalar, const Place& place, void*& data) const {
    constexpr uint8_t bits[] = {32, 64, 16, 16, 32, 64, 8};
    const uint8_t code = scalar == Scalar::bf16 ? kDlBfloat : scalar == Scalar::u8 ? kDlUnsigned : kDlFloat;
    DlTensor like{nullptr, {place.kind == DeviceKind::cuda ? kDlCuda : kDlCpu, place.number}, int32_t(ndim), {code, bits[int(scalar)], 1},
                  const_cast<int64_t*>(shape), nullptr, 0};
    DlManaged* managed = nullptr;
    void* object = nullptr;
    if (!table_ || !table_->allocate || !table_->to_object) return {};
    const bool given = table_->allocate(&like, &managed, nullptr, [](void*, const char*, const char*) {}) == 0;
    if (given) data = static_cast<char*>(managed->tensor.data) + managed->tensor.byte_offset;
    if (!given || table_->to_object(managed, &object) != 0) {
      PyErr_Clear();
      return {};
    }
    return py::reinterpret_steal<py::object>(static_cast<PyObject*>(object));
  }

 private:
  static constexpr int32_t kDlCpu = 1, kDlCuda = 2;
  static constexpr uint8_t kDlUnsigned = 1, kDlFloat = 2, kDlBfloat = 4;
  TensorView by_table(py::handle tensor) const {
    DlTensor t;
    TensorView v;
    if (table_->view(tensor.ptr(), &t) != 0) {  // a device or dtype that DLPack does not know: the caller names it
      PyErr_Clear();
      v.place = named_place(tensor);
      return v;
    }
    v.data = static_cast<char*>(t.data) + t.byte_offset;
    if (t.device.type == kDlCuda) v.place = {DeviceKind::cuda, t.device.id};
    else if (t.device.type != kDlCpu) v.place = named_place(tensor);
    v.ndim = t.ndim;
    v.shape = t.shape;
    v.strides = t.strides;
    v.scalar = scalar(t.dtype.code, t.dtype.bits);
    return v;
  }
  static Place named_place(py::handle tensor) {
    const py::object device = tensor.attr("device");
    const auto type = device.attr("type").cast<std::string>();
    if (type == "cpu") return {};
    return {type == "cuda" ? DeviceKind::cuda : DeviceKind::other, device.attr("index").is_none() ? 0 : device.attr("index").cast<int>()};
  }
  static Scalar scalar(int code, int bits) {
    constexpr int kInt = 0, kBool = 6;
    if (code == kDlFloat) return bits == 32 ? Scalar::f32 : bits == 64 ? Scalar::f64 : bits == 16 ? Scalar::f16 : Scalar::other;
    if (code == kDlBfloat && bits == 16) return Scalar::bf16;
    if (code == kInt) return bits == 32 ? Scalar::i32 : bits == 64 ? Scalar::i64 : Scalar::other;
    return (code == kDlUnsigned || code == kBool) && bits == 8 ? Scalar::u8 : Scalar::other;
  }
  static TensorView by_attributes(py::handle tensor) {
    TensorView v;
    v.data = reinterpret_cast<void*>(tensor.attr("data_ptr")().cast<uintptr_t>());
    v.place = named_place(tensor);
    const auto dtype = py::str(tensor.attr("dtype")).cast<std::string>();
    v.scalar = dtype == "torch.float32" ? Scalar::f32 : dtype == "torch.float64" ? Scalar::f64 : dtype == "torch.bfloat16" ? Scalar::bf16
             : dtype == "torch.float16" ? Scalar::f16 : dtype == "torch.int32" ? Scalar::i32 : dtype == "torch.int64" ? Scalar::i64
             : dtype == "torch.uint8" || dtype == "torch.bool" ? Scalar::u8 : Scalar::other;
    const auto shape = tensor.attr("shape").cast<std::vector<int64_t>>();
    const auto strides = tensor.attr("stride")().cast<std::vector<int64_t>>();
    v.ndim = int(shape.size());
    v.held = shape;
    v.held.insert(v.held.end(), strides.begin(), strides.end());
    v.shape = v.held.data();
    v.strides = v.held.data() + v.ndim;
    return v;
  }

  DlExchangeTable* table_ = nullptr;
  const PyObject* plain_[2] = {nullptr, nullptr};
};

}  // namespace irk
