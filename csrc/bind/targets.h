// The kernel targets in use: one for the CPU, and the CUDA one, loaded when the first tensor on such a device comes.
#pragma once
#include <dlfcn.h>

#include <mutex>
#include <stdexcept>
#include <string>

#include "bind/tensor.h"
#include "targets/target.h"

namespace irk {

class Targets {
 public:
  // The CPU's target from now on; returns its name.
  std::string load(const std::string& path) {
    cpu_ = table(path);
    return cpu_->name;
  }
  void set_cuda(const std::string& path) { cuda_path_ = path; }

  bool serve(const Place& place) const {
    return place.kind == DeviceKind::cpu || (place.kind == DeviceKind::cuda && !cuda_path_.empty());
  }
  std::string served() const { return cuda_path_.empty() ? "for the CPU only" : "for the CPU and CUDA only"; }

  const TargetTable& at(const Place& place) {
    if (place.kind == DeviceKind::cpu) return *cpu_;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!cuda_) cuda_ = table(cuda_path_);
    return *cuda_;
  }

 private:
  static const TargetTable* table(const std::string& path) {
    void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) throw std::runtime_error(std::string("cannot load a kernel target: ") + dlerror());
    auto* entry = reinterpret_cast<const TargetTable* (*)()>(dlsym(handle, "irk_target"));
    if (!entry) throw std::runtime_error("a kernel target has no table: " + path);
    return entry();
  }

  const TargetTable *cpu_ = nullptr, *cuda_ = nullptr;
  std::string cuda_path_;
  std::mutex mutex_;
};

}  // namespace irk
