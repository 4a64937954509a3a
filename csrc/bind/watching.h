// What fit is told to note of its steps and when to stop a trial, as it comes from Python.
#pragma once
#include <vector>

#include "bind/buffers.h"
#include "bind/pages.h"

namespace irk {

// (first, look_back, verdicts, records or None, limits or None)
//   records: (every, numbers, n_each_step, watch_each_step, probes, order, sights, rows, n_rows, now, scratch,
//            scratch_elements),
//            sights: (plan, operands, offset, scratch_offset) each; see csrc/plan/records.h
//   limits:  (below, above, patience, every, checked, streak)
class Watching {
 public:
  explicit Watching(const py::tuple& t) : first(t[0].cast<int64_t>()), look_back(t[1].cast<int32_t>()) {
    verdicts = static_cast<Verdict*>(address(t[2]));
    if (!t[3].is_none()) read_records(t[3].cast<py::tuple>());
    if (t[4].is_none()) return;
    const auto l = t[4].cast<py::tuple>();
    limits_ = {l[0].cast<double>(), l[1].cast<double>(), l[2].cast<int64_t>(), l[3].cast<int64_t>(), l[4].cast<int64_t>(),
               static_cast<int64_t*>(address(l[5]))};
    limited_ = true;
  }
  Watching(const Watching&) = delete;

  const int64_t first;
  const int32_t look_back;
  Verdict* verdicts;
  const Records* records() const { return recorded_ ? &records_ : nullptr; }
  const Limits* limits() const { return limited_ ? &limits_ : nullptr; }

 private:
  void read_records(const py::tuple& r) {
    for (const auto& item : r[1].cast<py::tuple>()) {
      const auto n = item.cast<py::tuple>();
      numbers_.push_back({Word(n[0].cast<int>()), n[1].cast<int32_t>(), n[2].cast<int32_t>(), n[3].cast<double>()});
    }
    if (numbers_.size() > size_t(kNumbers)) throw std::logic_error("more numbers than a step can hold");
    for (const auto& item : r[4].cast<py::tuple>()) {
      const auto p = item.cast<py::tuple>();
      probes_.push_back({p[0].cast<int32_t>(), Keep(p[1].cast<int>())});
    }
    ask_for_large_pages(framework.read(r[7]));
    const auto sights = r[6].cast<py::tuple>();
    buffers_.reserve(sights.size());
    for (const auto& item : sights) {
      const auto v = item.cast<py::tuple>();
      const Plan& plan = v[0].cast<const Plan&>();
      Place place;
      buffers_.push_back(buffers_of(plan, v[1].cast<py::tuple>(), py::none(), place));
      sights_.push_back({plan.program(), buffers_.back().data(), v[2].cast<int64_t>(), v[3].cast<int64_t>()});
    }
    records_ = {r[0].cast<int64_t>(), numbers_.data(), int32_t(numbers_.size()), r[2].cast<int32_t>(), r[3].cast<int32_t>(),
                probes_.data(), int32_t(probes_.size()), r[5].cast<int32_t>(), sights_.data(), int32_t(sights_.size()),
                address(r[7]), r[8].cast<int64_t>(), address(r[9]), address(r[10]), r[11].cast<int64_t>()};
    recorded_ = true;
  }

  std::vector<Number> numbers_;
  std::vector<Probe> probes_;
  std::vector<Sight> sights_;
  std::vector<std::vector<void*>> buffers_;  // [sights][buffers]
  Records records_{};
  Limits limits_{};
  bool recorded_ = false, limited_ = false;
};

}  // namespace irk
