/* Drivers of random numbers, of dropout and of noise.
 *
 * Policy. One thread a block of random numbers, in loops over the grid, so any grid gives the same bits.
 * What it reads and writes goes four numbers at once where it lies so (quads.h).
 */
#include "../random.h"
#include "quads.h"

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
    mj_some_of_four(
        0, count - 4 * i, [&](int w, float &o) { o = mj_mul(mj_uniform_signed(block.v[w]), bound); }, mj_out{out + 4 * i});
  });
}

MJ_KERNEL mj_dropout_rows_kernel(mj_i64 utterances, const mj_i64 *offsets, const mj_i64 *starts, const mj_i64 *ids, mj_i64 first, mj_i64 columns, mj_i64 key, mj_i64 layer, mj_i64 epoch, mj_i64 drop, const float *x, float *out) {
  const float scale = mj_dropout_scale((mj_i32)drop);
  mj_utterance_rows(utterances, offsets, (columns + 15) / 16, [=](mj_i64 u, mj_i64 row, mj_i64 sixteen) {
    const mj_u64 high = (mj_u64)ids[u] << 32 | (mj_u64)layer << 24 | (mj_u64)epoch;
    const mj_u64 frame = (mj_u64)(starts[u] + row - offsets[u]);
    const mj_philox_block block = mj_philox((mj_u64)key, frame << 32 | (mj_u64)(first / 16 + sixteen), high);
#pragma unroll
    for (int q = 0; q < 4; q++) {
      const mj_i64 j = 16 * sixteen + 4 * q, at = row * columns + j;
      mj_some_of_four(
          0, columns - j, [&](int b, float v, float &o) { o = mj_dropout(v, block.v[q] >> (8 * b) & 0xFF, (mj_u32)drop, scale); },
          mj_in{x + at}, mj_out{out + at});
    }
  });
}

MJ_KERNEL mj_noise_array_kernel(mj_i64 count, mj_i64 first, mj_i64 key, mj_i64 stream, mj_i64 step, float deviation, const float *weights, float *out) {
  const mj_i64 low = first / 4;
  mj_elements((first + count + 3) / 4 - low, [=](mj_i64 b) {
    const mj_i64 at = 4 * (low + b) - first;
    const mj_normals normals = mj_noise((mj_u64)key, (mj_u64)stream, (mj_u64)step, (mj_u64)(low + b));
    mj_some_of_four(
        -at, count - at, [&](int w, float v, float &o) { o = mj_noisy_weight(v, deviation, normals.v[w]); }, mj_in{weights + at},
        mj_out{out + at});
  });
}
