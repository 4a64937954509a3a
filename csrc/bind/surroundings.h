// What the framework has in force around a call, asked of its own functions: who watches, whether gradients are recorded, how
// many threads there are. Asked from here it costs a third of what it costs from Python.
#pragma once
#include <pybind11/pybind11.h>

#include <vector>

namespace irk {

namespace py = pybind11;

class Surroundings {
 public:
  // watchers: functions without arguments, true while tensors may mean more than what lies in memory. forward_mode: the module
  // whose _current_level is not negative inside forward-mode differentiation. threads: None where there is one.
  void set(const std::vector<py::object>& watchers, const py::object& forward_mode, const py::object& autocast, const py::object& recording,
           const py::object& threads) {
    for (const auto& watcher : watchers) watchers_.push_back(keep(watcher));
    forward_mode_ = PyModule_GetDict(keep(forward_mode));
    autocast_ = keep(autocast);
    recording_ = keep(recording);
    threads_ = threads.is_none() ? nullptr : keep(threads);
  }

  bool watched() const {
    static PyObject* const level = PyUnicode_InternFromString("_current_level");
    for (PyObject* watcher : watchers_)
      if (number(watcher)) return true;
    PyObject* found = PyDict_GetItemWithError(forward_mode_, level);
    return !found || PyLong_AsLong(found) >= 0;
  }
  bool casts() const { return number(autocast_); }
  bool records() const { return number(recording_); }
  int threads() const { return threads_ ? int(number(threads_)) : 1; }

 private:
  static PyObject* keep(const py::object& object) { return py::object(object).release().ptr(); }  // for the process
  static long number(PyObject* function) {
    const auto result = py::reinterpret_steal<py::object>(PyObject_CallNoArgs(function));
    const long value = result ? PyLong_AsLong(result.ptr()) : -1;
    if (value < 0) throw py::error_already_set();
    return value;
  }

  std::vector<PyObject*> watchers_;
  PyObject *forward_mode_ = nullptr, *autocast_ = nullptr, *recording_ = nullptr, *threads_ = nullptr;
};

}  // namespace irk
