/* Elementwise bodies.
 *
 * Policy. One output from the inputs at the same place (or row and column); no sums.
 */
#pragma once
#include "mj_base.h"

/* Clipped rectifier min(max(x, 0), 20) (Hannun et al. 2014, section 2). NaN stays NaN, -0 stays -0.
 * The first test is x < 0 by another name: of `x < 0.0f ? 0.0f : x` clang 14 makes Arm's fmax, which
 * turns -0 into +0. */
template <class F> MJ_BODY F mj_rectify(F x) {
  x = x <= -1.40129846e-45f ? mj_splat<F>(0.0f) : x; /* the least denormal below 0 */
  return x > 20.0f ? mj_splat<F>(20.0f) : x;
}

/* Its gradient, from the output y: dy inside (0, 20), else +0. A NaN of y passes dy on. */
template <class F> MJ_BODY F mj_rectify_backward(F dy, F y) {
  dy = y <= 0.0f ? mj_splat<F>(0.0f) : dy;
  return y >= 20.0f ? mj_splat<F>(0.0f) : dy;
}

/* Add the bias of the column; the second one clips as well. */
template <class F> MJ_BODY F mj_bias(F x, F bias) { return x + bias; }
template <class F> MJ_BODY F mj_bias_rectify(F x, F bias) { return mj_rectify(x + bias); }

/* Feature normalisation by corpus statistics. */
template <class F> MJ_BODY F mj_normalise(F x, F mean, F scale) { return (x - mean) * scale; }
