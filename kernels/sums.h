/* What is summed over frames, and what becomes of the sums: mean and scale of each feature.
 *
 * Policy. The order of the sums themselves is that of mj_sum.h.
 */
#pragma once
#include "mj_sum.h"

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
