/* Drivers of the optimizers.
 *
 * Policy. Blocks of parameters are the tasks (maps.h).
 */
#include "../optim.h"

#include "../entry_points.h"
#include "maps.h"

using mj::elements;
using mj::load_as;
using mj::store_as;

void mj_norm_and_factor(const float *square_sum, float limit, float *norm, float *factor) {
  *norm = mj_norm(*square_sum);
  *factor = mj_norm_factor(*norm, limit);
}

void mj_nesterov_array(int64_t count, float *parameters, float *velocities, const float *gradients, const float *factor,
                       const float *rate, float momentum, float decay) {
  const float by = *factor, at = *rate;
  elements(count, [=](int64_t i, auto as) {
    using F = decltype(as);
    const mj_nesterov_state<F> s =
        mj_nesterov(load_as<F>(parameters + i), load_as<F>(velocities + i), load_as<F>(gradients + i), mj_splat<F>(by),
                    mj_splat<F>(at), mj_splat<F>(momentum), mj_splat<F>(decay));
    store_as(parameters + i, s.parameter);
    store_as(velocities + i, s.velocity);
  });
}

void mj_moment_weights(int64_t step, float beta1, float beta2, float *weights) {
  weights[0] = mj_moment_weight(beta1, (mj_i32)step);
  weights[1] = mj_moment_weight(beta2, (mj_i32)step);
}

void mj_adam_array(int64_t count, float *parameters, float *first_moments, float *second_moments, const float *gradients,
                   const float *factor, const float *rate, const float *weights, float beta1, float beta2, float epsilon,
                   float decay) {
  const float by = *factor, at = *rate, weight1 = weights[0], weight2 = weights[1];
  elements(count, [=](int64_t i, auto as) {
    using F = decltype(as);
    const mj_adam_state<F> s = mj_adam(
        load_as<F>(parameters + i), load_as<F>(first_moments + i), load_as<F>(second_moments + i), load_as<F>(gradients + i),
        mj_splat<F>(by), mj_splat<F>(at), mj_splat<F>(weight1), mj_splat<F>(weight2), mj_splat<F>(beta1), mj_splat<F>(beta2),
        mj_splat<F>(epsilon), mj_splat<F>(decay));
    store_as(parameters + i, s.parameter);
    store_as(first_moments + i, s.first);
    store_as(second_moments + i, s.second);
  });
}

void mj_adagrad_array(int64_t count, float *parameters, float *squares, const float *gradients, const float *factor,
                      const float *rate, float epsilon, float decay) {
  const float by = *factor, at = *rate;
  elements(count, [=](int64_t i, auto as) {
    using F = decltype(as);
    const mj_adagrad_state<F> s =
        mj_adagrad(load_as<F>(parameters + i), load_as<F>(squares + i), load_as<F>(gradients + i), mj_splat<F>(by),
                   mj_splat<F>(at), mj_splat<F>(epsilon), mj_splat<F>(decay));
    store_as(parameters + i, s.parameter);
    store_as(squares + i, s.squares);
  });
}

void mj_learning_rate_at(float rate, float anneal, int64_t epoch, int64_t hold, int64_t step, int64_t warmup, float *out) {
  *out = mj_learning_rate(rate, anneal, (mj_i32)epoch, (mj_i32)hold, (mj_i32)step, (mj_i32)warmup);
}
