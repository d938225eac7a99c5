/* Optimizer bodies: clipping by the gradient's norm, Nesterov momentum, learning-rate schedule.
 *
 * Policy. One parameter at a time from its own gradient; the norm is a canonical sum of squares.
 */
#pragma once
#include "mj_base.h"

/* Factor that brings a gradient of this square sum to a norm of at most `limit`. */
MJ_BODY float mj_norm(float square_sum) { return mj_sqrt(square_sum); }
MJ_BODY float mj_norm_factor(float norm, float limit) { return norm > limit ? limit / norm : 1.0f; }

/* Nesterov momentum in the form of Sutskever et al. 2013 as PyTorch has it:
 * v = momentum * v + g; p = p - rate * (g + momentum * v), g the clipped gradient plus decay * p. */
template <class F> struct mj_nesterov_state { F parameter, velocity; };
template <class F>
MJ_BODY mj_nesterov_state<F> mj_nesterov(F parameter, F velocity, F gradient, F factor, F rate, F momentum, F decay) {
  const F g = mj_fma(decay, parameter, gradient * factor);
  const F v = mj_fma(momentum, velocity, g);
  const F step = mj_fma(momentum, v, g);
  return {mj_fma(mj_sub(mj_splat<F>(0.0f), rate), step, parameter), v};
}

/* Learning rate of a step: linear warm-up over the first `warmup` steps, then a constant rate
 * that is multiplied by `anneal` for each finished epoch beyond `hold` of them. */
MJ_BODY float mj_learning_rate(float rate, float anneal, mj_i32 epoch, mj_i32 hold, mj_i32 step, mj_i32 warmup) {
  for (mj_i32 e = hold; e < epoch; e++) rate = rate * anneal;
  return step < warmup ? rate * (mj_convert(step + 1) / mj_convert(warmup)) : rate;
}
