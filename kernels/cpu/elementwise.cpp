/* Drivers of the elementwise bodies.
 *
 * Policy. Blocks of elements or of rows are the tasks (maps.h).
 */
#include "../elementwise.h"

#include <algorithm>

#include "../entry_points.h"
#include "../mj_math.h"
#include "../mj_sum.h"
#include "maps.h"

using mj::elements;
using mj::load_as;
using mj::matrix;
using mj::store_as;

void mj_add_arrays(int64_t count, const float *a, const float *b, float *out) {
  elements(count, [=](int64_t i, auto as) {
    using F = decltype(as);
    store_as(out + i, mj_add(load_as<F>(a + i), load_as<F>(b + i)));
  });
}

void mj_multiply_arrays(int64_t count, const float *a, const float *b, float *out) {
  elements(count, [=](int64_t i, auto as) {
    using F = decltype(as);
    store_as(out + i, mj_mul(load_as<F>(a + i), load_as<F>(b + i)));
  });
}

void mj_rectify_array(int64_t count, const float *x, float *out) {
  elements(count, [=](int64_t i, auto as) { store_as(out + i, mj_rectify(load_as<decltype(as)>(x + i))); });
}

void mj_rectify_backward_array(int64_t count, const float *dy, const float *y, float *out) {
  elements(count, [=](int64_t i, auto as) {
    using F = decltype(as);
    store_as(out + i, mj_rectify_backward(load_as<F>(dy + i), load_as<F>(y + i)));
  });
}

void mj_round_bfloat16_array(int64_t count, const float *x, float *out) {
  elements(count, [=](int64_t i, auto as) { store_as(out + i, mj_round_bfloat16(load_as<decltype(as)>(x + i))); });
}

void mj_bias_rows(int64_t rows, int64_t columns, const float *x, const float *bias, float *out) {
  matrix(rows, columns, [=](int64_t i, int64_t j, auto as) {
    using F = decltype(as);
    store_as(out + i, mj_bias(load_as<F>(x + i), load_as<F>(bias + j)));
  });
}

void mj_bias_rectify_rows(int64_t rows, int64_t columns, const float *x, const float *bias, float *out) {
  matrix(rows, columns, [=](int64_t i, int64_t j, auto as) {
    using F = decltype(as);
    store_as(out + i, mj_bias_rectify(load_as<F>(x + i), load_as<F>(bias + j)));
  });
}

void mj_normalise_rows(int64_t rows, int64_t columns, const float *x, const float *mean, const float *scale, float *out) {
  matrix(rows, columns, [=](int64_t i, int64_t j, auto as) {
    using F = decltype(as);
    store_as(out + i, mj_normalise(load_as<F>(x + i), load_as<F>(mean + j), load_as<F>(scale + j)));
  });
}

void mj_context_rows(int64_t utterances, const int64_t *offsets, int64_t features, int64_t context, const float *x,
                     float *out) {
  const int64_t width = 2 * context + 1;
  mj::parallel(utterances, [&](int64_t u) {
    for (int64_t row = offsets[u]; row < offsets[u + 1]; row++) {
      float *to = out + row * width * features;
      const int64_t first = std::max(row - context, offsets[u]), last = std::min(row + context + 1, offsets[u + 1]);
      const int64_t before = first - (row - context), live = last - first;
      memset(to, 0, before * features * sizeof(float));
      memcpy(to + before * features, x + first * features, live * features * sizeof(float));
      memset(to + (before + live) * features, 0, (width - before - live) * features * sizeof(float));
    }
  });
}

void mj_math_array(int64_t function, int64_t count, const float *x, float *out) {
  elements(count, [=](int64_t i, auto as) {
    using F = decltype(as);
    store_as(out + i, mj_math(function, load_as<F>(x + i)));
  });
}

void mj_fma_array(int64_t count, const float *a, const float *b, const float *c, float *out) {
  elements(count, [=](int64_t i, auto as) {
    using F = decltype(as);
    store_as(out + i, mj_fma(load_as<F>(a + i), load_as<F>(b + i), load_as<F>(c + i)));
  });
}
