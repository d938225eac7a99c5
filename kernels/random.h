/* What random numbers are used for: first weights, dropout, noise on weights.
 *
 * Policy. The numbers themselves are Philox's (mj_random.h).
 */
#pragma once
#include "mj_random.h"

/* Inverted dropout by one random byte: the fraction drop / 256 becomes +0, the rest is scaled up. */
MJ_BODY float mj_dropout_scale(mj_i32 drop) { return 256.0f / mj_convert(256 - drop); }
MJ_BODY float mj_dropout(float x, mj_u32 byte, mj_u32 drop, float scale) { return byte < drop ? 0.0f : x * scale; }

/* Bound of uniform numbers in [-bound, bound) whose variance is gain / fan_in. */
MJ_BODY float mj_uniform_bound(float gain, float fan_in) { return mj_sqrt(3.0f * gain / fan_in); }

/* Block of the normal numbers of a step: four of a parameter's, from number 4 * index on. */
MJ_BODY mj_normals mj_noise(mj_u64 key, mj_u64 stream, mj_u64 step, mj_u64 index) {
  return mj_normal(mj_philox(key, step << 32 | index, stream));
}

/* A weight with noise: `normal` is a standard normal number. */
MJ_BODY float mj_noisy_weight(float weight, float deviation, float normal) { return mj_fma(deviation, normal, weight); }
