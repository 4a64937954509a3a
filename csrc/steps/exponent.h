// Power-of-two exponents beside tensors that are products of many factors, so that these neither over- nor underflow:
// the number meant is c * 2^e, one e for each index of `outer`. Scaling is exact, but where a number leaves the normal range.
#pragma once
#include <cstring>

#include "steps/walk.h"
#include "team/team.h"

namespace irk {

template <class T>
struct Format;
template <>
struct Format<float> {
  using Bits = uint32_t;
  static constexpr int kMantissa = 23, kBias = 127, kSpecial = 255;
};
template <>
struct Format<double> {
  using Bits = uint64_t;
  static constexpr int kMantissa = 52, kBias = 1023, kSpecial = 2047;
};

// 2^e, for a normal result.
template <class T>
IRK_FN inline T power_of_two(int e) {
  using F = Format<T>;
  const auto bits = typename F::Bits(e + F::kBias) << F::kMantissa;
  T x;
  std::memcpy(&x, &bits, sizeof(T));
  return x;
}

constexpr int kNothing = -(1 << 23);  // the exponent of zeros, so that they weigh nothing: below what 2000 factors can have

// e with 2^e <= |x| < 2^(e + 1), within the powers that are normal numbers; 0 for 0, infinity and NaN.
template <class T>
IRK_FN inline int exponent_of(T x) {
  using F = Format<T>;
  typename F::Bits bits;
  std::memcpy(&bits, &x, sizeof(T));
  const int field = int(bits >> F::kMantissa & F::kSpecial), e = field - F::kBias, most = F::kBias - 1;
  const bool zero = typename F::Bits(bits << 1) == 0;  // as an integer: so the loop is vectorised
  return zero || field == F::kSpecial ? 0 : e < -most ? -most : e > most ? most : e;
}

// x * 2^e in two halves: an exponent beyond twice the range gives 0 or infinity either way.
template <class T>
IRK_FN inline T scaled(T x, T e) {
  constexpr int kMost = 2 * (Format<T>::kBias - 1);
  const int whole = e < T(-kMost) ? -kMost : e > T(kMost) ? kMost : int(e), half = whole / 2;
  return x * power_of_two<T>(half) * power_of_two<T>(whole - half);
}

// f(walk) at a member's share of the indices of `outer`.
template <class F>
IRK_FN void each_outer(const Step& step, const Loop* pool, const Team& team, F&& f) {
  Walk outer(pool, step.outer);
  const int64_t total = outer.size(), last = team.end(total);
  outer.seek(team.begin(total));
  for (int64_t i = team.begin(total); i < last; ++i, outer.next()) f(outer);
}

// f(i) for a member's share where tensors and exponents are the same numbers in a row; false where they are not.
template <class F>
IRK_FN bool each_alike(const Step& step, const Loop* pool, const Team& team, F&& f) {
  if (step.k.count != 0 || step.outer.count != 1) return false;
  const Loop& loop = pool[step.outer.first];
  if (loop.a != 1 || loop.b != 1 || loop.c != 1) return false;
  const int64_t last = team.end(loop.extent);
  for (int64_t i = team.begin(loop.extent); i < last; ++i) f(i);
  return true;
}

template <class T>
IRK_FN void exponents_step(const Step& step, const Loop* pool, const T* a, const T* b, T* c, const Team& team) {
  if (step.count == 2 && each_alike(step, pool, team, [&](int64_t i) { c[i] = a[i] + b[i]; })) return;
  each_outer(step, pool, team, [&](const Walk& at) {
    c[at.c] = step.count == 2 ? a[at.a] + b[at.b] : step.count == 1 ? a[at.a] : T(0);
  });
}

template <class T>
IRK_FN void normalize_step(const Step& step, const Loop* pool, T* b, T* c, const Team& team) {
  const auto alone = [&](int64_t i) {
    const int e = exponent_of(c[i]);
    c[i] *= power_of_two<T>(-e);
    b[i] += T(c[i] == 0 ? kNothing : e);
  };
  if (each_alike(step, pool, team, alone)) return;
  Walk k(pool, step.k);
  const int64_t width = k.size();
  each_outer(step, pool, team, [&](const Walk& at) {
    T most = T(0);
    for (int64_t j = 0; j < width; ++j, k.next()) {
      const T size = c[at.c + k.c] < 0 ? -c[at.c + k.c] : c[at.c + k.c];
      if (!(size <= most)) most = size;  // NaN stays
    }
    const int e = exponent_of(most);
    b[at.b] += T(most == 0 ? kNothing : e);
    if (!e) return;
    const T factor = power_of_two<T>(-e);
    for (int64_t j = 0; j < width; ++j, k.next()) c[at.c + k.c] *= factor;
  });
}

template <class T>
IRK_FN void level_step(const Step& step, const Loop* pool, T* b, T* c, const Team& team) {
  Walk k(pool, step.k);
  const int64_t width = k.size();
  each_outer(step, pool, team, [&](const Walk& at) {
    T most = b[at.b];
    for (int64_t j = 0; j < width; ++j, k.next())
      if (b[at.b + k.b] > most) most = b[at.b + k.b];
    for (int64_t j = 0; j < width; ++j, k.next()) b[at.b + k.b] -= most;
    c[at.c] = most;
  });
}

template <class T>
IRK_FN void scale_step(const Step& step, const Loop* pool, const T* a, const T* b, T* c, const Team& team) {
  if (each_alike(step, pool, team, [&](int64_t i) { c[i] = scaled(a[i], b[i]); })) return;
  Walk k(pool, step.k);
  const int64_t width = k.size();
  each_outer(step, pool, team, [&](const Walk& at) {
    for (int64_t j = 0; j < width; ++j, k.next()) c[at.c + k.c] = scaled(a[at.a + k.a], b[at.b]);
  });
}

}  // namespace irk
