/* Log power spectrogram of a frame: Hann window, Fourier transform, logarithm.
 *
 * Policy. A Stockham transform of mixed radix: at each stage the smallest prime factor r is taken
 * off, and each output is the sum over i = 0..r-1 in ascending order. Lanes are frames. All
 * roots of unity come from one table, made by mj_cospi and mj_sinpi.
 */
#pragma once
#include "mj_math.h"
#include "mj_sum.h"

/* Periodic Hann window, sample i of n. */
MJ_BODY float mj_hann(mj_i32 i, mj_i32 n) { return mj_fma(mj_cospi(2 * i % (2 * n), n), -0.5f, 0.5f); }

/* One butterfly output: (sum_i (re_i, im_i) * w^(i*j)) * t, root and twiddle from the table. */
template <class F> struct mj_complex { F re, im; };
template <class F> MJ_BODY mj_complex<F> mj_complex_term(mj_complex<F> acc, mj_complex<F> x, float cos, float sin) {
  const F c = mj_splat<F>(cos), s = mj_splat<F>(sin), minus_s = mj_splat<F>(-sin);
  return {mj_fma(x.im, s, mj_fma(x.re, c, acc.re)), mj_fma(x.re, minus_s, mj_fma(x.im, c, acc.im))};
}
template <class F> MJ_BODY mj_complex<F> mj_complex_turn(mj_complex<F> x, float cos, float sin) {
  const mj_complex<F> zero = {mj_splat<F>(0.0f), mj_splat<F>(0.0f)};
  return mj_complex_term(zero, x, cos, sin);
}

/* log(|X|^2 + 1e-6): the floor is about the power of half a quantisation step of 16-bit audio. */
template <class F> MJ_BODY F mj_log_power(mj_complex<F> x) {
  return mj_log(mj_fma(x.im, x.im, x.re * x.re) + 1e-6f);
}
