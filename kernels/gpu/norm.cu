/* Drivers of the normalisations.
 *
 * Policy. Sums over frames: chunks of items side by side, a thread a column (their totals:
 * mj_sum_totals_kernel). Sums over a row's columns: a thread a row, the numbers brought in 32 columns
 * at a time through shared memory, so that a warp reads whole lines. Maps: quads.h.
 */
#include "../norm.h"
#include "items.h"
#include "quads.h"

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
  mj_quads(count, [](float v, float &o) { o = mj_norm_rstd(v); }, mj_in{variance}, mj_out{out});
}

MJ_KERNEL mj_norm_rows_kernel(mj_i64 leaves, const mj_i64 *offsets, mj_i64 columns, const float *x, const float *mean, const float *rstd, const float *gain, const float *bias, mj_i64 clipped, float *out) {
  mj_leaf_row_quads(
      leaves, offsets, columns,
      [=](float v, float m, float r, float g, float b, float &o) {
        const float hat = mj_norm_hat(v, m, r);
        o = clipped ? mj_norm_rectify(hat, g, b) : mj_norm_affine(hat, g, b);
      },
      mj_in{x}, mj_per_column{mean, columns}, mj_per_column{rstd, columns}, mj_per_column{gain}, mj_per_column{bias},
      mj_out{out});
}

MJ_KERNEL mj_norm_backward_rows_kernel(mj_i64 leaves, const mj_i64 *offsets, mj_i64 columns, const float *dy, const float *x, const float *mean, const float *rstd, const float *gain, const float *means, float *out) {
  mj_leaf_row_quads(
      leaves, offsets, columns,
      [](float d, float v, float m, float r, float g, float mean_dy, float mean_hat, float &o) {
        o = mj_norm_backward(mj_mul(g, r), d, mj_norm_hat(v, m, r), mean_dy, mean_hat);
      },
      mj_in{dy}, mj_in{x}, mj_per_column{mean, columns}, mj_per_column{rstd, columns}, mj_per_column{gain},
      mj_per_column{means, 2 * columns}, mj_per_column{means + columns, 2 * columns}, mj_out{out});
}

MJ_KERNEL mj_running_array_kernel(mj_i64 count, const float *sums, float number, float rate, float *running) {
  mj_quads(count, [=](float &v, float sum) { v = mj_running(v, sum, number, rate); }, mj_both{running}, mj_in{sums});
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
  mj_row_quads(
      rows, columns, [](float v, float m, float r, float g, float b, float &o) { o = mj_norm_affine(mj_norm_hat(v, m, r), g, b); },
      mj_in{x}, mj_per_row{mean, 1}, mj_per_row{rstd, 1}, mj_per_column{gain}, mj_per_column{bias}, mj_out{out});
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
  mj_row_quads(
      rows, columns,
      [](float d, float v, float m, float r, float g, float mean_dy, float mean_hat, float &o, float &o_hat) {
        const float hat = mj_norm_hat(v, m, r);
        o = mj_norm_backward(r, mj_mul(g, d), hat, mean_dy, mean_hat);
        o_hat = mj_mul(d, hat);
      },
      mj_in{dy}, mj_in{x}, mj_per_row{mean, 1}, mj_per_row{rstd, 1}, mj_per_column{gain}, mj_per_row{means, 2},
      mj_per_row{means + 1, 2}, mj_out{out}, mj_out{dy_hat});
}
