// Bytes of instructions as a function in memory: written first, executable after, never both.
// Absent (no code) on other machines, where the system refuses executable memory, and with IRKERNELS_MACHINE_CODE=0.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "core/platform.h"

#if defined(__x86_64__) && (defined(IRK_AVX512) || defined(IRK_AVX2)) && defined(__linux__)
#define IRK_MACHINE_CODE 1
#include <sys/mman.h>
#endif

namespace irk {

class Executable {
 public:
  // Whether this machine has any: its instructions, and leave to execute what was written.
  static bool possible() {
#if defined(IRK_MACHINE_CODE)
    const auto given = std::getenv("IRKERNELS_MACHINE_CODE");
    static const bool allowed = bool(Executable({0xc3}));
    return allowed && !(given && std::strcmp(given, "0") == 0);
#else
    return false;
#endif
  }

  Executable() = default;
  explicit Executable([[maybe_unused]] const std::vector<uint8_t>& code) {
#if defined(IRK_MACHINE_CODE)
    constexpr size_t kPage = 4096;
    const size_t size = (code.size() + kPage - 1) / kPage * kPage;
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return;
    std::memcpy(memory, code.data(), code.size());
    if (mprotect(memory, size, PROT_READ | PROT_EXEC) != 0) {
      munmap(memory, size);
      return;
    }
    memory_ = std::shared_ptr<void>(memory, [size](void* p) { munmap(p, size); });
    size_ = int64_t(size);
#endif
  }

  explicit operator bool() const { return bool(memory_); }
  int64_t size() const { return size_; }  // bytes, of whole pages
  // The function that begins so many bytes behind the first.
  template <class Function>
  Function* at(int64_t entry = 0) const { return reinterpret_cast<Function*>(static_cast<char*>(memory_.get()) + entry); }

 private:
  std::shared_ptr<void> memory_;
  int64_t size_ = 0;
};

}  // namespace irk
