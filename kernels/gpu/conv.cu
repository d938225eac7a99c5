/* Drivers of the convolutions over frames.
 *
 * Policy. The convolution: patches of a block of positions are gathered, a matrix product (gemm.cu) sums
 * over them, and its rows go to their positions. The gradient by the weight: chunks of terms side by side,
 * a thread a column of patches and MJ_OUTPUTS outputs; dy comes through shared memory, patches are
 * read where they lie.
 */
#include "../mj_sum.h"
#include "driver.h"

#define MJ_OUTPUTS 16

/* Element k of the patch of position p of an entry (row, first, low, high) of the list. */
struct mj_patches {
  mj_i64 width, features, channels, step, before;
  const float *x;

  MJ_DEVICE_MEMBER float at(const mj_i64 *entry, mj_i64 p, mj_i64 k) const {
    const mj_i64 run = width * channels, frame = entry[1] + k / run;
    const mj_i64 feature = p * step - before + k % run / channels;
    const bool inside = frame >= entry[2] && frame < entry[3] && feature >= 0 && feature < features;
    return inside ? x[(frame * features + feature) * channels + k % channels] : 0.0f;
  }
};

/* Positions first..first + count, counted over the list. */
MJ_KERNEL mj_conv_patches_kernel(mj_i64 first, mj_i64 count, const mj_i64 *list, mj_i64 terms, mj_i64 width, mj_i64 features, mj_i64 channels, mj_i64 positions, mj_i64 step, mj_i64 before, const float *x, float *out) {
  const mj_patches patches = {width, features, channels, step, before, x};
  mj_matrix(count, terms, [=](mj_i64 q, mj_i64 k) {
    out[q * terms + k] = patches.at(list + (first + q) / positions * 4, (first + q) % positions, k);
  });
}

MJ_KERNEL mj_conv_weights_kernel(mj_i64 terms, mj_i64 run, mj_i64 channels, mj_i64 outputs, const float *weight, mj_i64 by_output, mj_i64 by_tap, mj_i64 by_feature, mj_i64 by_channel, float *out) {
  mj_matrix(terms, outputs, [=](mj_i64 k, mj_i64 o) {
    const mj_i64 at = k / run * by_tap + k % run / channels * by_feature + k % channels * by_channel;
    out[k * outputs + o] = weight[o * by_output + at];
  });
}

MJ_KERNEL mj_conv_places_kernel(mj_i64 first, mj_i64 count, const mj_i64 *list, mj_i64 positions, mj_i64 outputs, const float *sums, float *out, mj_i64 out_row, mj_i64 out_position) {
  mj_matrix(count, outputs, [=](mj_i64 q, mj_i64 o) {
    const mj_i64 row = list[(first + q) / positions * 4], p = (first + q) % positions;
    out[row * out_row + p * out_position + o] = sums[q * outputs + o];
  });
}

/* Blocks (x: columns of patches, y: chunks, z: outputs); shared memory: MJ_CHUNK * MJ_OUTPUTS floats. */
MJ_KERNEL mj_conv_weight_chunks_kernel(mj_i64 chunks, const mj_i64 *starts, const mj_i64 *list, mj_i64 terms, mj_i64 width, mj_i64 features, mj_i64 channels, mj_i64 positions, mj_i64 step, mj_i64 before, const float *x, mj_i64 outputs, const float *dy, float *sums) {
  const mj_patches patches = {width, features, channels, step, before, x};
  const mj_i64 k = (mj_i64)blockIdx.x * blockDim.x + threadIdx.x, o0 = (mj_i64)blockIdx.z * MJ_OUTPUTS;
  for (mj_i64 c = blockIdx.y; c < chunks; c += gridDim.y) {
    const mj_i64 start = starts[c];
    const int count = (int)(starts[c + 1] - start);
    for (int e = threadIdx.x; e < count * MJ_OUTPUTS; e += blockDim.x) {
      const mj_i64 q = start + e / MJ_OUTPUTS, o = o0 + e % MJ_OUTPUTS;
      mj_shared[e] = o < outputs ? dy[(list[q / positions * 4] * positions + q % positions) * outputs + o] : 0.0f;
    }
    __syncthreads();
    if (k < terms) {
      float acc[MJ_OUTPUTS];
#pragma unroll
      for (int o = 0; o < MJ_OUTPUTS; o++) acc[o] = 0.0f;
      const mj_i64 *entry = list + start / positions * 4;
      mj_i64 p = start % positions;
      for (int i = 0; i < count; i++) {
        const float value = patches.at(entry, p, k);
#pragma unroll
        for (int o = 0; o < MJ_OUTPUTS; o += 4) {
          const mj_four d = *(const mj_four *)(mj_shared + i * MJ_OUTPUTS + o);
#pragma unroll
          for (int q = 0; q < 4; q++) acc[o + q] = mj_term_product(acc[o + q], d.at[q], value);
        }
        if (++p == positions) {
          p = 0;
          entry += 4;
        }
      }
#pragma unroll
      for (int o = 0; o < MJ_OUTPUTS; o++) {
        if (o0 + o < outputs) sums[(c * outputs + o0 + o) * terms + k] = acc[o];
      }
    }
    __syncthreads();
  }
}

MJ_KERNEL mj_row_conv_rows_kernel(mj_i64 rows, const mj_i64 *list, mj_i64 step, mj_i64 columns, const float *x, const float *weight, float *out) {
  mj_matrix(rows, columns, [=](mj_i64 i, mj_i64 j) {
    const float *from = x + list[2 * i] * columns + j;
    const mj_i64 terms = list[2 * i + 1];
    float total = 0.0f;
    for (mj_i64 k0 = 0; k0 < terms; k0 += MJ_CHUNK) {
      float acc = 0.0f;
      for (mj_i64 k = k0; k < mj_least(k0 + MJ_CHUNK, terms); k++) {
        acc = mj_term_product(acc, weight[k * columns + j], from[k * step * columns]);
      }
      total = mj_total(k0 == 0, total, acc);
    }
    out[i * columns + j] = total;
  });
}

MJ_KERNEL mj_row_conv_weight_chunks_kernel(mj_i64 chunks, const mj_i64 *starts, const mj_i64 *list, mj_i64 taps, mj_i64 columns, const float *dy, const float *x, float *sums) {
  mj_matrix(chunks, taps * columns, [=](mj_i64 c, mj_i64 e) {
    const mj_i64 k = e / columns, j = e % columns;
    float acc = 0.0f;
    for (mj_i64 i = starts[c]; i < starts[c + 1]; i++) {
      const mj_i64 *entry = list + 3 * i;
      if (k < entry[2]) acc = mj_term_product(acc, dy[entry[0] * columns + j], x[(entry[1] + k) * columns + j]);
    }
    sums[c * taps * columns + e] = acc;
  });
}
