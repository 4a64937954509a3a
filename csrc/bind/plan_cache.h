// Plans by what they depend on: equation, shapes, strides, dtype, stage, wanted gradients. Bounded, safe between threads.
#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "bind/tensor.h"
#include "plan/plan.h"

namespace irk {

using PlanPointer = std::shared_ptr<const Plan>;

class Key {
 public:
  void add(int64_t x) { bytes_.append(reinterpret_cast<const char*>(&x), sizeof x); }
  void add(const TensorView& v) {
    add(v.ndim);
    bytes_.append(reinterpret_cast<const char*>(v.shape), size_t(v.ndim) * sizeof(int64_t));
    bytes_.append(reinterpret_cast<const char*>(v.strides), size_t(v.ndim) * sizeof(int64_t));
  }
  void add(std::string_view s) { bytes_.append(s); }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

class PlanCache {
 public:
  template <class Make>
  PlanPointer find_or_make(const std::string& key, Make&& make) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      const auto found = plans_.find(key);
      if (found != plans_.end()) return found->second;
    }
    PlanPointer plan = make();
    const std::lock_guard<std::mutex> lock(mutex_);
    if (plans_.size() >= kMost) plans_.clear();
    plans_[key] = plan;
    return plan;
  }
  size_t size() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return plans_.size();
  }
  void clear() {
    const std::lock_guard<std::mutex> lock(mutex_);
    plans_.clear();
  }

 private:
  static constexpr size_t kMost = 4096;
  std::mutex mutex_;
  std::unordered_map<std::string, PlanPointer> plans_;
};

}  // namespace irk
