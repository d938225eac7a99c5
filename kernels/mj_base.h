/* The floor under every body: number types, fused multiply-add, selection, bit casts.
 *
 * Policy. A body (the text in kernels/, in files *.h) decides every rounding. It is a template on F, the
 * type of a number: `float` on a GPU and in scalar code, `mj_vf` (a vector of MJ_LANES floats)
 * in CPU loops. Lanes are independent outputs; no body ever adds across lanes, so the number of
 * lanes cannot change a bit. Arithmetic is IEEE 754 binary32, round to nearest even, denormals
 * kept; products and sums are fused only where a body writes mj_fma.
 */
#pragma once

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define MJ_GPU 1
#define MJ_BODY static __device__ __forceinline__
#else
#define MJ_GPU 0
#define MJ_BODY static inline __attribute__((always_inline))
#include <stdint.h>
#include <string.h>
#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif
#endif

/* Terms of one chunk of a canonical sum (see mj_sum.h). */
#define MJ_CHUNK 256

typedef int mj_i32;
typedef unsigned int mj_u32;
typedef unsigned long long mj_u64;

/* mj_of<F>::I is the integer type with as many lanes as F; mj_splat<F>(v) is v in every lane. */
MJ_BODY float mj_splat_as(float v, float) { return v; }
template <class F> struct mj_of;
template <> struct mj_of<float> { typedef mj_i32 I; };

#if MJ_GPU

template <class F> MJ_BODY F mj_splat(float v) { return v; }
MJ_BODY float mj_fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
MJ_BODY float mj_sqrt(float x) { return __fsqrt_rn(x); }
MJ_BODY mj_i32 mj_bits(float x) { return __float_as_int(x); }
MJ_BODY float mj_float(mj_i32 b) { return __int_as_float(b); }
MJ_BODY float mj_convert(mj_i32 i) { return __int2float_rn(i); }

#else

#if defined(__AVX512F__)
#define MJ_LANES 16
#elif defined(__AVX__)
#define MJ_LANES 8
#else
#define MJ_LANES 4
#endif

typedef float mj_vf __attribute__((vector_size(MJ_LANES * 4)));
typedef mj_i32 mj_vi __attribute__((vector_size(MJ_LANES * 4)));
template <> struct mj_of<mj_vf> { typedef mj_vi I; };

/* v - (+0) is v for every v, -0 and NaN too; v + (+0) would turn -0 into +0. */
MJ_BODY mj_vf mj_splat_as(float v, mj_vf) { return v - mj_vf{}; }
template <class F> MJ_BODY F mj_splat(float v) { return mj_splat_as(v, F{}); }

MJ_BODY mj_vf mj_load(const float *p) { mj_vf v; memcpy(&v, p, sizeof v); return v; }
MJ_BODY void mj_store(float *p, mj_vf v) { memcpy(p, &v, sizeof v); }

MJ_BODY mj_i32 mj_bits(float x) { mj_i32 b; memcpy(&b, &x, 4); return b; }
MJ_BODY float mj_float(mj_i32 b) { float x; memcpy(&x, &b, 4); return x; }
MJ_BODY float mj_convert(mj_i32 i) { return (float)i; }
MJ_BODY mj_vi mj_bits(mj_vf x) { return (mj_vi)x; }
MJ_BODY mj_vf mj_float(mj_vi b) { return (mj_vf)b; }
MJ_BODY mj_vf mj_convert(mj_vi i) { return __builtin_convertvector(i, mj_vf); }

#if defined(__AVX512F__)
MJ_BODY mj_vf mj_fma(mj_vf a, mj_vf b, mj_vf c) { return (mj_vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
#elif defined(__FMA__)
MJ_BODY mj_vf mj_fma(mj_vf a, mj_vf b, mj_vf c) { return (mj_vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
#elif defined(__aarch64__)
MJ_BODY mj_vf mj_fma(mj_vf a, mj_vf b, mj_vf c) { return (mj_vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
#else
#define MJ_SOFTWARE_FMA 1
/* Fused multiply-add without the instruction. The product of two floats is exact in double. The
 * sum is rounded to odd in double: 53 bits are at least 2*24+2, so the final rounding to float
 * gives what one rounding of the exact value would (Boldo and Melquiond 2008), denormals too. */
typedef double mj_vd __attribute__((vector_size(MJ_LANES * 8)));
typedef long long mj_vl __attribute__((vector_size(MJ_LANES * 8)));
MJ_BODY mj_vf mj_fma(mj_vf a, mj_vf b, mj_vf c) {
  const mj_vd p = __builtin_convertvector(a, mj_vd) * __builtin_convertvector(b, mj_vd);
  const mj_vd z = __builtin_convertvector(c, mj_vd);
  mj_vd s = p + z;
  const mj_vd t = s - p;
  const mj_vd e = (p - (s - t)) + (z - t); /* the exact error of s, NaN if s is not finite */
  const mj_vl inexact = (mj_vl)((e < 0) | (e > 0));
  const mj_vl even = (mj_vl)(((mj_vl)s & 1) == 0);
  const mj_vl away = (mj_vl)((e > 0) == (s > 0)); /* -1: the exact value is larger in magnitude */
  s = (mj_vd)((mj_vl)s + (inexact & even & ((away & 2) - 1)));
  return __builtin_convertvector(s, mj_vf);
}
#endif

#if defined(MJ_SOFTWARE_FMA)
MJ_BODY float mj_fma(float a, float b, float c) {
  return mj_fma(mj_splat<mj_vf>(a), mj_splat<mj_vf>(b), mj_splat<mj_vf>(c))[0];
}
#else
MJ_BODY float mj_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#endif
MJ_BODY float mj_sqrt(float x) { return __builtin_sqrtf(x); }
#if defined(__AVX512F__)
MJ_BODY mj_vf mj_sqrt(mj_vf x) { return (mj_vf)_mm512_maskz_sqrt_ps(0xFFFF, (__m512)x); }
#elif defined(__AVX__)
MJ_BODY mj_vf mj_sqrt(mj_vf x) { return (mj_vf)_mm256_sqrt_ps((__m256)x); }
#else
MJ_BODY mj_vf mj_sqrt(mj_vf x) {
  for (int i = 0; i < MJ_LANES; i++) x[i] = mj_sqrt(x[i]);
  return x;
}
#endif

#endif /* MJ_GPU */

#define MJ_INFINITY (mj_float(0x7F800000))
#define MJ_NAN (mj_float(0x7FC00000))

/* The four operations by name, so that a driver never writes a floating-point operator. */
template <class F> MJ_BODY F mj_add(F a, F b) { return a + b; }
template <class F> MJ_BODY F mj_sub(F a, F b) { return a - b; }
template <class F> MJ_BODY F mj_mul(F a, F b) { return a * b; }
template <class F> MJ_BODY F mj_div(F a, F b) { return a / b; }

/* max keeps a NaN of either side; of equal values (+0, -0) the first. */
template <class F> MJ_BODY F mj_max(F a, F b) { F m = b > a ? b : a; return b != b ? b : m; }

/* The larger and the smaller of two numbers, one instruction each. Where one is NaN, the larger is b
 * and the smaller is a, so that what sorts a pair by both loses neither. */
template <class F> MJ_BODY F mj_larger(F a, F b) { return a > b ? a : b; }
template <class F> MJ_BODY F mj_smaller(F a, F b) { return a > b ? b : a; }
