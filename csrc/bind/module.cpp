// Names, fields and the GIL: Python objects in, plain data out. No mathematics.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <stdexcept>

#include "bind/arguments.h"
#include "bind/plan_cache.h"
#include "bind/targets.h"
#include "plan/plan.h"

namespace irk {
namespace {

constexpr int64_t kStackScratch = 16384;  // bytes of scratch that live on the stack
constexpr int64_t kReleaseWork = 20000;   // multiply-adds from which a call lets go of the GIL

TensorReader reader;
Targets targets;
PlanCache cache;

// Kernel targets of the CPU that a build may hold, best first; the last one runs the CUDA kernels on the host.
std::vector<std::string> target_names() {
#if defined(__x86_64__)
  return {"x86-64-v4", "x86-64-v3", "x86-64", "simt"};
#elif defined(__aarch64__)
  return {"aarch64", "arm64", "simt"};
#else
  return {"generic", "simt"};
#endif
}

bool can_run(const std::string& target_name) {
#if defined(__x86_64__)
  if (target_name == "x86-64-v4") return __builtin_cpu_supports("x86-64-v4");
  if (target_name == "x86-64-v3") return __builtin_cpu_supports("x86-64-v3");
#endif
  const auto names = target_names();
  return std::find(names.begin(), names.end(), target_name) != names.end();
}

const char* name(Scalar s) {
  constexpr const char* names[] = {"float32", "float64", "bfloat16", "float16", "int32", "int64", "uint8 or bool", "another dtype"};
  return names[int(s)];
}

Dtype dtype_of(const TensorView& v, py::handle tensor, const std::string& what) {
  if (int(v.scalar) > int(Scalar::f16))
    throw py::type_error(what + " is " + py::str(tensor.attr("dtype")).cast<std::string>() +
                         "; supported are float16, bfloat16, float32 and float64");
  return Dtype(int(v.scalar));
}

std::string device(py::handle tensor) { return py::str(tensor.attr("device")).cast<std::string>(); }

View view_of(const TensorView& v, int skip = 0) {
  return {{v.shape + skip, v.shape + v.ndim}, {v.strides + skip, v.strides + v.ndim}};
}

std::vector<TensorView> read_operands(const py::tuple& operands, Dtype& dtype) {
  std::vector<TensorView> views;
  views.reserve(operands.size());
  for (size_t i = 0; i < operands.size(); ++i) {
    views.push_back(reader.read(operands[i]));
    const std::string what = "operand " + std::to_string(i);
    if (views[i].place != views[0].place) throw py::value_error(what + " is on " + device(operands[i]) + ", operand 0 is on " + device(operands[0]) + " (devices must be equal)");
    if (!targets.serve(views[i].place)) throw py::value_error(what + " is on " + device(operands[i]) + ", and this build has kernels " + targets.served());
    const Dtype own = dtype_of(views[i], operands[i], what);
    if (i && own != dtype)
      throw py::type_error(what + " is torch." + name(views[i].scalar) + ", operand 0 is torch." + name(views[0].scalar) + " (dtypes must be equal)");
    dtype = own;
  }
  return views;
}

std::vector<bool> mask(uint64_t low, size_t n, const py::object& wide) {
  std::vector<bool> wanted(n);
  for (size_t i = 0; i < n; ++i) wanted[i] = wide.is_none() ? low >> i & 1 : wide.cast<py::tuple>()[i].cast<bool>();
  return wanted;
}

// wanted: a bit for each operand, or a tuple of bools beyond 64 operands.
PlanPointer plan(const std::string& equation, int stage, const py::object& wanted, const py::tuple& operands, int64_t nnz,
                 const py::object& cotangent) {
  Dtype dtype = Dtype::f32;
  const auto views = read_operands(operands, dtype);
  const bool is_int = PyLong_Check(wanted.ptr());
  const uint64_t bits = is_int ? wanted.cast<uint64_t>() : 0;
  Key key;
  key.add(stage);
  key.add(int64_t(dtype));
  key.add(nnz);
  key.add(int64_t(bits));
  if (!is_int)
    for (const auto& w : wanted.cast<py::tuple>()) key.add(int64_t(w.cast<bool>()));
  for (const auto& v : views) key.add(v);
  TensorView g;
  if (!cotangent.is_none()) {
    g = reader.read(cotangent);
    if (g.place != views[0].place)
      throw py::value_error("the cotangent is on " + device(cotangent) + ", the operands are on " + device(operands[0]));
    if (nnz < 0 && dtype_of(g, cotangent, "the cotangent") != dtype)
      throw py::type_error(std::string("the cotangent is torch.") + name(g.scalar) + ", the operands are torch." + name(views[0].scalar));
    key.add(g);
  }
  key.add(equation);
  return cache.find_or_make(key.bytes(), [&] {
    PlanRequest request;
    request.equation = equation;
    for (const auto& v : views) request.operands.push_back(view_of(v));
    request.wanted = mask(bits, views.size(), is_int ? py::none() : wanted);
    request.dtype = dtype;
    request.stage = Stage(stage);
    request.nnz = nnz;
    if (!cotangent.is_none() && nnz < 0) {
      request.cotangent = view_of(g);
      const auto expected = parse_product(equation, request.operands).output_shape();
      if (request.cotangent.shape != expected)
        throw py::value_error("the cotangent has shape " + py::str(py::cast(request.cotangent.shape)).cast<std::string>() +
                              ", the product has " + py::str(py::cast(expected)).cast<std::string>());
    }
    return request;
  });
}

// One step of training: the factors (wanted operands) carry a leading trial axis, the constants do not.
PlanPointer train_plan(const std::string& equation, const std::vector<bool>& wanted, const py::tuple& operands, int64_t trials, int64_t nnz) {
  Dtype dtype = Dtype::f32;
  const auto views = read_operands(operands, dtype);
  PlanRequest request;
  request.equation = equation;
  for (size_t i = 0; i < views.size(); ++i) {
    request.operands.push_back(view_of(views[i], wanted[i] ? 1 : 0));
    request.trial_strides.push_back(wanted[i] ? views[i].strides[0] : 0);
  }
  request.wanted = wanted;
  request.dtype = dtype;
  request.stage = Stage::train;
  request.nnz = nnz;
  request.trials = trials;
  return make_plan(request);
}

// Steps that BLAS does better, each with the batch, rows, columns and depth of its product and the places of its three
// tensors: (step, extents, (buffer, offset, strides) x 3). Buffers from 0 are the operands, then their gradients.
py::tuple blas_steps(const Plan& plan) {
  py::list steps;
  for (const BlasStep& b : plan.blas) {
    const auto place = [](const Ref& ref, const std::array<int64_t, 3>& strides) {
      return py::make_tuple(ref.buffer - kOperands, ref.offset, strides[0], strides[1], strides[2]);
    };
    const Step& s = plan.steps[size_t(b.step)];
    steps.append(py::make_tuple(b.step, py::make_tuple(b.extents[0], b.extents[1], b.extents[2], b.extents[3]),
                                place(s.a, b.a), place(s.b, b.b), place(s.c, b.c)));
  }
  return py::tuple(steps);
}

// How far a trial moves each buffer, in elements: index of the buffer from 0 at the operands.
std::vector<int64_t> trial_offsets(const Plan& plan, int64_t trial) {
  std::vector<int64_t> offsets(kOperands + 2 * plan.product.operands.size(), 0);
  for (const TrialLoop& loop : plan.trial_loops) {
    for (size_t b = 0; b < offsets.size(); ++b) offsets[b] += trial % loop.extent * loop.strides[b];
    trial /= loop.extent;
  }
  return offsets;
}

// A plan from shapes and strides alone, for explain(); a dense cotangent is contiguous.
PlanPointer plan_of_shapes(const std::string& equation, int stage, const std::vector<bool>& wanted,
                           const std::vector<std::pair<std::vector<int64_t>, std::vector<int64_t>>>& views, int dtype, int64_t nnz) {
  PlanRequest request;
  request.equation = equation;
  for (const auto& [shape, strides] : views) request.operands.push_back({shape, strides});
  request.wanted = wanted;
  request.dtype = Dtype(dtype);
  request.stage = Stage(stage);
  request.nnz = nnz;
  request.cotangent.shape = parse_product(equation, request.operands).output_shape();
  int64_t stride = 1;
  for (size_t i = request.cotangent.shape.size(); i-- > 0; stride *= request.cotangent.shape[i])
    request.cotangent.strides.insert(request.cotangent.strides.begin(), stride);
  return make_plan(request);
}

int64_t compute_bytes(const Plan& plan) { return plan.dtype == Dtype::f64 ? 8 : 4; }

int64_t scratch_bytes(const Plan& plan, int threads, const Place& place = {}) {
  int64_t bytes;
  if (__builtin_mul_overflow(plan.scratch * compute_bytes(plan), targets.at(place).arenas(plan.program(), plan.trials, threads), &bytes))
    throw std::overflow_error("the workspace would have more than 2^63 bytes");
  return bytes;
}

void* address(const py::object& tensor) { return tensor.is_none() ? nullptr : reader.read(tensor).data; }

const float kOneFloat = 1;
const double kOneDouble = 1;

std::vector<void*> buffers_of(const Plan& plan, const py::tuple& operands, const py::object& gradients, Place& place) {
  const size_t n = plan.product.operands.size();
  std::vector<void*> buffers(kOperands + 2 * n, nullptr);
  buffers[kOne] = plan.dtype == Dtype::f64 ? const_cast<void*>(static_cast<const void*>(&kOneDouble)) : const_cast<void*>(static_cast<const void*>(&kOneFloat));
  for (size_t i = 0; i < n; ++i) {
    const TensorView v = reader.read(operands[i]);
    buffers[kOperands + i] = v.data;
    place = v.place;  // of all, as plan() has seen
  }
  if (!gradients.is_none()) {
    const auto given = gradients.cast<py::tuple>();
    for (size_t i = 0; i < n; ++i) buffers[kOperands + n + i] = address(given[i]);
  }
  return buffers;
}

// Whether every number of a contiguous tensor is finite.
bool all_finite(const TensorView& v) {
  int64_t n = 1;
  for (int i = 0; i < v.ndim; ++i) n *= v.shape[i];
  bool finite = true;
  if (v.scalar == Scalar::f64)
    for (int64_t i = 0; i < n; ++i) finite &= (static_cast<const uint64_t*>(v.data)[i] >> 52 & 0x7ff) != 0x7ff;
  else if (v.scalar == Scalar::f32)
    for (int64_t i = 0; i < n; ++i) finite &= (static_cast<const uint32_t*>(v.data)[i] >> 23 & 0xff) != 0xff;
  else
    for (int64_t i = 0; i < n; ++i) {
      const uint16_t mask = v.scalar == Scalar::f16 ? 0x7c00 : 0x7f80;
      finite &= (static_cast<const uint16_t*>(v.data)[i] & mask) != mask;
    }
  return finite;
}

// Returns whether the gradients of listed entries are finite: a NaN in a factor may have met an entry that is not listed.
// Gradients on another device are not looked at.
bool run(const Plan& plan, const py::tuple& operands, const py::object& output, const py::object& saved, const py::object& cotangent,
         const py::object& gradients, const py::object& scratch, int64_t nnz, const py::object& columns, const py::tuple& orders,
         const py::object& loss, int threads, uintptr_t stream, int64_t trial, int first_step, int last_step) {
  Place place;
  auto buffers = buffers_of(plan, operands, gradients, place);
  const bool on_cpu = place.kind == DeviceKind::cpu;
  const TargetTable& target = targets.at(place);
  buffers[kOutput] = address(output);
  buffers[kSaved] = address(saved);
  buffers[kCotangent] = address(cotangent);
  alignas(64) char small[kStackScratch];
  buffers[kScratch] = scratch.is_none() ? small : address(scratch);
  if (scratch.is_none() && scratch_bytes(plan, threads, place) > (on_cpu ? kStackScratch : 0)) throw std::logic_error("a plan ran without its workspace");
  const EntriesArgument entries(reader, plan, nnz, columns, orders);
  const Target t = loss.is_none() ? Target{} : target_of(reader, loss.cast<py::tuple>());
  const Call call{buffers.data(), entries.get(), loss.is_none() ? nullptr : &t, threads, trial < 0 ? 0 : trial,
                  trial < 0 ? plan.trials : trial + 1, first_step, last_step < 0 ? int32_t(plan.steps.size()) : last_step, place.number,
                  reinterpret_cast<void*>(stream)};
  if (plan.work * plan.trials < kReleaseWork) {
    target.run(plan.program(), call);
  } else {
    const py::gil_scoped_release release;
    target.run(plan.program(), call);
  }
  bool finite = true;
  if (on_cpu && plan.tree.sampled && !gradients.is_none())
    for (const auto& g : gradients.cast<py::tuple>())
      if (!g.is_none()) finite &= all_finite(reader.read(g));
  return finite;
}

// factors: (tensor, momentum or None, operand position); rule: see Rule.
void fit(const Plan& plan, const py::tuple& operands, const py::tuple& factors, const py::object& scratch, int64_t nnz,
         const py::object& columns, const py::tuple& orders, const py::tuple& loss, const py::tuple& rule, int64_t steps,
         const py::object& active, const py::object& done, int threads) {
  Place place;
  auto buffers = buffers_of(plan, operands, py::none(), place);
  const TargetTable& target = targets.at(place);
  if (!target.fit) throw std::runtime_error(std::string("the kernel target ") + target.name + " has no native training");
  buffers[kScratch] = address(scratch);
  const EntriesArgument entries(reader, plan, nnz, columns, orders);
  const Target t = target_of(reader, loss);
  std::vector<Factor> list;
  for (const auto& item : factors) {
    const auto f = item.cast<py::tuple>();
    const TensorView v = reader.read(f[0]);
    int64_t elements = 1;
    for (int i = 1; i < v.ndim; ++i) elements *= v.shape[i];
    list.push_back({v.data, address(f[1]), elements, plan.gradient_offsets.at(f[2].cast<size_t>())});
  }
  const FitCall call{{buffers.data(), entries.get(), &t, threads, 0, plan.trials, 0, int32_t(plan.steps.size()), 0, nullptr},
                     {RuleKind(rule[0].cast<int>()), static_cast<const double*>(address(rule[1])), rule[2].cast<double>(),
                      rule[3].cast<double>(), rule[4].cast<double>(), rule[5].cast<int32_t>(), rule[6].cast<int32_t>(),
                      rule[7].cast<double>(), rule[8].cast<double>(), static_cast<double*>(address(rule[9])),
                      static_cast<int64_t*>(address(rule[10])), rule[11].cast<int32_t>()},
                     list.data(), int32_t(list.size()), steps, static_cast<const uint8_t*>(address(active)),
                     static_cast<int64_t*>(address(done))};
  const py::gil_scoped_release release;
  target.fit(plan.program(), call);
}

}  // namespace
}  // namespace irk

PYBIND11_MODULE(_bind, m) {
  using namespace irk;
  py::class_<Plan, std::shared_ptr<Plan>>(m, "Plan")
      .def_readonly("output_shape", &Plan::output_shape)
      .def_readonly("orders", &Plan::orders)
      .def_readonly("trials", &Plan::trials)
      .def_readonly("work", &Plan::work)
      .def_readonly("gather", &Plan::gather)
      .def_property_readonly("has_blas", [](const Plan& p) { return !p.blas.empty(); })
      .def_property_readonly("blas", &blas_steps)
      .def_property_readonly("scratch", [](const Plan& p) { return p.scratch; })
      .def("trial_offsets", &trial_offsets)
      .def_property_readonly("saved", [](const Plan& p) { return p.saved * p.trials; })
      .def_property_readonly("route", [](const Plan& p) {
        if (p.gather) return "gather: rows of every operand at the listed coordinates";
        if (!p.tree.sampled) return "dense: the whole product";
        return p.tree.is_pair(p.tree.root) ? "split: the root's two sides, multiplied at the listed coordinates"
                                           : "dense: the whole product, read at the listed coordinates";
      })
      .def("scratch_bytes", [](const Plan& p, int threads, bool cuda) {
        return scratch_bytes(p, threads, {cuda ? DeviceKind::cuda : DeviceKind::cpu, 0});
      }, py::arg("threads"), py::arg("cuda") = false)
      .def("explain", &Plan::explain);
  m.attr("STACK_SCRATCH") = kStackScratch;
  m.attr("BUFFERS") = py::dict(py::arg("scratch") = kScratch - kOperands, py::arg("saved") = kSaved - kOperands,
                               py::arg("output") = kOutput - kOperands, py::arg("cotangent") = kCotangent - kOperands);
  m.attr("CUDA_ARCHITECTURES") = IRK_CUDA_ARCHITECTURES;
  m.attr("COMPILER") = "g++ " __VERSION__;
  m.def("target_names", &target_names);
  m.def("can_run", &can_run);
  m.def("set_exchange_table", [](const py::object& table) { reader.set_table(table); });
  m.def("load_target", [](const std::string& path) { return targets.load(path); });
  m.def("set_cuda_target", [](const std::string& path) { targets.set_cuda(path); });
  m.def("fits_natively", [] { return targets.at({}).fit != nullptr; });
  m.def("plan", [](const std::string& equation, int stage, const py::object& wanted, const py::tuple& operands, int64_t nnz, const py::object& cotangent) {
    return std::const_pointer_cast<Plan>(plan(equation, stage, wanted, operands, nnz, cotangent));
  });
  m.def("train_plan", [](const std::string& equation, const std::vector<bool>& wanted, const py::tuple& operands, int64_t trials, int64_t nnz) {
    return std::const_pointer_cast<Plan>(train_plan(equation, wanted, operands, trials, nnz));
  });
  m.def("plan_of_shapes", [](const std::string& equation, int stage, const std::vector<bool>& wanted,
                             const std::vector<std::pair<std::vector<int64_t>, std::vector<int64_t>>>& views, int dtype, int64_t nnz) {
    return std::const_pointer_cast<Plan>(plan_of_shapes(equation, stage, wanted, views, dtype, nnz));
  });
  m.def("run", &run);
  m.def("fit", &fit);
  m.def("cached_plans", [] { return cache.size(); });
  m.def("clear_plans", [] { cache.clear(); });
}
