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
  // The operations up to n times on x [numbers, lanes]; how often they were done to the end.
  using Function = int64_t (*)(void* x, int64_t n);

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
    for (const TapeOp* op = range.begin; op < range.end; ++op)
      if (op->op == Arith::filled) return {};
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
  int64_t operator()(void* x, int64_t n) const { return reinterpret_cast<Function>(memory_.get())(x, n); }

 private:
#if defined(IRK_MACHINE_CODE)
  explicit MachineCode(const std::vector<uint8_t>& code) {
    const size_t size = code.size();
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return;
    std::memcpy(memory, code.data(), size);
    if (mprotect(memory, size, PROT_READ | PROT_EXEC) != 0) {
      munmap(memory, size);
      return;
    }
    memory_ = std::shared_ptr<void>(memory, [size](void* p) { munmap(p, size); });
  }
#endif

  std::shared_ptr<void> memory_;
};

}  // namespace irk
