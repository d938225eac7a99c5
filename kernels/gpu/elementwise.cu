/* Drivers of the elementwise bodies.
 *
 * Policy. One thread an output, in loops over the grid, so any grid gives the same bits.
 */
#include "../elementwise.h"
#include "../mj_math.h"
#include "../mj_sum.h"
#include "driver.h"

MJ_KERNEL mj_add_arrays_kernel(mj_i64 count, const float *a, const float *b, float *out) {
  mj_elements(count, [=](mj_i64 i) { out[i] = mj_add(a[i], b[i]); });
}

MJ_KERNEL mj_multiply_arrays_kernel(mj_i64 count, const float *a, const float *b, float *out) {
  mj_elements(count, [=](mj_i64 i) { out[i] = mj_mul(a[i], b[i]); });
}

MJ_KERNEL mj_rectify_array_kernel(mj_i64 count, const float *x, float *out) {
  mj_elements(count, [=](mj_i64 i) { out[i] = mj_rectify(x[i]); });
}

MJ_KERNEL mj_rectify_backward_array_kernel(mj_i64 count, const float *dy, const float *y, float *out) {
  mj_elements(count, [=](mj_i64 i) { out[i] = mj_rectify_backward(dy[i], y[i]); });
}

MJ_KERNEL mj_round_bfloat16_array_kernel(mj_i64 count, const float *x, float *out) {
  mj_elements(count, [=](mj_i64 i) { out[i] = mj_round_bfloat16(x[i]); });
}

MJ_KERNEL mj_bias_rows_kernel(mj_i64 rows, mj_i64 columns, const float *x, const float *bias, float *out) {
  mj_matrix(rows, columns, [=](mj_i64 i, mj_i64 j) { out[i * columns + j] = mj_bias(x[i * columns + j], bias[j]); });
}

MJ_KERNEL mj_bias_rectify_rows_kernel(mj_i64 rows, mj_i64 columns, const float *x, const float *bias, float *out) {
  mj_matrix(rows, columns, [=](mj_i64 i, mj_i64 j) { out[i * columns + j] = mj_bias_rectify(x[i * columns + j], bias[j]); });
}

MJ_KERNEL mj_normalise_rows_kernel(mj_i64 rows, mj_i64 columns, const float *x, const float *mean, const float *scale, float *out) {
  mj_matrix(rows, columns, [=](mj_i64 i, mj_i64 j) {
    out[i * columns + j] = mj_normalise(x[i * columns + j], mean[j], scale[j]);
  });
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
  mj_elements(count, [=](mj_i64 i) { out[i] = mj_math(function, x[i]); });
}

MJ_KERNEL mj_fma_array_kernel(mj_i64 count, const float *a, const float *b, const float *c, float *out) {
  mj_elements(count, [=](mj_i64 i) { out[i] = mj_fma(a[i], b[i], c[i]); });
}
