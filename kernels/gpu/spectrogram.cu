/* Drivers of the spectrogram: tables of roots, then a block a frame.
 *
 * Policy. A Stockham transform (kernels/spectrogram.h); a thread computes one butterfly output of a stage.
 */
#include "../spectrogram.h"
#include "driver.h"

/* tables: window, cosines, sines; `window` floats each. */
MJ_KERNEL mj_spectrogram_tables_kernel(mj_i64 window, float *tables) {
  mj_elements(window, [=](mj_i64 i) {
    tables[i] = mj_hann((mj_i32)i, (mj_i32)window);
    tables[window + i] = mj_cospi((mj_i32)(2 * i), (mj_i32)window);
    tables[2 * window + i] = mj_sinpi((mj_i32)(2 * i), (mj_i32)window);
  });
}

MJ_DEVICE mj_i64 mj_smallest_factor(mj_i64 n) {
  for (mj_i64 r = 2; r * r <= n; r++) {
    if (n % r == 0) return r;
  }
  return n;
}

/* Two buffers of `window` complex numbers a block: in shared memory, or where they are too large
 * in `work`. */
MJ_KERNEL mj_spectrogram_kernel(mj_i64 frames, mj_i64 window, mj_i64 hop, const float *samples, const float *tables, float *work, float *out) {
  const float *cos = tables + window, *sin = tables + 2 * window;
  const mj_i64 features = window / 2 + 1;
  mj_complex<float> *base = (mj_complex<float> *)(work == nullptr ? mj_shared : work + blockIdx.x * 4 * window);
  for (mj_i64 frame = blockIdx.x; frame < frames; frame += gridDim.x) {
    mj_complex<float> *x = base, *y = base + window;
    for (mj_i64 i = threadIdx.x; i < window; i += blockDim.x) {
      x[i].re = mj_mul(samples[frame * hop + i], tables[i]);
      x[i].im = 0.0f;
    }
    __syncthreads();
    for (mj_i64 n = window, stride = 1; n > 1;) {
      const mj_i64 r = mj_smallest_factor(n), m = n / r;
      for (mj_i64 o = threadIdx.x; o < window; o += blockDim.x) { /* output o = q + stride * (r * p + j) */
        const mj_i64 q = o % stride, j = o / stride % r, p = o / stride / r;
        mj_complex<float> sum = {0.0f, 0.0f};
        for (mj_i64 i = 0; i < r; i++) {
          const mj_i64 root = i * j * (window / r) % window;
          sum = mj_complex_term(sum, x[q + stride * (p + m * i)], cos[root], sin[root]);
        }
        const mj_i64 turn = p * j * stride % window;
        y[o] = mj_complex_turn(sum, cos[turn], sin[turn]);
      }
      __syncthreads();
      mj_complex<float> *const swap = x;
      x = y;
      y = swap;
      n = m;
      stride *= r;
    }
    for (mj_i64 f = threadIdx.x; f < features; f += blockDim.x) out[frame * features + f] = mj_log_power(x[f]);
    __syncthreads();
  }
}
