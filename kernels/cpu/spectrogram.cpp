/* Driver of the spectrogram: MJ_LANES frames side by side, one in each lane.
 *
 * Policy. A task is a block of frames; the tables of roots and window are made once per call.
 */
#include <algorithm>
#include <utility>
#include <vector>

#include "../entry_points.h"
#include "../spectrogram.h"
#include "threads.h"

namespace {

using Number = mj_complex<mj_vf>;

struct Tables {
  int64_t size;
  std::vector<float> window, cos, sin;
  explicit Tables(int64_t n) : size(n), window(n), cos(n), sin(n) {
    for (int64_t i = 0; i < n; i++) {
      window[i] = mj_hann((mj_i32)i, (mj_i32)n);
      cos[i] = mj_cospi((mj_i32)(2 * i), (mj_i32)n);
      sin[i] = mj_sinpi((mj_i32)(2 * i), (mj_i32)n);
    }
  }
};

int64_t smallest_factor(int64_t n) {
  for (int64_t r = 2; r * r <= n; r++) {
    if (n % r == 0) return r;
  }
  return n;
}

/* Stockham transform of `size` numbers (Van Loan 1992, section 1.7); the result is where it returns. */
Number *transform(const Tables &table, Number *x, Number *y) {
  const int64_t size = table.size;
  for (int64_t n = size, stride = 1; n > 1;) {
    const int64_t r = smallest_factor(n), m = n / r;
    for (int64_t p = 0; p < m; p++) {
      for (int64_t j = 0; j < r; j++) {
        const int64_t turn = p * j * stride % size;
        for (int64_t q = 0; q < stride; q++) {
          Number sum = {mj_splat<mj_vf>(0.0f), mj_splat<mj_vf>(0.0f)};
          for (int64_t i = 0; i < r; i++) {
            const int64_t root = i * j * (size / r) % size;
            sum = mj_complex_term(sum, x[q + stride * (p + m * i)], table.cos[root], table.sin[root]);
          }
          y[q + stride * (r * p + j)] = mj_complex_turn(sum, table.cos[turn], table.sin[turn]);
        }
      }
    }
    std::swap(x, y);
    n = m;
    stride *= r;
  }
  return x;
}

}  // namespace

void mj_spectrogram(int64_t frames, int64_t window, int64_t hop, const float *samples, float *out) {
  const Tables table(window);
  const int64_t features = window / 2 + 1;
  mj::parallel_blocks(frames, MJ_LANES, [&](int64_t start, int64_t stop) {
    Number *x = mj::workspace_of<Number>(mj::STATE, 2 * window);
    for (int64_t i = 0; i < window; i++) {
      mj_vf sample;
      /* Spare lanes of the last block repeat its last frame. */
      for (int64_t lane = 0; lane < MJ_LANES; lane++) sample[lane] = samples[std::min(start + lane, stop - 1) * hop + i];
      x[i] = {mj_mul(sample, mj_splat<mj_vf>(table.window[i])), mj_splat<mj_vf>(0.0f)};
    }
    const Number *spectrum = transform(table, x, x + window);
    for (int64_t f = 0; f < features; f++) {
      const mj_vf power = mj_log_power(spectrum[f]);
      for (int64_t t = start; t < stop; t++) out[t * features + f] = power[t - start];
    }
  });
}
