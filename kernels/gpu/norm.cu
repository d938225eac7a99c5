/* Drivers of the normalisations.
 *
 * Policy. Sums over frames: chunks of items side by side, a thread a column (their totals:
 * mj_sum_totals_kernel). Sums over a row's columns: a thread a row, the numbers brought in 32 columns
 * at a time through shared memory, so that a warp reads whole lines. Maps: a thread an output.
 */
#include "../norm.h"
#include "items.h"

/* leaves: of each chunk. */
MJ_KERNEL mj_item_square_chunks_kernel(mj_i64 chunks, const mj_i64 *starts, const mj_i64 *order, mj_i64 columns, const mj_i64 *leaves, const float *x, const float *mean, float *sums) {
  mj_item_chunks(
      chunks, starts, order, columns, [] { return 0.0f; },
      [=](float acc, mj_i64 c, mj_i64 row, mj_i64 j) {
        return mj_term_deviation(acc, x[row * columns + j], mean[leaves[c] * columns + j]);
      },
      [=](float acc, mj_i64 c, mj_i64 j) { sums[c * columns + j] = acc; });
}

struct mj_two { float plain, hat; };

MJ_KERNEL mj_item_norm_chunks_kernel(mj_i64 chunks, const mj_i64 *starts, const mj_i64 *order, mj_i64 columns, const mj_i64 *leaves, const float *dy, const float *x, const float *mean, const float *rstd, float *sums) {
  mj_item_chunks(
      chunks, starts, order, columns, [] { return mj_two{0.0f, 0.0f}; },
      [=](mj_two acc, mj_i64 c, mj_i64 row, mj_i64 j) {
        const mj_i64 at = leaves[c] * columns + j;
        const float d = dy[row * columns + j], hat = mj_norm_hat(x[row * columns + j], mean[at], rstd[at]);
        return mj_two{mj_term(acc.plain, d), mj_term_product(acc.hat, d, hat)};
      },
      [=](mj_two acc, mj_i64 c, mj_i64 j) {
        sums[2 * c * columns + j] = acc.plain;
        sums[(2 * c + 1) * columns + j] = acc.hat;
      });
}

MJ_KERNEL mj_leaf_means_kernel(mj_i64 leaves, const mj_i64 *counts, mj_i64 columns, const float *sums, float *out) {
  mj_matrix(leaves, columns, [=](mj_i64 k, mj_i64 j) {
    out[k * columns + j] = mj_mean_over(sums[k * columns + j], (mj_i32)counts[k]);
  });
}

MJ_KERNEL mj_rstd_array_kernel(mj_i64 count, const float *variance, float *out) {
  mj_elements(count, [=](mj_i64 i) { out[i] = mj_norm_rstd(variance[i]); });
}

MJ_KERNEL mj_norm_rows_kernel(mj_i64 leaves, const mj_i64 *offsets, mj_i64 columns, const float *x, const float *mean, const float *rstd, const float *gain, const float *bias, mj_i64 clipped, float *out) {
  mj_utterance_rows(leaves, offsets, columns, [=](mj_i64 leaf, mj_i64 row, mj_i64 j) {
    const mj_i64 i = row * columns + j, k = leaf * columns + j;
    const float hat = mj_norm_hat(x[i], mean[k], rstd[k]);
    out[i] = clipped ? mj_norm_rectify(hat, gain[j], bias[j]) : mj_norm_affine(hat, gain[j], bias[j]);
  });
}

MJ_KERNEL mj_norm_backward_rows_kernel(mj_i64 leaves, const mj_i64 *offsets, mj_i64 columns, const float *dy, const float *x, const float *mean, const float *rstd, const float *gain, const float *means, float *out) {
  mj_utterance_rows(leaves, offsets, columns, [=](mj_i64 leaf, mj_i64 row, mj_i64 j) {
    const mj_i64 i = row * columns + j, k = leaf * columns + j, both = 2 * leaf * columns + j;
    out[i] = mj_norm_backward(mj_mul(gain[j], rstd[k]), dy[i], mj_norm_hat(x[i], mean[k], rstd[k]), means[both], means[both + columns]);
  });
}

MJ_KERNEL mj_running_array_kernel(mj_i64 count, const float *sums, float number, float rate, float *running) {
  mj_elements(count, [=](mj_i64 i) { running[i] = mj_running(running[i], sums[i], number, rate); });
}

/* A canonical sum that terms join one by one. */
struct mj_growing {
  float total, acc;
  MJ_DEVICE_MEMBER void chunk_ends(mj_i64 terms) {
    if (terms % MJ_CHUNK != 0 || terms == 0) return;
    total = mj_total(terms == MJ_CHUNK, total, acc);
    acc = 0.0f;
  }
  MJ_DEVICE_MEMBER float whole(mj_i64 terms) const {
    return terms % MJ_CHUNK == 0 ? total : mj_total(terms < MJ_CHUNK, total, acc);
  }
};

/* A block's rows, a thread each: load(row, column, place) brings a number to its place in shared
 * memory, then the row's thread has add(column, place); 33 floats a thread for each number. */
template <class Load, class Add> MJ_DEVICE void mj_row_columns(mj_i64 rows, mj_i64 columns, Load load, Add add) {
  const int threads = blockDim.x, thread = threadIdx.x;
  const mj_i64 first = (mj_i64)blockIdx.x * threads;
  for (mj_i64 done = 0; done < columns; done += 32) {
    for (int e = thread; e < threads * 32; e += threads) {
      const mj_i64 row = first + e / 32, j = done + e % 32;
      if (row < rows && j < columns) load(row, j, e / 32 * 33 + e % 32);
    }
    __syncthreads();
    for (int i = 0; first + thread < rows && i < mj_least(32, columns - done); i++) add(done + i, thread * 33 + i);
    __syncthreads();
  }
}

MJ_KERNEL mj_layer_norm_sums_kernel(mj_i64 rows, mj_i64 columns, const float *x, float *mean, float *rstd) {
  const mj_i64 row = (mj_i64)blockIdx.x * blockDim.x + threadIdx.x;
  const auto load = [=](mj_i64 i, mj_i64 j, int place) { mj_shared[place] = x[i * columns + j]; };
  mj_growing sum = {0.0f, 0.0f}, squares = {0.0f, 0.0f};
  mj_row_columns(rows, columns, load, [&](mj_i64 j, int place) {
    sum.acc = mj_term(sum.acc, mj_shared[place]);
    sum.chunk_ends(j + 1);
  });
  const float center = mj_mean_over(sum.whole(columns), (mj_i32)columns);
  mj_row_columns(rows, columns, load, [&](mj_i64 j, int place) {
    squares.acc = mj_term_deviation(squares.acc, mj_shared[place], center);
    squares.chunk_ends(j + 1);
  });
  if (row < rows) {
    mean[row] = center;
    rstd[row] = mj_norm_rstd(mj_mean_over(squares.whole(columns), (mj_i32)columns));
  }
}

MJ_KERNEL mj_layer_norm_map_kernel(mj_i64 rows, mj_i64 columns, const float *x, const float *gain, const float *bias, const float *mean, const float *rstd, float *out) {
  mj_matrix(rows, columns, [=](mj_i64 i, mj_i64 j) {
    out[i * columns + j] = mj_norm_affine(mj_norm_hat(x[i * columns + j], mean[i], rstd[i]), gain[j], bias[j]);
  });
}

/* means: (rows, 2), of gain * dy and of that times hat. */
MJ_KERNEL mj_layer_norm_means_kernel(mj_i64 rows, mj_i64 columns, const float *dy, const float *x, const float *mean, const float *rstd, const float *gain, float *means) {
  const mj_i64 row = (mj_i64)blockIdx.x * blockDim.x + threadIdx.x;
  float *hats = mj_shared + 33 * blockDim.x;
  mj_growing sum = {0.0f, 0.0f}, hat_sum = {0.0f, 0.0f};
  mj_row_columns(
      rows, columns,
      [=](mj_i64 i, mj_i64 j, int place) {
        mj_shared[place] = mj_mul(gain[j], dy[i * columns + j]);
        hats[place] = mj_norm_hat(x[i * columns + j], mean[i], rstd[i]);
      },
      [&](mj_i64 j, int place) {
        sum.acc = mj_term(sum.acc, mj_shared[place]);
        sum.chunk_ends(j + 1);
        hat_sum.acc = mj_term_product(hat_sum.acc, mj_shared[place], hats[place]);
        hat_sum.chunk_ends(j + 1);
      });
  if (row < rows) {
    means[2 * row] = mj_mean_over(sum.whole(columns), (mj_i32)columns);
    means[2 * row + 1] = mj_mean_over(hat_sum.whole(columns), (mj_i32)columns);
  }
}

MJ_KERNEL mj_layer_norm_gradient_kernel(mj_i64 rows, mj_i64 columns, const float *dy, const float *x, const float *mean, const float *rstd, const float *gain, const float *means, float *out, float *dy_hat) {
  mj_matrix(rows, columns, [=](mj_i64 i, mj_i64 j) {
    const mj_i64 at = i * columns + j;
    const float hat = mj_norm_hat(x[at], mean[i], rstd[i]);
    out[at] = mj_norm_backward(rstd[i], mj_mul(gain[j], dy[at]), hat, means[2 * i], means[2 * i + 1]);
    dy_hat[at] = mj_mul(dy[at], hat);
  });
}
