/* Drivers of the elementwise bodies.
 *
 * Policy. Maps (quads.h), in loops over the grid, so any grid gives the same bits.
 */
#include "../elementwise.h"
#include "../mj_math.h"
#include "../mj_sum.h"
#include "quads.h"

MJ_KERNEL mj_add_arrays_kernel(mj_i64 count, const float *a, const float *b, float *out) {
  mj_quads(count, [](float l, float r, float &o) { o = mj_add(l, r); }, mj_in{a}, mj_in{b}, mj_out{out});
}

MJ_KERNEL mj_multiply_arrays_kernel(mj_i64 count, const float *a, const float *b, float *out) {
  mj_quads(count, [](float l, float r, float &o) { o = mj_mul(l, r); }, mj_in{a}, mj_in{b}, mj_out{out});
}

MJ_KERNEL mj_rectify_array_kernel(mj_i64 count, const float *x, float *out) {
  mj_quads(count, [](float v, float &o) { o = mj_rectify(v); }, mj_in{x}, mj_out{out});
}

MJ_KERNEL mj_rectify_backward_array_kernel(mj_i64 count, const float *dy, const float *y, float *out) {
  mj_quads(count, [](float d, float v, float &o) { o = mj_rectify_backward(d, v); }, mj_in{dy}, mj_in{y}, mj_out{out});
}

MJ_KERNEL mj_round_bfloat16_array_kernel(mj_i64 count, const float *x, float *out) {
  mj_quads(count, [](float v, float &o) { o = mj_round_bfloat16(v); }, mj_in{x}, mj_out{out});
}

MJ_KERNEL mj_bias_rows_kernel(mj_i64 rows, mj_i64 columns, const float *x, const float *bias, float *out) {
  mj_row_quads(rows, columns, [](float v, float b, float &o) { o = mj_bias(v, b); }, mj_in{x}, mj_per_column{bias}, mj_out{out});
}

MJ_KERNEL mj_bias_rectify_rows_kernel(mj_i64 rows, mj_i64 columns, const float *x, const float *bias, float *out) {
  mj_row_quads(rows, columns, [](float v, float b, float &o) { o = mj_bias_rectify(v, b); }, mj_in{x}, mj_per_column{bias}, mj_out{out});
}

MJ_KERNEL mj_normalise_rows_kernel(mj_i64 rows, mj_i64 columns, const float *x, const float *mean, const float *scale, float *out) {
  mj_row_quads(
      rows, columns, [](float v, float m, float s, float &o) { o = mj_normalise(v, m, s); }, mj_in{x}, mj_per_column{mean},
      mj_per_column{scale}, mj_out{out});
}

MJ_KERNEL mj_context_rows_kernel(mj_i64 utterances, const mj_i64 *offsets, mj_i64 features, mj_i64 context, const float *x, float *out) {
  const mj_i64 columns = (2 * context + 1) * features;
  mj_utterance_rows(utterances, offsets, columns, [=](mj_i64 u, mj_i64 row, mj_i64 j) {
    const mj_i64 from = (row - context) * features + j; /* rows lie one after another in x too */
    const bool inside = from >= offsets[u] * features && from < offsets[u + 1] * features;
    out[row * columns + j] = inside ? x[from] : 0.0f;
  });
}

MJ_KERNEL mj_math_array_kernel(mj_i64 function, mj_i64 count, const float *x, float *out) {
  mj_quads(count, [=](float v, float &o) { o = mj_math(function, v); }, mj_in{x}, mj_out{out});
}

MJ_KERNEL mj_fma_array_kernel(mj_i64 count, const float *a, const float *b, const float *c, float *out) {
  mj_quads(count, [](float l, float r, float s, float &o) { o = mj_fma(l, r, s); }, mj_in{a}, mj_in{b}, mj_in{c}, mj_out{out});
}
