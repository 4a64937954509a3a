// Names, fields and the GIL: Python objects in, plain data out. No mathematics.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <map>
#include <stdexcept>
#include <utility>

#include "bind/blas.h"
#include "bind/calls.h"
#include "bind/lane.h"
#include "bind/lanes.h"
#include "bind/requests.h"
#include "plan/plan.h"

namespace irk {
namespace {

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

bool made_by_intel() {
#if defined(__x86_64__)
  return __builtin_cpu_is("intel");
#else
  return false;
#endif
}

// Whether this CPU has instructions that multiply bfloat16, and float16.
std::pair<bool, bool> multiplies_halves() {
#if defined(__x86_64__)
  return {__builtin_cpu_supports("avx512bf16"), __builtin_cpu_supports("avx512fp16")};
#else
  return {false, false};
#endif
}

// How far a trial moves each buffer, in elements; buffers from 0 are the operands.
std::map<int, int64_t> trial_offsets(const Plan& plan, int64_t trial) {
  std::map<int, int64_t> offsets;
  for (const TrialLoop& loop : plan.trial_loops) {
    for (int b = 0; b < kOperands + 2 * int(plan.product.operands.size()); ++b) offsets[b - kOperands] += trial % loop.extent * loop.strides[b];
    trial /= loop.extent;
  }
  return offsets;
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
      .def("goes_to_blas", &goes_to_blas)
      .def("blas_at_once", [](const Plan& p, bool launched) { return p.blas_of(launched).at_once; })
      .def("blas_scratch", &blas_scratch)
      .def("blas_rounded", &blas_rounded)
      .def("blas_steps", &blas_steps)
      .def_property_readonly("n_steps", [](const Plan& p) { return p.steps.size(); })
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
      .def("training_bytes", [](const Plan& p, int threads, int sharing, int64_t trials) {
        return scratch_bytes(p, threads, {}, Sharing(sharing), trials);
      }, py::arg("threads"), py::arg("sharing") = 0, py::arg("trials") = -1)
      .def("trains_by_trial", [](const Plan& p, int threads) { return share(p.work, p.trials, threads, kTeamTraining).by_trial != 0; })
      .def_property_readonly("tree", [](const Plan& p) {  // (operand or -1, left, right or -1) of each node, children first
        std::vector<std::tuple<int, int, int>> nodes;
        for (const Node& node : p.tree.nodes) nodes.emplace_back(node.operand, node.left, node.right);
        return nodes;
      })
      .def_property_readonly("constant_groups", [](const Plan& p) { return constant_groups(p.tree); })
      .def("explain", &Plan::explain);
  m.attr("STACK_SCRATCH") = kStackScratch;
  m.attr("BUFFERS") = py::dict(py::arg("scratch") = kScratch - kOperands, py::arg("saved") = kSaved - kOperands,
                               py::arg("output") = kOutput - kOperands, py::arg("cotangent") = kCotangent - kOperands);
  m.attr("CUDA_ARCHITECTURES") = IRK_CUDA_ARCHITECTURES;
  m.attr("INTEL") = made_by_intel();
  m.attr("MULTIPLIES_HALVES") = multiplies_halves();
  m.attr("COMPILER") = "g++ " __VERSION__;
  m.def("target_names", &target_names);
  m.def("can_run", &can_run);
  m.def("set_exchange_table", [](const py::object& table) { framework.set_table(table); });
  m.def("set_plain_classes", [](const py::object& tensor, const py::object& parameter) { framework.set_plain(tensor, parameter); });
  m.def("set_surroundings", [](const std::vector<py::object>& watchers, const py::object& forward_mode, const py::object& autocast,
                              const py::object& recording, const py::object& threads) {
    surroundings.set(watchers, forward_mode, autocast, recording, threads);
  });
  m.def("set_whole_by_blas", [](const py::object& function) { whole_by_blas = py::object(function).release(); });
  m.def("set_blas_pays", [](const std::array<bool, 4>& pays) { return std::exchange(blas_pays, pays); });
  m.def("load_target", [](const std::string& path) { return targets.load(path); });
  m.def("set_cuda_target", [](const std::string& path) { targets.set_cuda(path); });
  m.def("launches", [] { return targets.at({}).tier != nullptr; });
  m.def("plan", [](const std::string& equation, int stage, const py::object& wanted, const py::tuple& operands, int64_t nnz, const py::object& cotangent) {
    return std::const_pointer_cast<Plan>(plan(equation, stage, wanted, operands, nnz, cotangent));
  });
  m.def("train_plan", [](const std::string& equation, int stage, const std::vector<bool>& wanted, const std::vector<bool>& per_trial,
                         const py::tuple& operands, int64_t trials, int64_t nnz, const std::string& ridge) {
    return std::const_pointer_cast<Plan>(train_plan(equation, stage, wanted, per_trial, operands, trials, nnz, ridge));
  });
  m.def("plan_of_shapes", [](const std::string& equation, int stage, const std::vector<bool>& wanted,
                             const std::vector<std::pair<std::vector<int64_t>, std::vector<int64_t>>>& views, int dtype, int64_t nnz) {
    return std::const_pointer_cast<Plan>(plan_of_shapes(equation, stage, wanted, views, dtype, nnz));
  });
  m.def("run", &run);
  m.def("fit", &fit);
  m.def("fit_bytes", &fit_bytes);
  m.def("launched_tier", &launched_tier);
  m.def("hear_interrupts", [] { interrupts.hear(); });
  m.def("unhear_interrupts", [] { interrupts.unhear(); });
  m.def("draw_batches", &draw_batches);
  m.def("list_batches", &list_batches);
  py::class_<LanesStep, std::shared_ptr<LanesStep>>(m, "LanesStep")
      .def_property_readonly("length", &LanesStep::length)
      .def_property_readonly("compiled", &LanesStep::compiled)
      .def_property_readonly("held", &LanesStep::held)
      .def_property_readonly("code", &LanesStep::code)
      .def("bytes", &LanesStep::bytes);
  m.def("why_not_lanes", py::overload_cast<const Plan&, const py::tuple&, int64_t, bool>(&why_not_lanes));
  m.def("training_tier", &training_tier);
  m.def("lanes_trace", &lanes_trace);
  m.def("lanes_fit", &lanes_fit);
  add_lane(m);
  m.def("cached_plans", [] { return cache.size(); });
  m.def("clear_plans", [] { cache.clear(); });
}
