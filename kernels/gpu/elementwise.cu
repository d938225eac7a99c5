/* Drivers of the elementwise bodies, of random numbers and of the optimizer.
 *
 * Policy. One thread an output (or a block of random numbers), in loops over the grid, so any
 * grid gives the same bits.
 */
#include "../elementwise.h"
#include "../mj_math.h"
#include "../mj_random.h"
#include "../mj_sum.h"
#include "../optim.h"
#include "driver.h"

MJ_KERNEL mj_add_arrays_kernel(mj_i64 count, const float *a, const float *b, float *out) {
  mj_elements(count, [=](mj_i64 i) { out[i] = mj_add(a[i], b[i]); });
}

MJ_KERNEL mj_multiply_arrays_kernel(mj_i64 count, const float *a, const float *b, float *out) {
  mj_elements(count, [=](mj_i64 i) { out[i] = mj_mul(a[i], b[i]); });
}

MJ_KERNEL mj_clip_array_kernel(mj_i64 count, const float *x, float *out) {
  mj_elements(count, [=](mj_i64 i) { out[i] = mj_clip(x[i]); });
}

MJ_KERNEL mj_clip_backward_array_kernel(mj_i64 count, const float *dy, const float *y, float *out) {
  mj_elements(count, [=](mj_i64 i) { out[i] = mj_clip_backward(dy[i], y[i]); });
}

MJ_KERNEL mj_round_bfloat16_array_kernel(mj_i64 count, const float *x, float *out) {
  mj_elements(count, [=](mj_i64 i) { out[i] = mj_round_bfloat16(x[i]); });
}

MJ_KERNEL mj_bias_rows_kernel(mj_i64 rows, mj_i64 columns, const float *x, const float *bias, float *out) {
  mj_matrix(rows, columns, [=](mj_i64 i, mj_i64 j) { out[i * columns + j] = mj_bias(x[i * columns + j], bias[j]); });
}

MJ_KERNEL mj_bias_clip_rows_kernel(mj_i64 rows, mj_i64 columns, const float *x, const float *bias, float *out) {
  mj_matrix(rows, columns, [=](mj_i64 i, mj_i64 j) { out[i * columns + j] = mj_bias_clip(x[i * columns + j], bias[j]); });
}

MJ_KERNEL mj_normalise_rows_kernel(mj_i64 rows, mj_i64 columns, const float *x, const float *mean, const float *scale, float *out) {
  mj_matrix(rows, columns, [=](mj_i64 i, mj_i64 j) {
    out[i * columns + j] = mj_normalise(x[i * columns + j], mean[j], scale[j]);
  });
}

MJ_KERNEL mj_mean_of_kernel(mj_i64 columns, const float *center, const float *sums, float count, float *out) {
  mj_elements(columns, [=](mj_i64 j) { out[j] = mj_mean(center[j], sums[j], count); });
}

MJ_KERNEL mj_scale_of_kernel(mj_i64 columns, const float *sums, const float *square_sums, float count, float *out) {
  mj_elements(columns, [=](mj_i64 j) { out[j] = mj_scale(sums[j], square_sums[j], count); });
}

MJ_KERNEL mj_sum_directions_kernel(mj_i64 rows, mj_i64 directions, mj_i64 hidden, const float *h, float *out) {
  mj_matrix(rows, hidden, [=](mj_i64 i, mj_i64 j) {
    const float *from = h + i * directions * hidden + j;
    float sum = from[0];
    for (mj_i64 d = 1; d < directions; d++) sum = mj_add(sum, from[d * hidden]);
    out[i * hidden + j] = sum;
  });
}

MJ_KERNEL mj_repeat_directions_kernel(mj_i64 rows, mj_i64 directions, mj_i64 hidden, const float *dy, float *out) {
  mj_matrix(rows, hidden, [=](mj_i64 i, mj_i64 j) {
    for (mj_i64 d = 0; d < directions; d++) out[(i * directions + d) * hidden + j] = dy[i * hidden + j];
  });
}

MJ_KERNEL mj_context_rows_kernel(mj_i64 utterances, const mj_i64 *offsets, mj_i64 features, mj_i64 context, const float *x, float *out) {
  const mj_i64 columns = (2 * context + 1) * features;
  mj_utterance_rows(utterances, offsets, columns, [=](mj_i64 u, mj_i64 row, mj_i64 j) {
    const mj_i64 from = (row - context) * features + j; /* rows lie one after another in x too */
    const bool inside = from >= offsets[u] * features && from < offsets[u + 1] * features;
    out[row * columns + j] = inside ? x[from] : 0.0f;
  });
}

MJ_KERNEL mj_philox_words_kernel(mj_i64 blocks, mj_i64 key, mj_i64 stream, mj_u32 *out) {
  mj_elements(blocks, [=](mj_i64 i) {
    const mj_philox_block block = mj_philox((mj_u64)key, (mj_u64)i, (mj_u64)stream);
    for (int w = 0; w < 4; w++) out[4 * i + w] = block.v[w];
  });
}

MJ_KERNEL mj_uniform_array_kernel(mj_i64 count, mj_i64 key, mj_i64 stream, float gain, float fan_in, float *out) {
  const float bound = mj_uniform_bound(gain, fan_in);
  mj_elements((count + 3) / 4, [=](mj_i64 i) {
    const mj_philox_block block = mj_philox((mj_u64)key, (mj_u64)i, (mj_u64)stream);
    for (int w = 0; w < 4; w++) {
      if (4 * i + w < count) out[4 * i + w] = mj_mul(mj_uniform_signed(block.v[w]), bound);
    }
  });
}

MJ_KERNEL mj_dropout_rows_kernel(mj_i64 utterances, const mj_i64 *offsets, const mj_i64 *starts, const mj_i64 *ids, mj_i64 first, mj_i64 columns, mj_i64 key, mj_i64 layer, mj_i64 epoch, mj_i64 drop, const float *x, float *out) {
  const float scale = mj_dropout_scale((mj_i32)drop);
  mj_utterance_rows(utterances, offsets, (columns + 15) / 16, [=](mj_i64 u, mj_i64 row, mj_i64 sixteen) {
    const mj_u64 high = (mj_u64)ids[u] << 32 | (mj_u64)layer << 24 | (mj_u64)epoch;
    const mj_u64 frame = (mj_u64)(starts[u] + row - offsets[u]);
    const mj_philox_block block = mj_philox((mj_u64)key, frame << 32 | (mj_u64)(first / 16 + sixteen), high);
    for (int b = 0; b < 16; b++) {
      const mj_i64 j = 16 * sixteen + b, at = row * columns + j;
      if (j < columns) out[at] = mj_dropout(x[at], block.v[b / 4] >> (8 * (b % 4)) & 0xFF, (mj_u32)drop, scale);
    }
  });
}

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

MJ_KERNEL mj_average_shares_kernel(mj_i64 step, float beta1, float beta2, float *shares) {
  shares[0] = mj_average_share(beta1, (mj_i32)step);
  shares[1] = mj_average_share(beta2, (mj_i32)step);
}

MJ_KERNEL mj_adam_array_kernel(mj_i64 count, float *parameters, float *first_moments, float *second_moments, const float *gradients, const float *factor, const float *rate, const float *shares, float beta1, float beta2, float epsilon, float decay) {
  const float by = *factor, at = *rate, share1 = shares[0], share2 = shares[1];
  mj_elements(count, [=](mj_i64 i) {
    const mj_adam_state<float> s = mj_adam(parameters[i], first_moments[i], second_moments[i], gradients[i], by, at, share1,
                                           share2, beta1, beta2, epsilon, decay);
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

MJ_KERNEL mj_noise_array_kernel(mj_i64 count, mj_i64 first, mj_i64 key, mj_i64 stream, mj_i64 step, float deviation, const float *weights, float *out) {
  const mj_i64 low = first / 4;
  mj_elements((first + count + 3) / 4 - low, [=](mj_i64 b) {
    const mj_i64 at = 4 * (low + b) - first;
    const mj_normals normals = mj_noise((mj_u64)key, (mj_u64)stream, (mj_u64)step, (mj_u64)(low + b));
    for (int w = 0; w < 4; w++) {
      if (at + w >= 0 && at + w < count) out[at + w] = mj_noisy(weights[at + w], deviation, normals.v[w]);
    }
  });
}

MJ_KERNEL mj_learning_rate_at_kernel(float rate, float anneal, mj_i64 epoch, mj_i64 hold, mj_i64 step, mj_i64 warmup, float *out) {
  *out = mj_learning_rate(rate, anneal, (mj_i32)epoch, (mj_i32)hold, (mj_i32)step, (mj_i32)warmup);
}

MJ_KERNEL mj_math_array_kernel(mj_i64 function, mj_i64 count, const float *x, float *out) {
  mj_elements(count, [=](mj_i64 i) { out[i] = mj_math(function, x[i]); });
}

MJ_KERNEL mj_fma_array_kernel(mj_i64 count, const float *a, const float *b, const float *c, float *out) {
  mj_elements(count, [=](mj_i64 i) { out[i] = mj_fma(a[i], b[i], c[i]); });
}
