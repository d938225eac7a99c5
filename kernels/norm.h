/* Bodies of the normalisations: batch norm over a leaf's frames, layer norm over a frame's columns.
 *
 * Policy. The deviation from the mean is scaled first (mj_norm_hat), so that forward and backward
 * see the same bits of it and nobody has to store it. Sums are the drivers', by mj_sum.h: products
 * and squares join them by fma.
 */
#pragma once
#include "elementwise.h"
#include "mj_sum.h"

/* Mean or variance from a sum over `count` numbers; over none it is +0. */
MJ_BODY float mj_mean_over(float sum, mj_i32 count) { return count == 0 ? 0.0f : sum / mj_convert(count); }

/* 1 / standard deviation of a variance. */
MJ_BODY float mj_norm_rstd(float variance) { return 1.0f / mj_sqrt(variance + 1e-5f); }

/* One term of a sum of squared deviations. */
template <class F> MJ_BODY F mj_term_deviation(F acc, F x, F mean) {
  const F d = x - mean;
  return mj_term_product(acc, d, d);
}

template <class F> MJ_BODY F mj_norm_hat(F x, F mean, F rstd) { return (x - mean) * rstd; }
template <class F> MJ_BODY F mj_norm_affine(F hat, F gain, F bias) { return mj_fma(gain, hat, bias); }
template <class F> MJ_BODY F mj_norm_rectify(F hat, F gain, F bias) { return mj_rectify(mj_norm_affine(hat, gain, bias)); }

/* The gradient before the scale, from that behind it and the means of it and of it times hat. */
template <class F> MJ_BODY F mj_norm_backward(F scale, F dy, F hat, F mean, F mean_hat) {
  return scale * (dy - mj_fma(hat, mean_hat, mean));
}

/* A running statistic goes the fraction `rate` of the way to the mean of `count` leaves' statistics. Where
 * that is not finite it stays: a step can be finite although a variance is not, for then rstd is 0. */
MJ_BODY float mj_running(float running, float sum, float count, float rate) {
  return sum - sum == 0.0f ? mj_fma(rate, sum / count - running, running) : running;
}
