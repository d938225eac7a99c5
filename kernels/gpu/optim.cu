/* Drivers of the optimizers.
 *
 * Policy. Maps over the parameters (quads.h), in loops over the grid.
 */
#include "../optim.h"
#include "quads.h"

MJ_KERNEL mj_norm_and_factor_kernel(const float *square_sum, float limit, float *norm, float *factor) {
  *norm = mj_norm(*square_sum);
  *factor = mj_norm_factor(*norm, limit);
}

MJ_KERNEL mj_nesterov_array_kernel(mj_i64 count, float *parameters, float *velocities, const float *gradients, const float *factor, const float *rate, float momentum, float decay) {
  const float by = *factor, at = *rate;
  mj_quads(
      count,
      [=](float &parameter, float &velocity, float gradient) {
        const mj_nesterov_state<float> s = mj_nesterov(parameter, velocity, gradient, by, at, momentum, decay);
        parameter = s.parameter;
        velocity = s.velocity;
      },
      mj_both{parameters}, mj_both{velocities}, mj_in{gradients});
}

MJ_KERNEL mj_moment_weights_kernel(mj_i64 step, float beta1, float beta2, float *weights) {
  weights[0] = mj_moment_weight(beta1, (mj_i32)step);
  weights[1] = mj_moment_weight(beta2, (mj_i32)step);
}

MJ_KERNEL mj_adam_array_kernel(mj_i64 count, float *parameters, float *first_moments, float *second_moments, const float *gradients, const float *factor, const float *rate, const float *weights, float beta1, float beta2, float epsilon, float decay) {
  const float by = *factor, at = *rate, weight1 = weights[0], weight2 = weights[1];
  mj_quads(
      count,
      [=](float &parameter, float &first, float &second, float gradient) {
        const mj_adam_state<float> s =
            mj_adam(parameter, first, second, gradient, by, at, weight1, weight2, beta1, beta2, epsilon, decay);
        parameter = s.parameter;
        first = s.first;
        second = s.second;
      },
      mj_both{parameters}, mj_both{first_moments}, mj_both{second_moments}, mj_in{gradients});
}

MJ_KERNEL mj_adagrad_array_kernel(mj_i64 count, float *parameters, float *squares, const float *gradients, const float *factor, const float *rate, float epsilon, float decay) {
  const float by = *factor, at = *rate;
  mj_quads(
      count,
      [=](float &parameter, float &square, float gradient) {
        const mj_adagrad_state<float> s = mj_adagrad(parameter, square, gradient, by, at, epsilon, decay);
        parameter = s.parameter;
        square = s.squares;
      },
      mj_both{parameters}, mj_both{squares}, mj_in{gradients});
}

MJ_KERNEL mj_learning_rate_at_kernel(float rate, float anneal, mj_i64 epoch, mj_i64 hold, mj_i64 step, mj_i64 warmup, float *out) {
  *out = mj_learning_rate(rate, anneal, (mj_i32)epoch, (mj_i32)hold, (mj_i32)step, (mj_i32)warmup);
}
