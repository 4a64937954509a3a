// The only file that asks which compiler and which machine is reading.
#pragma once

#define IRK_EXPORT extern "C" __attribute__((visibility("default")))

#if defined(__AVX512F__) && defined(__AVX512DQ__)
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
