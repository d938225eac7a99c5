/* Elementary functions of our own: the same bits on every CPU and GPU.
 *
 * Policy. Range reduction and polynomials are fma chains; no libm. The error of each function is
 * stated in ulp and measured against float64 by tests/kernels/test_math.py. Coefficients of exp, log,
 * sin and cos are the minimax ones of the Cephes library (Moshier, single precision).
 */
#pragma once
#include "mj_base.h"

/* exp(x) = (1 + y) * 2^n: y in about [-0.3, 0.42), for |x| up to some hundreds. */
template <class F> struct mj_scaled { F y; typename mj_of<F>::I n; };
template <class F> MJ_BODY mj_scaled<F> mj_exp_parts(F x) {
  const F shifter = mj_splat<F>(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
  const F t = mj_fma(x, mj_splat<F>(1.44269504f), shifter);
  const F k = t - shifter;
  F r = mj_fma(k, mj_splat<F>(-0.693359375f), x);
  r = mj_fma(k, mj_splat<F>(2.12194440e-4f), r);
  F p = mj_splat<F>(1.9875691500e-4f);
  p = mj_fma(p, r, mj_splat<F>(1.3981999507e-3f));
  p = mj_fma(p, r, mj_splat<F>(8.3334519073e-3f));
  p = mj_fma(p, r, mj_splat<F>(4.1665795894e-2f));
  p = mj_fma(p, r, mj_splat<F>(1.6666665459e-1f));
  p = mj_fma(p, r, mj_splat<F>(5.0000001201e-1f));
  return {mj_fma(p, r * r, r), mj_bits(t) - 0x4B400000};
}

/* exp(x). Error < 1.1 ulp; 0 below -103.98, infinity above 88.72; NaN stays NaN. */
template <class F> MJ_BODY F mj_exp(F x) {
  typedef typename mj_of<F>::I I;
  x = x < -104.0f ? mj_splat<F>(-104.0f) : x;
  x = x > 89.0f ? mj_splat<F>(89.0f) : x;
  const mj_scaled<F> e = mj_exp_parts(x);
  /* 2^n in two factors, so that a denormal result is rounded once, by the last product. */
  const I half = e.n >> 1;
  return (e.y + 1.0f) * mj_float((half + 127) << 23) * mj_float((e.n - half + 127) << 23);
}

/* exp(x) for x <= 0, 0 below -87: the same bits as mj_exp from -87 on, in fewer operations. */
template <class F> MJ_BODY F mj_exp_negative(F x) {
  const F bounded = x < -87.0f ? mj_splat<F>(-87.0f) : x;
  const mj_scaled<F> e = mj_exp_parts(bounded);
  const F y = (e.y + 1.0f) * mj_float((e.n + 127) << 23);
  return x < -87.0f ? mj_splat<F>(0.0f) : y;
}

/* 1 / (1 + exp(-x)). Error < 2.5 ulp down to -88.72, below that 0; 1 from 16.64 on; rises with x. */
template <class F> MJ_BODY F mj_sigmoid(F x) { return 1.0f / (mj_exp(-x) + 1.0f); }

/* tanh(x) = -e / (2 + e) with e = exp(-2 |x|) - 1. Error < 2.5 ulp; odd, -0 stays -0; +-1 beyond 9.02;
 * rises with x. e keeps its digits near 0, since the exponential's 1 is never added there (n is 0). */
template <class F> MJ_BODY F mj_tanh(F x) {
  const F size = mj_float(mj_bits(x) & 0x7FFFFFFF);
  const mj_scaled<F> part = mj_exp_parts((size > 10.0f ? mj_splat<F>(10.0f) : size) * -2.0f);
  const F scale = mj_float((part.n + 127) << 23);
  const F e = mj_fma(scale, part.y, scale - 1.0f);
  const F y = e / (-2.0f - e);
  return mj_float((mj_bits(y) & 0x7FFFFFFF) | (mj_bits(x) & ~0x7FFFFFFF));
}

/* log(x) for a positive, finite x that is no denormal, plus k * log(2). Error < 1 ulp. */
template <class F> MJ_BODY F mj_log_normal(F x, F k) {
  typedef typename mj_of<F>::I I;
  const I b = mj_bits(x);
  const I e = (b - 0x3F3504F3) >> 23; /* so that the mantissa lies in [sqrt(1/2), sqrt(2)) */
  const F f = mj_float(b - (e << 23)) - 1.0f;
  k = mj_convert(e) + k;
  F p = mj_splat<F>(7.0376836292e-2f);
  p = mj_fma(p, f, mj_splat<F>(-1.1514610310e-1f));
  p = mj_fma(p, f, mj_splat<F>(1.1676998740e-1f));
  p = mj_fma(p, f, mj_splat<F>(-1.2420140846e-1f));
  p = mj_fma(p, f, mj_splat<F>(1.4249322787e-1f));
  p = mj_fma(p, f, mj_splat<F>(-1.6668057665e-1f));
  p = mj_fma(p, f, mj_splat<F>(2.0000714765e-1f));
  p = mj_fma(p, f, mj_splat<F>(-2.4999993993e-1f));
  p = mj_fma(p, f, mj_splat<F>(3.3333331174e-1f));
  const F z = f * f;
  F y = mj_fma(p, f * z, k * -2.12194440e-4f);
  y = mj_fma(z, mj_splat<F>(-0.5f), y);
  return mj_fma(k, mj_splat<F>(0.693359375f), y + f);
}

/* log(x). Error < 1 ulp; -infinity at 0, NaN below 0; denormals are exact arguments. */
template <class F> MJ_BODY F mj_log(F x) {
  const F scaled = x < 1.17549435e-38f ? x * 8388608.0f : x;
  F y = mj_log_normal(scaled, x < 1.17549435e-38f ? mj_splat<F>(-23.0f) : mj_splat<F>(0.0f));
  const F infinity = mj_splat<F>(MJ_INFINITY);
  y = x == infinity ? infinity : y;
  y = x == 0.0f ? mj_splat<F>(-MJ_INFINITY) : y;
  y = x < 0.0f ? mj_splat<F>(MJ_NAN) : y;
  return x != x ? x : y;
}

/* The function of that number: exp, log, sigmoid, tanh. */
template <class F> MJ_BODY F mj_math(long long function, F x) {
  if (function == 0) return mj_exp(x);
  if (function == 1) return mj_log(x);
  return function == 2 ? mj_sigmoid(x) : mj_tanh(x);
}

/* cos(pi*p/q) and sin(pi*p/q) of a fraction, 0 <= p < 2q: the reduction to [0, pi/4] is exact
 * in integers, so the quarter points are exact. Error < 1.5 ulp. */
MJ_BODY float mj_cos_small(float x) {
  const float z = x * x;
  float p = mj_fma(2.443315711809948e-5f, z, -1.388731625493765e-3f);
  p = mj_fma(p, z, 4.166664568298827e-2f);
  return mj_fma(p * z, z, mj_fma(z, -0.5f, 1.0f));
}
MJ_BODY float mj_sin_small(float x) {
  const float z = x * x;
  float p = mj_fma(-1.9515295891e-4f, z, 8.3321608736e-3f);
  p = mj_fma(p, z, -1.6666654611e-1f);
  return mj_fma(p * z, x, x);
}
MJ_BODY float mj_cospi(mj_i32 p, mj_i32 q) {
  if (p > q) p = 2 * q - p;             /* cos(2pi - x) = cos(x) */
  const bool negative = 2 * p > q;      /* cos(pi - x) = -cos(x) */
  if (negative) p = q - p;
  const float pi = 3.14159274f;
  const float c = 4 * p <= q ? mj_cos_small(pi * (mj_convert(p) / mj_convert(q)))
                             : mj_sin_small(pi * (mj_convert(q - 2 * p) / mj_convert(2 * q)));
  return negative ? -c : c;
}
MJ_BODY float mj_sinpi(mj_i32 p, mj_i32 q) { /* sin(pi p/q) = cos(pi (p/q - 1/2)) */
  mj_i32 r = 2 * p - q;
  if (r < 0) r = -r;
  return mj_cospi(r, 2 * q);
}
