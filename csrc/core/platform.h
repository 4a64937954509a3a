// The only file that asks which compiler and which machine is reading.
#pragma once

#define IRK_EXPORT extern "C" __attribute__((visibility("default")))

// IRK_FN: what a member of a team runs, on whichever machine. IRK_ONE_LANE: a pack is a single number, lanes are threads.
// IRK_APART: compiled once, for all who call it. IRK_INLINE: into each of them, so that packs stay in registers.
#define IRK_INLINE inline __attribute__((always_inline))
#if defined(__CUDACC__)
#define IRK_FN __host__ __device__
#define IRK_APART __noinline__
#define IRK_ONE_LANE 1
#else
#define IRK_FN
#define IRK_APART __attribute__((noinline))
#if defined(IRK_SIMT)
#define IRK_ONE_LANE 1
#endif
#endif

// IRK_UNROLL: before a loop whose numbers are to lie in registers; IRK_ROLLED: before one that is not to be written out.
#if defined(__CUDA_ARCH__)
#define IRK_UNROLL _Pragma("unroll")
#define IRK_ROLLED _Pragma("unroll 1")
#else
#define IRK_UNROLL
#define IRK_ROLLED
#endif

#if defined(__CUDA_ARCH__)
#define IRK_FMA(a, b, c) __fma_rn(a, b, c)
#define IRK_FMAF(a, b, c) __fmaf_rn(a, b, c)
#else
#define IRK_FMA(a, b, c) __builtin_fma(a, b, c)
#define IRK_FMAF(a, b, c) __builtin_fmaf(a, b, c)
#endif

#if defined(IRK_ONE_LANE)
#define IRK_VECTOR_BYTES 0
#define IRK_VECTOR_REGISTERS 16
#elif defined(__AVX512F__) && defined(__AVX512DQ__)
#include <immintrin.h>
#define IRK_AVX512 1
#define IRK_VECTOR_BYTES 64
#define IRK_VECTOR_REGISTERS 32
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define IRK_AVX2 1
#define IRK_VECTOR_BYTES 32
#define IRK_VECTOR_REGISTERS 16
#else
#define IRK_VECTOR_BYTES 16
#define IRK_VECTOR_REGISTERS 16
#endif

#if defined(__x86_64__)
#define IRK_RELAX() __builtin_ia32_pause()
#else
#define IRK_RELAX() ((void)0)
#endif
