/* Optimizer bodies: clipping by the gradient's norm, the optimizers' steps, learning-rate schedule.
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

/* Share of the first `step` gradients in a moving average that started at 0, 1 - beta^step: Adam
 * divides by it. Nothing cancels: by bits of `step`, w(2n) = 2 w(n) - w(n)^2 and
 * w(n + 1) = beta w(n) + (1 - beta). An operation adds 2^-24 to the relative error and passes the
 * rest on undiminished at most, so it is below 62 * 2^-24. */
MJ_BODY float mj_moment_weight(float beta, mj_i32 step) {
  float weight = 0.0f;
  for (int bit = 30; bit >= 0; bit--) {
    weight = mj_fma(-weight, weight, 2.0f * weight);
    if (step >> bit & 1) weight = mj_fma(beta, weight, 1.0f - beta);
  }
  return weight;
}

/* Adam (Kingma and Ba 2015) with decoupled decay (Loshchilov and Hutter 2019) as PyTorch's AdamW has
 * it, g the clipped gradient: m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g^2;
 * p = p - rate * ((m / weight1) / (sqrt(v / weight2) + epsilon) + decay * p). */
template <class F> struct mj_adam_state { F parameter, first, second; };
template <class F>
MJ_BODY mj_adam_state<F> mj_adam(F parameter, F first, F second, F gradient, F factor, F rate, F weight1, F weight2, F beta1,
                                 F beta2, F epsilon, F decay) {
  const F one = mj_splat<F>(1.0f), g = gradient * factor;
  const F m = mj_fma(beta1, first, (one - beta1) * g);
  const F v = mj_fma(beta2, second, (one - beta2) * (g * g));
  const F step = mj_fma(decay, parameter, m / weight1 / (mj_sqrt(v / weight2) + epsilon));
  return {mj_fma(mj_sub(mj_splat<F>(0.0f), rate), step, parameter), m, v};
}

/* Adagrad (Duchi et al. 2011): s = s + g^2; p = p - rate * g / (sqrt(s) + epsilon), g the clipped
 * gradient plus decay * p. */
template <class F> struct mj_adagrad_state { F parameter, squares; };
template <class F>
MJ_BODY mj_adagrad_state<F> mj_adagrad(F parameter, F squares, F gradient, F factor, F rate, F epsilon, F decay) {
  const F g = mj_fma(decay, parameter, gradient * factor);
  const F s = mj_fma(g, g, squares);
  const F step = g / (mj_sqrt(s) + epsilon);
  return {mj_fma(mj_sub(mj_splat<F>(0.0f), rate), step, parameter), s};
}

/* Learning rate of a step: linear warm-up over the first `warmup` steps, then a constant rate
 * that is multiplied by `anneal` for each finished epoch beyond `hold` of them. */
MJ_BODY float mj_learning_rate(float rate, float anneal, mj_i32 epoch, mj_i32 hold, mj_i32 step, mj_i32 warmup) {
  for (mj_i32 e = hold; e < epoch; e++) rate = rate * anneal;
  return step < warmup ? rate * (mj_convert(step + 1) / mj_convert(warmup)) : rate;
}
