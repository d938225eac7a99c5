/* Elementwise bodies.
 *
 * Policy. One output from the inputs at the same place (or row and column); no sums.
 */
#pragma once
#include "mj_base.h"

/* Clipped rectifier min(max(x, 0), 20) (Hannun et al. 2014, section 2). NaN stays NaN, -0 stays -0.
 * The first test is x < 0 by another name: of `x < 0.0f ? 0.0f : x` clang 14 makes Arm's fmax, which
 * turns -0 into +0. */
template <class F> MJ_BODY F mj_clip(F x) {
  x = x <= -1.40129846e-45f ? mj_splat<F>(0.0f) : x; /* the least denormal below 0 */
  return x > 20.0f ? mj_splat<F>(20.0f) : x;
}

/* Its gradient, from the output y: dy inside (0, 20), else +0. A NaN of y passes dy on. */
template <class F> MJ_BODY F mj_clip_backward(F dy, F y) {
  dy = y <= 0.0f ? mj_splat<F>(0.0f) : dy;
  return y >= 20.0f ? mj_splat<F>(0.0f) : dy;
}

/* Add the bias of the column; the second one clips as well. */
template <class F> MJ_BODY F mj_bias(F x, F bias) { return x + bias; }
template <class F> MJ_BODY F mj_bias_clip(F x, F bias) { return mj_clip(x + bias); }

/* Feature normalisation by corpus statistics. */
template <class F> MJ_BODY F mj_normalise(F x, F mean, F scale) { return (x - mean) * scale; }

/* Mean and scale (1 / standard deviation, the deviation taken as at least 1e-3) of `count` values
 * from the sums of their deviations from a center and of the squares of these. The center keeps
 * the difference of squares from cancelling. */
template <class F> MJ_BODY F mj_deviation(F x, F center) { return x - center; }
template <class F> MJ_BODY F mj_square_deviation(F x, F center) { const F d = x - center; return d * d; }
MJ_BODY float mj_mean(float center, float sum, float count) { return center + sum / count; }
MJ_BODY float mj_scale(float sum, float square_sum, float count) {
  const float mean = sum / count;
  const float variance = square_sum / count - mean * mean;
  return 1.0f / mj_sqrt(variance < 1e-6f ? 1e-6f : variance);
}
