/* Driver of the products of float64 matrices: tiles in shared memory.
 *
 * Policy. A block of 256 threads owns 64 x 64 outputs, a thread 16 of them, each with its chunk and its
 * total in registers. A term beyond the last is (-0) * (+0) = -0, which changes no sum.
 */
#include "../standard.h"
#include "driver.h"

#define MJ_SIDE 64  /* rows and columns of a tile */
#define MJ_TERMS 16 /* terms of a stage; MJ_CHUNK is a multiple */
#define MJ_EACH 4   /* rows and columns of a thread, 16 apart */

/* Blocks: tiles in row-major order. Shared memory: MJ_TERMS x (2 MJ_SIDE + 1) numbers. */
extern "C" __global__ void __launch_bounds__(256)
    mj_gemm_double_kernel(mj_i64 m, mj_i64 n, mj_i64 k, const mj_f64 *a, const mj_f64 *b, mj_f64 *c) {
  const mj_i64 across = (n + MJ_SIDE - 1) / MJ_SIDE, i0 = blockIdx.x / across * MJ_SIDE, j0 = blockIdx.x % across * MJ_SIDE;
  const int thread = threadIdx.x, row = thread / 16, column = thread % 16, pitch = MJ_SIDE + 1;
  mj_f64 *left = (mj_f64 *)mj_shared, *right = left + MJ_TERMS * pitch;
  mj_f64 total[MJ_EACH][MJ_EACH], acc[MJ_EACH][MJ_EACH];
  for (int i = 0; i < MJ_EACH; i++) {
    for (int j = 0; j < MJ_EACH; j++) total[i][j] = acc[i][j] = 0.0f;
  }
  for (mj_i64 t0 = 0; t0 < k; t0 += MJ_TERMS) {
    for (int e = thread; e < MJ_TERMS * MJ_SIDE; e += 256) {
      const int term = e % MJ_TERMS, line = e / MJ_TERMS;
      const bool there = t0 + term < k && i0 + line < m;
      left[term * pitch + line] = there ? a[(i0 + line) * k + t0 + term] : -0.0f;
    }
    for (int e = thread; e < MJ_TERMS * MJ_SIDE; e += 256) {
      const int term = e / MJ_SIDE, line = e % MJ_SIDE;
      const bool there = t0 + term < k && j0 + line < n;
      right[e] = there ? b[(t0 + term) * n + j0 + line] : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int term = 0; term < MJ_TERMS; term++) {
      mj_f64 x[MJ_EACH], y[MJ_EACH];
#pragma unroll
      for (int i = 0; i < MJ_EACH; i++) {
        x[i] = left[term * pitch + row + 16 * i];
        y[i] = right[term * MJ_SIDE + column + 16 * i];
      }
#pragma unroll
      for (int i = 0; i < MJ_EACH; i++) {
#pragma unroll
        for (int j = 0; j < MJ_EACH; j++) acc[i][j] = mj_product_term(acc[i][j], x[i], y[j]);
      }
    }
    __syncthreads();
    if ((t0 + MJ_TERMS) % MJ_CHUNK != 0 && t0 + MJ_TERMS < k) continue;
#pragma unroll
    for (int i = 0; i < MJ_EACH; i++) {
#pragma unroll
      for (int j = 0; j < MJ_EACH; j++) {
        total[i][j] = mj_total(t0 < MJ_CHUNK, total[i][j], acc[i][j]);
        acc[i][j] = 0.0f;
      }
    }
  }
#pragma unroll
  for (int i = 0; i < MJ_EACH; i++) {
#pragma unroll
    for (int j = 0; j < MJ_EACH; j++) {
      const mj_i64 y = i0 + row + 16 * i, x = j0 + column + 16 * j;
      if (y < m && x < n) c[y * n + x] = total[i][j];
    }
  }
}
