// Python objects to plans: operands checked, the plan looked up by all that it depends on.
#pragma once
#include <pybind11/stl.h>

#include <algorithm>
#include <string_view>

#include "bind/state.h"
#include "plan/penalty.h"

namespace irk {

inline const char* name(Scalar s) {
  constexpr const char* names[] = {"float32", "float64", "bfloat16", "float16", "int32", "int64", "uint8 or bool", "another dtype"};
  return names[int(s)];
}

inline Dtype dtype_of(const TensorView& v, py::handle tensor, const std::string& what) {
  if (int(v.scalar) > int(Scalar::f16))
    throw py::type_error(what + " is " + py::str(tensor.attr("dtype")).cast<std::string>() +
                         "; supported are float16, bfloat16, float32 and float64");
  return Dtype(int(v.scalar));
}

inline std::string device(py::handle tensor) { return py::str(tensor.attr("device")).cast<std::string>(); }

inline View view_of(const TensorView& v, int skip = 0) {
  return {{v.shape + skip, v.shape + v.ndim}, {v.strides + skip, v.strides + v.ndim}};
}

inline std::vector<TensorView> read_operands(const py::tuple& operands, Dtype& dtype) {
  if (operands.empty()) throw py::value_error("a product needs at least one operand, none was given");
  std::vector<TensorView> views;
  views.reserve(operands.size());
  for (size_t i = 0; i < operands.size(); ++i) {
    const std::string what = "operand " + std::to_string(i);
    views.push_back(framework.read(operands[i], what.c_str()));
    if (views[i].place != views[0].place) throw py::value_error(what + " is on " + device(operands[i]) + ", operand 0 is on " + device(operands[0]) + " (devices must be equal)");
    if (!targets.serve(views[i].place)) throw py::value_error(what + " is on " + device(operands[i]) + ", and this build has kernels " + targets.served());
    const Dtype own = dtype_of(views[i], operands[i], what);
    if (i && own != dtype)
      throw py::type_error(what + " is torch." + name(views[i].scalar) + ", operand 0 is torch." + name(views[0].scalar) + " (dtypes must be equal)");
    dtype = own;
  }
  return views;
}

// Which operands want a gradient: a bit for each, or flags beyond 64 operands.
struct Wanted {
  uint64_t bits = 0;
  std::vector<bool> wide;

  std::vector<bool> flags(size_t n) const {
    if (!wide.empty()) return wide;
    std::vector<bool> wanted(n);
    for (size_t i = 0; i < n; ++i) wanted[i] = bits >> i & 1;
    return wanted;
  }
};

// The plan of a verb for checked operands; `g`: a cotangent, checked too, or null.
inline PlanPointer find_plan(std::string_view equation, Stage stage, const Wanted& wanted, const std::vector<TensorView>& views, Dtype dtype,
                             int64_t nnz, const TensorView* g) {
  Key key;
  key.add(int64_t(stage));
  key.add(int64_t(dtype));
  key.add(nnz);
  key.add(int64_t(wanted.bits));
  for (const bool w : wanted.wide) key.add(int64_t(w));
  for (const auto& v : views) key.add(v);
  if (g) key.add(*g);
  key.add(equation);
  return cache.find_or_make(key.bytes(), [&] {
    PlanRequest request;
    request.equation = equation;
    for (const auto& v : views) request.operands.push_back(view_of(v));
    request.wanted = wanted.flags(views.size());
    request.dtype = dtype;
    request.stage = stage;
    request.nnz = nnz;
    if (g && nnz < 0) {
      request.cotangent = view_of(*g);
      const auto expected = parse_product(request.equation, request.operands).output_shape();
      if (request.cotangent.shape != expected)
        throw py::value_error("the cotangent has shape " + py::str(py::cast(request.cotangent.shape)).cast<std::string>() +
                              ", the product has " + py::str(py::cast(expected)).cast<std::string>() + " (must be equal)");
    }
    return make_plan(request);
  });
}

// wanted: an integer of bits, or a tuple of bools beyond 64 operands.
inline PlanPointer plan(const std::string& equation, int stage, const py::object& wanted, const py::tuple& operands, int64_t nnz,
                        const py::object& cotangent) {
  Dtype dtype = Dtype::f32;
  const auto views = read_operands(operands, dtype);
  Wanted flags;
  if (PyLong_Check(wanted.ptr())) flags.bits = wanted.cast<uint64_t>();
  else flags.wide = wanted.cast<std::vector<bool>>();
  if (cotangent.is_none()) return find_plan(equation, Stage(stage), flags, views, dtype, nnz, nullptr);
  const TensorView g = framework.read(cotangent, "the cotangent");
  if (g.place != views[0].place)
    throw py::value_error("the cotangent is on " + device(cotangent) + ", the operands are on " + device(operands[0]) + 
                          " (devices must be equal)");
  if (nnz < 0 && dtype_of(g, cotangent, "the cotangent") != dtype)
    throw py::type_error(std::string("the cotangent is torch.") + name(g.scalar) + ", the operands are torch." + name(views[0].scalar) +
                         " (dtypes must be equal)");
  return find_plan(equation, Stage(stage), flags, views, dtype, nnz, &g);
}

constexpr int64_t kTraining = -1;  // begins the keys of training steps, where those of verbs have a stage

// What train_plan, below, keeps.
inline PlanPointer make_train_plan(const std::string& equation, Stage stage, const std::vector<bool>& wanted,
                                   const std::vector<bool>& per_trial, const std::vector<TensorView>& views, Dtype dtype, int64_t trials,
                                   int64_t nnz, const std::string& ridge) {
  PlanRequest request;
  request.equation = equation;
  for (size_t i = 0; i < views.size(); ++i) {
    request.operands.push_back(view_of(views[i], per_trial[i] ? 1 : 0));
    request.trial_strides.push_back(per_trial[i] ? views[i].strides[0] : 0);
    request.constant.push_back(stage == Stage::train && !per_trial[i]);
  }
  request.wanted = wanted;
  request.dtype = dtype;
  request.stage = stage;
  request.nnz = nnz;
  request.trials = trials;
  const PlanPointer plan = make_plan(request);
  if (ridge.empty()) return plan;
  PlanRequest penalty = request;
  penalty.equation = ridge;
  penalty.stage = Stage::penalty;
  penalty.nnz = -1;
  const size_t n = (1 + size_t(std::count(ridge.begin(), ridge.end(), ','))) / 2;  // operands of W
  penalty.wanted.assign(2 * n, false);
  penalty.operands.clear();
  penalty.trial_strides.clear();
  penalty.constant.clear();  // these are not folded
  std::vector<int> positions;
  for (size_t i = 0; i < 2 * n; ++i) {
    if (i < n) penalty.wanted[i] = wanted[i];
    penalty.operands.push_back(request.operands[i % n]);
    penalty.trial_strides.push_back(request.trial_strides[i % n]);
    positions.push_back(int(i % n));
  }
  add_penalty(const_cast<Plan&>(*plan), *make_plan(penalty), positions);  // nobody else has it yet
  return plan;
}

// One step of training, or (Stage::value) the product as training watches it: the factors carry a leading trial axis, the
// constants do not; wanted: those that move.  ridge: "" or the equation of <W, W'> over the first operands twice (plan/penalty.h).
inline PlanPointer train_plan(const std::string& equation, int stage, const std::vector<bool>& wanted, const std::vector<bool>& per_trial,
                              const py::tuple& operands, int64_t trials, int64_t nnz, const std::string& ridge) {
  Dtype dtype = Dtype::f32;
  const auto views = read_operands(operands, dtype);
  Key key;
  for (const int64_t x : {kTraining, int64_t(stage), int64_t(dtype), trials, nnz, int64_t(ridge.size())}) key.add(x);
  for (size_t i = 0; i < views.size(); ++i) {
    key.add(int64_t(wanted[i]) + 2 * int64_t(per_trial[i]));
    key.add(views[i]);
  }
  key.add(ridge);
  key.add(equation);
  return cache.find_or_make(key.bytes(), [&] { return make_train_plan(equation, Stage(stage), wanted, per_trial, views, dtype, trials, nnz, ridge); });
}

// A plan from shapes and strides alone, for explain(); a dense cotangent is contiguous.
inline PlanPointer plan_of_shapes(const std::string& equation, int stage, const std::vector<bool>& wanted,
                           const std::vector<std::pair<std::vector<int64_t>, std::vector<int64_t>>>& views, int dtype, int64_t nnz) {
  PlanRequest request;
  request.equation = equation;
  for (const auto& [shape, strides] : views) request.operands.push_back({shape, strides});
  request.wanted = wanted;
  request.dtype = Dtype(dtype);
  request.stage = Stage(stage);
  request.nnz = nnz;
  if (nnz >= 0) return make_plan(request);  // of listed entries: the whole product may be beyond any array
  request.cotangent.shape = parse_product(equation, request.operands).output_shape();
  checked_elements(request.cotangent.shape);
  uint64_t stride = 1;  // of an empty shape it may wrap
  for (size_t i = request.cotangent.shape.size(); i-- > 0; stride *= uint64_t(request.cotangent.shape[i]))
    request.cotangent.strides.insert(request.cotangent.strides.begin(), int64_t(stride));
  return make_plan(request);
}

}  // namespace irk
