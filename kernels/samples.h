/* Samples of sound: how 16 bits stand for them, and how augmentation changes them.
 *
 * Policy. A sample is a number whose full scale is 1. Speed is a ratio of whole numbers over / under, so
 * where an output lies between its inputs is calculated in integers.
 */
#pragma once
#include "mj_math.h"
#include "mj_sum.h"

/* A sample of 16 bits as a number, exactly; and the nearest of 16 bits to a number, of two the even
 * one, beyond full scale the largest. */
MJ_BODY float mj_sample(mj_i32 pcm) { return mj_convert(pcm) * 3.0517578125e-5f; }
MJ_BODY mj_i32 mj_pcm(float x) {
  x = x * 32768.0f;
  x = x < -32768.0f ? -32768.0f : x;
  x = x > 32767.0f ? 32767.0f : x;
  return mj_bits(x + 12582912.0f) - 0x4B400000; /* 1.5 * 2^23: adding it rounds to an integer */
}

/* Low-pass filter of a change of speed: a sinc under a Hann window of MJ_SINC_HALF samples on either
 * side, which lets 15/16 of the narrower band pass; at the distance n / under, |n| <= MJ_SINC_HALF * under.
 * (J. O. Smith, Digital Audio Resampling.) */
#define MJ_SINC_HALF 32
MJ_BODY float mj_sinc_tap(mj_i32 n, mj_i32 over, mj_i32 under) {
  if (n < 0) n = -n;
  const mj_i32 wider = over > under ? over : under, q = 16 * wider, p = 15 * n; /* the sinc's argument is pi p / q */
  const float x = 3.14159274f * (mj_convert(p) / mj_convert(q));
  const float sinc = n == 0 ? 1.0f : mj_sinpi(p % (2 * q), q) / x;
  const float window = mj_fma(mj_cospi(n, MJ_SINC_HALF * under), 0.5f, 0.5f);
  return mj_convert(15 * under) / mj_convert(q) * sinc * window;
}

/* A level between two, in decibels, by 24 of 32 random bits; and what it is as a ratio of amplitudes. */
MJ_BODY float mj_level(float low, float high, mj_u32 bits) {
  return mj_fma(high - low, mj_convert((mj_i32)(bits >> 8)) * 5.9604644775390625e-8f, low);
}
MJ_BODY float mj_amplitude(float decibels) { return mj_exp(decibels * 0.115129255f); }

/* What noise is multiplied by to lie under the sound by a ratio of amplitudes, from the sums of their
 * squares; +0 if the noise is silent. */
MJ_BODY float mj_noise_factor(float squares, float noise_squares, float ratio) {
  return noise_squares > 0.0f ? mj_sqrt(squares / noise_squares) / ratio : 0.0f;
}
template <class F> MJ_BODY F mj_noisy(F x, F noise, F factor) { return mj_fma(noise, factor, x); }
