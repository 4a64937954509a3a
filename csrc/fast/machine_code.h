// A tape's operations as a function in memory: written first, executable after, never both.
// Absent (no code) on other machines, where the system refuses executable memory, and with IRKERNELS_MACHINE_CODE=0.
#pragma once
#include <cstdlib>
#include <cstring>
#include <memory>

#include "core/pack.h"
#include "fast/registers.h"

#if defined(__x86_64__) && (defined(IRK_AVX512) || defined(IRK_AVX2)) && defined(__linux__)
#define IRK_MACHINE_CODE 1
#include <sys/mman.h>
#endif

namespace irk {

class MachineCode {
 public:
  // The operations up to n times on x [numbers, lanes]; how often they were done to the end.  notes: [n, columns, lanes]
  using Function = int64_t (*)(void* x, int64_t n, void* notes);

  // Whether this machine has any: its instructions, and leave to execute what was written.
  static bool possible() {
#if defined(IRK_MACHINE_CODE)
    const auto given = std::getenv("IRKERNELS_MACHINE_CODE");
    static const bool allowed = bool(MachineCode({0xc3}));
    return allowed && !(given && std::strcmp(given, "0") == 0);
#else
    return false;
#endif
  }

  MachineCode() = default;
#if defined(IRK_MACHINE_CODE)
  template <class T>
  static MachineCode of(const TapeRange& range, int lanes) {
    if (!possible() || range.begin == range.end) return {};
#if defined(IRK_AVX512)
    constexpr bool kEvex = true;
    constexpr int kRegisters = 32;
#else
    constexpr bool kEvex = false;
    constexpr int kRegisters = Encoder::kScratch;
#endif
    Encoder encoder(kEvex, sizeof(T) == 8, lanes, IRK_VECTOR_BYTES);
    RegisterFile(encoder, range, kRegisters, int32_t(lanes * int(sizeof(T)))).loop();
    return MachineCode(encoder.code());
  }
#else
  template <class T>
  static MachineCode of(const TapeRange&, int) { return {}; }
#endif

  explicit operator bool() const { return bool(memory_); }
  int64_t size() const { return size_; }  // bytes, of whole pages
  int64_t operator()(void* x, int64_t n, void* notes = nullptr) const {
    return reinterpret_cast<Function>(memory_.get())(x, n, notes);
  }

 private:
#if defined(IRK_MACHINE_CODE)
  explicit MachineCode(const std::vector<uint8_t>& code) {
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
  }
#endif

  std::shared_ptr<void> memory_;
  int64_t size_ = 0;
};

}  // namespace irk
