/* Drivers of the optimizers.
 *
 * Policy. One thread a parameter, in loops over the grid.
 */
#include "../optim.h"
#include "driver.h"

MJ_KERNEL mj_norm_and_factor_kernel(const float *square_sum, float limit, float *norm, float *factor) {
  *norm = mj_norm(*square_sum);
  *factor = mj_norm_factor(*norm, limit);
}

MJ_KERNEL mj_nesterov_array_kernel(mj_i64 count, float *parameters, float *velocities, const float *gradients, const float *factor, const float *rate, float momentum, float decay) {
  const float by = *factor, at = *rate;
  mj_elements(count, [=](mj_i64 i) {
    const mj_nesterov_state<float> s = mj_nesterov(parameters[i], velocities[i], gradients[i], by, at, momentum, decay);
    parameters[i] = s.parameter;
    velocities[i] = s.velocity;
  });
}

MJ_KERNEL mj_moment_weights_kernel(mj_i64 step, float beta1, float beta2, float *weights) {
  weights[0] = mj_moment_weight(beta1, (mj_i32)step);
  weights[1] = mj_moment_weight(beta2, (mj_i32)step);
}

MJ_KERNEL mj_adam_array_kernel(mj_i64 count, float *parameters, float *first_moments, float *second_moments, const float *gradients, const float *factor, const float *rate, const float *weights, float beta1, float beta2, float epsilon, float decay) {
  const float by = *factor, at = *rate, weight1 = weights[0], weight2 = weights[1];
  mj_elements(count, [=](mj_i64 i) {
    const mj_adam_state<float> s = mj_adam(parameters[i], first_moments[i], second_moments[i], gradients[i], by, at, weight1,
                                           weight2, beta1, beta2, epsilon, decay);
    parameters[i] = s.parameter;
    first_moments[i] = s.first;
    second_moments[i] = s.second;
  });
}

MJ_KERNEL mj_adagrad_array_kernel(mj_i64 count, float *parameters, float *squares, const float *gradients, const float *factor, const float *rate, float epsilon, float decay) {
  const float by = *factor, at = *rate;
  mj_elements(count, [=](mj_i64 i) {
    const mj_adagrad_state<float> s = mj_adagrad(parameters[i], squares[i], gradients[i], by, at, epsilon, decay);
    parameters[i] = s.parameter;
    squares[i] = s.squares;
  });
}

MJ_KERNEL mj_learning_rate_at_kernel(float rate, float anneal, mj_i64 epoch, mj_i64 hold, mj_i64 step, mj_i64 warmup, float *out) {
  *out = mj_learning_rate(rate, anneal, (mj_i32)epoch, (mj_i32)hold, (mj_i32)step, (mj_i32)warmup);
}
