// A pack: W lanes of one scalar type in a vector register, and the only fma of the package.
// Lanes never mix in arithmetic, so a result does not depend on W; the reductions that do mix them are in steps/dot.h.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/platform.h"

namespace irk {

IRK_FN inline float fma(float a, float b, float c) { return IRK_FMAF(a, b, c); }
IRK_FN inline double fma(double a, double b, double c) { return IRK_FMA(a, b, c); }

#if defined(IRK_ONE_LANE)
template <class T>
struct Pack {
  static constexpr int kLanes = 1;
  T v;

  IRK_FN static Pack zero() { return {T(0)}; }
  IRK_FN static Pack nothing() { return {T(-0.0)}; }
  IRK_FN static Pack broadcast(T x) { return {x}; }
  IRK_FN static Pack load(const T* p, int = 1) { return {*p}; }
  IRK_FN void store(T* p, int = 1) const { *p = v; }
  IRK_FN Pack operator+(Pack o) const { return {v + o.v}; }
  IRK_FN Pack operator-(Pack o) const { return {v - o.v}; }
  IRK_FN Pack operator*(Pack o) const { return {v * o.v}; }
  IRK_FN Pack operator/(Pack o) const { return {v / o.v}; }
};

template <class T>
IRK_FN inline Pack<T> fma(Pack<T> a, Pack<T> b, Pack<T> c) {
  return {fma(a.v, b.v, c.v)};
}
template <class T>
IRK_FN inline Pack<T> sqrt(Pack<T> a) {
  return {std::sqrt(a.v)};
}
template <class T>
IRK_FN inline void transpose(Pack<T>*) {}
#else

template <class T>
struct Pack {
  static constexpr int kLanes = IRK_VECTOR_BYTES / sizeof(T);
  typedef T Vector __attribute__((vector_size(IRK_VECTOR_BYTES)));
  typedef T Unaligned __attribute__((vector_size(IRK_VECTOR_BYTES), aligned(alignof(T)), may_alias));
  Vector v;

  static Pack zero() { return {Vector{}}; }
  static Pack nothing() { return {-Vector{}}; }  // what sums of products begin from: x + -0 is x, bit for bit
  static Pack broadcast(T x) { return {x - Vector{}}; }  // x - 0 is x, bit for bit
  static Pack load(const T* p) { return {(Vector) * reinterpret_cast<const Unaligned*>(p)}; }
  void store(T* p) const { *reinterpret_cast<Unaligned*>(p) = (Unaligned)v; }
  static Pack load(const T* p, int lanes);  // the first `lanes` only, zero beyond; reads nothing past them
  void store(T* p, int lanes) const;        // writes the first `lanes` only
  Pack operator+(Pack o) const { return {v + o.v}; }
  Pack operator-(Pack o) const { return {v - o.v}; }
  Pack operator*(Pack o) const { return {v * o.v}; }
  Pack operator/(Pack o) const { return {v / o.v}; }
};

template <class T>
inline Pack<T> fma(Pack<T> a, Pack<T> b, Pack<T> c) {
  for (int i = 0; i < Pack<T>::kLanes; ++i) c.v[i] = fma(a.v[i], b.v[i], c.v[i]);
  return c;
}
template <class T>
inline Pack<T> sqrt(Pack<T> a) {
  for (int i = 0; i < Pack<T>::kLanes; ++i) a.v[i] = std::sqrt(a.v[i]);
  return a;
}
template <class T>
inline Pack<T> Pack<T>::load(const T* p, int lanes) {
  Vector v{};
  std::memcpy(&v, p, sizeof(T) * lanes);
  return {v};
}
template <class T>
inline void Pack<T>::store(T* p, int lanes) const {
  std::memcpy(p, &v, sizeof(T) * lanes);
}

#if defined(IRK_AVX512)
template <>
inline Pack<float> fma(Pack<float> a, Pack<float> b, Pack<float> c) {
  return {(Pack<float>::Vector)_mm512_fmadd_ps((__m512)a.v, (__m512)b.v, (__m512)c.v)};
}
template <>
inline Pack<double> fma(Pack<double> a, Pack<double> b, Pack<double> c) {
  return {(Pack<double>::Vector)_mm512_fmadd_pd((__m512d)a.v, (__m512d)b.v, (__m512d)c.v)};
}
template <>
inline Pack<float> sqrt(Pack<float> a) {
  return {(Pack<float>::Vector)_mm512_maskz_sqrt_ps(0xffff, (__m512)a.v)};
}
template <>
inline Pack<double> sqrt(Pack<double> a) {
  return {(Pack<double>::Vector)_mm512_maskz_sqrt_pd(0xff, (__m512d)a.v)};
}
template <>
inline Pack<float> Pack<float>::load(const float* p, int lanes) {
  return {(Vector)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << lanes) - 1), p)};
}
template <>
inline Pack<double> Pack<double>::load(const double* p, int lanes) {
  return {(Vector)_mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << lanes) - 1), p)};
}
template <>
inline void Pack<float>::store(float* p, int lanes) const {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << lanes) - 1), (__m512)v);
}
template <>
inline void Pack<double>::store(double* p, int lanes) const {
  _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << lanes) - 1), (__m512d)v);
}
#elif defined(IRK_AVX2)
inline __m256i lane_mask32(int lanes) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline __m256i lane_mask64(int lanes) {
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x(lanes), _mm256_setr_epi64x(0, 1, 2, 3));
}
template <>
inline Pack<float> fma(Pack<float> a, Pack<float> b, Pack<float> c) {
  return {(Pack<float>::Vector)_mm256_fmadd_ps((__m256)a.v, (__m256)b.v, (__m256)c.v)};
}
template <>
inline Pack<double> fma(Pack<double> a, Pack<double> b, Pack<double> c) {
  return {(Pack<double>::Vector)_mm256_fmadd_pd((__m256d)a.v, (__m256d)b.v, (__m256d)c.v)};
}
template <>
inline Pack<float> sqrt(Pack<float> a) {
  return {(Pack<float>::Vector)_mm256_sqrt_ps((__m256)a.v)};
}
template <>
inline Pack<double> sqrt(Pack<double> a) {
  return {(Pack<double>::Vector)_mm256_sqrt_pd((__m256d)a.v)};
}
template <>
inline Pack<float> Pack<float>::load(const float* p, int lanes) {
  return {(Vector)_mm256_maskload_ps(p, lane_mask32(lanes))};
}
template <>
inline Pack<double> Pack<double>::load(const double* p, int lanes) {
  return {(Vector)_mm256_maskload_pd(p, lane_mask64(lanes))};
}
// In pieces: a masked store takes tens of cycles on some machines.
template <>
inline void Pack<float>::store(float* p, int lanes) const {
  if (lanes == kLanes) return store(p);
  __m128 part = _mm256_castps256_ps128((__m256)v);
  if (lanes & 4) {
    _mm_storeu_ps(p, part);
    p += 4;
    part = _mm256_extractf128_ps((__m256)v, 1);
  }
  if (lanes & 2) {
    _mm_storel_pi(reinterpret_cast<__m64*>(p), part);
    p += 2;
    part = _mm_movehl_ps(part, part);
  }
  if (lanes & 1) _mm_store_ss(p, part);
}
template <>
inline void Pack<double>::store(double* p, int lanes) const {
  if (lanes == kLanes) return store(p);
  __m128d part = _mm256_castpd256_pd128((__m256d)v);
  if (lanes & 2) {
    _mm_storeu_pd(p, part);
    p += 2;
    part = _mm256_extractf128_pd((__m256d)v, 1);
  }
  if (lanes & 1) _mm_store_sd(p, part);
}
#endif

// Transposes the kLanes x kLanes square held in rows[0..kLanes): log2(kLanes) rounds of pairwise exchanges.
template <class T>
inline void transpose(Pack<T>* rows) {
  constexpr int W = Pack<T>::kLanes;

  using Index = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  typedef Index Mask __attribute__((vector_size(IRK_VECTOR_BYTES)));
#pragma GCC unroll 4
  for (int s = 1; s < W; s *= 2) {
    Mask low{}, high{};
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) {
      low[i] = (i & s) ? W + (i ^ s) : i;
      high[i] = (i & s) ? W + i : (i ^ s);
    }
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) {
      if (i & s) continue;
      const auto a = rows[i].v, b = rows[i | s].v;
      rows[i].v = __builtin_shuffle(a, b, low);
      rows[i | s].v = __builtin_shuffle(a, b, high);
    }
  }
}

// Runs of 2 * kHalf lanes of a, then of b, become runs of kHalf lanes: lane i of a run plus lane i + kHalf.
template <int kHalf, class T, size_t... kLane>
inline Pack<T> halve_two(Pack<T> a, Pack<T> b, std::index_sequence<kLane...>) {
  using Index = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  typedef Index Mask __attribute__((vector_size(IRK_VECTOR_BYTES)));
  constexpr int h = kHalf;
  constexpr Mask low{(int(kLane) / h * 2 * h + int(kLane) % h)...}, high{(int(kLane) / h * 2 * h + int(kLane) % h + h)...};
  return {__builtin_shuffle(a.v, b.v, low) + __builtin_shuffle(a.v, b.v, high)};
}

// The halving tree over the lanes of several packs at once, from runs of 2 * kHalf lanes on: each round makes one pack of two.
// 2 * kHalf packs end as the sum of each run, in order.
template <class T, int kHalf = Pack<T>::kLanes / 2, int kPacks = 2 * kHalf>
inline Pack<T> halve_lanes(Pack<T>* sums) {
  if constexpr (kPacks > 1) {
#pragma GCC unroll 8
    for (int i = 0; i < kPacks / 2; ++i)
      sums[i] = halve_two<kHalf>(sums[2 * i], sums[2 * i + 1], std::make_index_sequence<Pack<T>::kLanes>{});
    return halve_lanes<T, kHalf / 2, kPacks / 2>(sums);
  }
  return sums[0];
}

#endif

// Entry by entry, the first where they are equal.
template <class T>
IRK_FN inline Pack<T> larger(Pack<T> a, Pack<T> b) {
  return {b.v > a.v ? b.v : a.v};
}
template <class T>
IRK_FN inline Pack<T> smaller(Pack<T> a, Pack<T> b) {
  return {b.v < a.v ? b.v : a.v};
}

}  // namespace irk
