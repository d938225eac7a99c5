/* Drivers of random numbers, of dropout and of noise.
 *
 * Policy. A number is a function of its counter alone, so tasks are cut anywhere between blocks of Philox.
 */
#include "../random.h"

#include <string.h>

#include <algorithm>

#include "../entry_points.h"
#include "maps.h"

void mj_philox_words(int64_t blocks, int64_t key, int64_t stream, uint32_t *out) {
  for (int64_t i = 0; i < blocks; i++) {
    const mj_philox_block block = mj_philox((mj_u64)key, (mj_u64)i, (mj_u64)stream);
    memcpy(out + 4 * i, block.v, sizeof block.v);
  }
}

void mj_uniform_array(int64_t count, int64_t key, int64_t stream, float gain, float fan_in, float *out) {
  const float bound = mj_uniform_bound(gain, fan_in);
  for (int64_t i = 0; i < count; i += 4) {
    const mj_philox_block block = mj_philox((mj_u64)key, (mj_u64)(i / 4), (mj_u64)stream);
    for (int64_t w = 0; w < std::min<int64_t>(4, count - i); w++) out[i + w] = mj_mul(mj_uniform_signed(block.v[w]), bound);
  }
}

void mj_dropout_rows(int64_t utterances, const int64_t *offsets, const int64_t *starts, const int64_t *ids, int64_t first,
                     int64_t columns, int64_t key, int64_t layer, int64_t epoch, int64_t drop, const float *x, float *out) {
  const float scale = mj_dropout_scale((mj_i32)drop);
  mj::parallel(utterances, [&](int64_t u) {
    const mj_u64 high = (mj_u64)ids[u] << 32 | (mj_u64)layer << 24 | (mj_u64)epoch;
    for (int64_t row = offsets[u]; row < offsets[u + 1]; row++) {
      const mj_u64 frame = (mj_u64)(starts[u] + row - offsets[u]);
      for (int64_t j = 0; j < columns; j += 16) {
        const mj_philox_block block = mj_philox((mj_u64)key, frame << 32 | (mj_u64)((first + j) / 16), high);
        unsigned char bytes[16];
        for (int b = 0; b < 16; b++) bytes[b] = (unsigned char)(block.v[b / 4] >> (8 * (b % 4)));
        const int64_t at = row * columns + j;
        for (int64_t b = 0; b < std::min<int64_t>(16, columns - j); b++) {
          out[at + b] = mj_dropout(x[at + b], bytes[b], (mj_u32)drop, scale);
        }
      }
    }
  });
}

void mj_noise_array(int64_t count, int64_t first, int64_t key, int64_t stream, int64_t step, float deviation,
                    const float *weights, float *out) {
  const int64_t low = first / 4, blocks = (first + count + 3) / 4 - low;
  mj::parallel_blocks(blocks, mj::GRAIN / 16, [&](int64_t start, int64_t stop) {
    for (int64_t b = low + start; b < low + stop; b++) {
      const mj_normals normals = mj_noise((mj_u64)key, (mj_u64)stream, (mj_u64)step, (mj_u64)b);
      for (int64_t i = std::max(4 * b, first); i < std::min(4 * b + 4, first + count); i++) {
        out[i - first] = mj_noisy_weight(weights[i - first], deviation, normals.v[i - 4 * b]);
      }
    }
  });
}
