// Division of whole numbers, wherever a place in a nest of loops is read off its number.
#pragma once
#include <cstdint>

#include "core/platform.h"

namespace irk {

struct Divided {
  int64_t quotient, rest;
};

// What is not negative, by what is positive. Threads of a GPU have no division of 64 bits: it would be a call.
IRK_FN inline Divided divide(int64_t a, int64_t b) {
#if defined(__CUDA_ARCH__)
  if (!((a | b) >> 32)) return {uint32_t(a) / uint32_t(b), uint32_t(a) % uint32_t(b)};
  uint64_t quotient = 0, rest = 0;
  for (int bit = 62; bit >= 0; --bit) {
    rest = rest << 1 | (uint64_t(a) >> bit & 1);
    const bool fits = rest >= uint64_t(b);
    rest -= fits ? uint64_t(b) : 0;
    quotient |= uint64_t(fits) << bit;
  }
  return {int64_t(quotient), int64_t(rest)};
#else
  return {a / b, a % b};
#endif
}

}  // namespace irk
