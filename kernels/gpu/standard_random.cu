/* Drivers of the array library: random numbers by key.
 *
 * Policy. One thread a block of Philox, in loops over the grid.
 */
#include "../standard_random.h"
#include "driver.h"

MJ_KERNEL mj_random_bits_kernel(mj_i64 count, mj_i64 key, mj_i64 stream, mj_u64 *out) {
  mj_elements((count + 1) / 2, [=](mj_i64 b) {
    const mj_wide_block block = mj_random_block((mj_u64)key, (mj_u64)stream, (mj_u64)b);
    for (int w = 0; w < 2; w++) {
      if (2 * b + w < count) out[2 * b + w] = block.v[w];
    }
  });
}

MJ_KERNEL mj_random_uniform_kernel(mj_i64 type, mj_i64 count, mj_i64 key, mj_i64 stream, const void *ends, void *out) {
  if (type == 0) {
    const float *end = (const float *)ends;
    mj_elements((count + 3) / 4, [=](mj_i64 b) {
      const mj_philox_block block = mj_philox((mj_u64)key, (mj_u64)b, (mj_u64)stream);
      for (int w = 0; w < 4; w++) {
        if (4 * b + w < count) ((float *)out)[4 * b + w] = mj_between(mj_unit(block.v[w]), end[0], end[1]);
      }
    });
  } else {
    const mj_f64 *end = (const mj_f64 *)ends;
    mj_elements((count + 1) / 2, [=](mj_i64 b) {
      const mj_wide_block block = mj_random_block((mj_u64)key, (mj_u64)stream, (mj_u64)b);
      for (int w = 0; w < 2; w++) {
        if (2 * b + w < count) ((mj_f64 *)out)[2 * b + w] = mj_between(mj_unit(block.v[w]), end[0], end[1]);
      }
    });
  }
}

MJ_KERNEL mj_random_normal_kernel(mj_i64 type, mj_i64 count, mj_i64 key, mj_i64 stream, void *out) {
  if (type == 0) {
    mj_elements((count + 3) / 4, [=](mj_i64 b) {
      const mj_normals normals = mj_normal(mj_philox((mj_u64)key, (mj_u64)b, (mj_u64)stream));
      for (int w = 0; w < 4; w++) {
        if (4 * b + w < count) ((float *)out)[4 * b + w] = normals.v[w];
      }
    });
  } else {
    mj_elements((count + 1) / 2, [=](mj_i64 b) {
      const mj_wide_normals normals = mj_normal(mj_random_block((mj_u64)key, (mj_u64)stream, (mj_u64)b));
      for (int w = 0; w < 2; w++) {
        if (2 * b + w < count) ((mj_f64 *)out)[2 * b + w] = normals.v[w];
      }
    });
  }
}

MJ_KERNEL mj_random_integers_kernel(mj_i64 count, mj_i64 key, mj_i64 stream, mj_i64 low, mj_i64 span, mj_i64 *out) {
  mj_elements(count, [=](mj_i64 b) {
    const mj_wide_block block = mj_random_block((mj_u64)key, (mj_u64)stream, (mj_u64)b);
    out[b] = (mj_i64)((mj_u64)low + mj_below(block, (mj_u64)span));
  });
}

MJ_KERNEL mj_random_coins_kernel(mj_i64 count, mj_i64 key, mj_i64 stream, mj_i64 heads, unsigned char *out) {
  mj_elements((count + 1) / 2, [=](mj_i64 b) {
    const mj_wide_block block = mj_random_block((mj_u64)key, (mj_u64)stream, (mj_u64)b);
    for (int w = 0; w < 2; w++) {
      if (2 * b + w < count) out[2 * b + w] = mj_coin(block.v[w], (mj_u64)heads);
    }
  });
}
