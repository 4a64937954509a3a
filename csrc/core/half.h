// bfloat16 and float16 as storage: widened to float32 on the way in, rounded to nearest even on the way out.
#pragma once
#include <cstdint>
#include <cstring>

#include "core/platform.h"

namespace irk {

IRK_FN inline uint32_t bits_of(float x) {
  uint32_t u;
  std::memcpy(&u, &x, 4);
  return u;
}
IRK_FN inline float float_of(uint32_t u) {
  float x;
  std::memcpy(&x, &u, 4);
  return x;
}

struct Bfloat16 {
  uint16_t bits;
  IRK_FN float widen() const { return float_of(uint32_t(bits) << 16); }
  IRK_FN static Bfloat16 narrow(float x) {
    const uint32_t u = bits_of(x);
    if (x != x) return {uint16_t((u >> 16) | 0x40)};  // a NaN stays one when its low bits are cut
    return {uint16_t((u + 0x7fff + ((u >> 16) & 1)) >> 16)};
  }
};

struct Float16 {
  uint16_t bits;
  IRK_FN float widen() const {
    const uint32_t sign = uint32_t(bits & 0x8000) << 16, rest = bits & 0x7fff;
    if (rest >= 0x7c00) return float_of(sign | 0x7f800000 | ((rest & 0x3ff) << 13));      // infinity, NaN
    if (rest >= 0x0400) return float_of(sign | ((rest << 13) + (uint32_t(127 - 15) << 23)));
    return float_of(sign | bits_of(float(rest) * 0x1p-24f));                              // subnormal or zero
  }
  IRK_FN static Float16 narrow(float x) {
    const uint32_t u = bits_of(x), sign = (u >> 16) & 0x8000, rest = u & 0x7fffffff;
    if (rest > 0x7f800000) return {uint16_t(sign | 0x7e00)};
    if (rest >= 0x477ff000) return {uint16_t(sign | 0x7c00)};                             // rounds past 65504
    if (rest >= 0x38800000) {
      const uint32_t rounded = rest - (uint32_t(127 - 15) << 23) + 0xfff + ((rest >> 13) & 1);
      return {uint16_t(sign | (rounded >> 13))};
    }
    const float subnormal = float_of(rest) + 0.5f;  // adding 0.5 rounds at 2^-24, ties to even
    return {uint16_t(sign | (bits_of(subnormal) - bits_of(0.5f)))};
  }
};

}  // namespace irk
