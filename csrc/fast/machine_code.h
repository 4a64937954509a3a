// A tape's operations as a function in memory.
#pragma once
#include "fast/executable.h"
#include "fast/registers.h"

namespace irk {

class MachineCode {
 public:
  // The operations up to n times on x [numbers, lanes]; how often they were done to the end.
  // notes: [n, columns, lanes]
  using Function = int64_t(void* x, int64_t n, void* notes);

  static bool possible() { return Executable::possible(); }

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
    return MachineCode(Executable(encoder.code()));
  }
#else
  template <class T>
  static MachineCode of(const TapeRange&, int) { return {}; }
#endif

  explicit operator bool() const { return bool(memory_); }
  int64_t size() const { return memory_.size(); }
  int64_t operator()(void* x, int64_t n, void* notes = nullptr) const { return memory_.at<Function>()(x, n, notes); }

 private:
  explicit MachineCode(Executable memory) : memory_(std::move(memory)) {}

  Executable memory_;
};

}  // namespace irk
