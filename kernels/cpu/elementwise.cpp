/* Drivers of the elementwise bodies, of random numbers and of the optimizer.
 *
 * Policy. Blocks of elements or of rows are the tasks.
 */
#include "../elementwise.h"

#include <algorithm>

#include "../entry_points.h"
#include "../mj_math.h"
#include "../mj_random.h"
#include "../optim.h"
#include "lanes.h"
#include "threads.h"

namespace {

constexpr int64_t GRAIN = 1 << 14; /* elements of a task */

using mj::each;
using mj::load_as;
using mj::store_as;

template <class Body> void elements(int64_t count, Body body) {
  mj::parallel_blocks(count, GRAIN, [&](int64_t start, int64_t stop) { each(start, stop, body); });
}

/* body(index in the matrix, column, F()). */
template <class Body> void matrix(int64_t rows, int64_t columns, Body body) {
  if (columns == 0) return;
  mj::parallel_blocks(rows, std::max<int64_t>(1, GRAIN / columns), [&](int64_t start, int64_t stop) {
    for (int64_t row = start; row < stop; row++) {
      each(0, columns, [&](int64_t j, auto as) { body(row * columns + j, j, as); });
    }
  });
}

}  // namespace

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

void mj_clip_array(int64_t count, const float *x, float *out) {
  elements(count, [=](int64_t i, auto as) { store_as(out + i, mj_clip(load_as<decltype(as)>(x + i))); });
}

void mj_clip_backward_array(int64_t count, const float *dy, const float *y, float *out) {
  elements(count, [=](int64_t i, auto as) {
    using F = decltype(as);
    store_as(out + i, mj_clip_backward(load_as<F>(dy + i), load_as<F>(y + i)));
  });
}

void mj_bias_rows(int64_t rows, int64_t columns, const float *x, const float *bias, float *out) {
  matrix(rows, columns, [=](int64_t i, int64_t j, auto as) {
    using F = decltype(as);
    store_as(out + i, mj_bias(load_as<F>(x + i), load_as<F>(bias + j)));
  });
}

void mj_bias_clip_rows(int64_t rows, int64_t columns, const float *x, const float *bias, float *out) {
  matrix(rows, columns, [=](int64_t i, int64_t j, auto as) {
    using F = decltype(as);
    store_as(out + i, mj_bias_clip(load_as<F>(x + i), load_as<F>(bias + j)));
  });
}

void mj_normalise_rows(int64_t rows, int64_t columns, const float *x, const float *mean, const float *scale, float *out) {
  matrix(rows, columns, [=](int64_t i, int64_t j, auto as) {
    using F = decltype(as);
    store_as(out + i, mj_normalise(load_as<F>(x + i), load_as<F>(mean + j), load_as<F>(scale + j)));
  });
}

void mj_mean_of(int64_t columns, const float *center, const float *sums, float count, float *out) {
  for (int64_t j = 0; j < columns; j++) out[j] = mj_mean(center[j], sums[j], count);
}

void mj_scale_of(int64_t columns, const float *sums, const float *square_sums, float count, float *out) {
  for (int64_t j = 0; j < columns; j++) out[j] = mj_scale(sums[j], square_sums[j], count);
}

void mj_sum_directions(int64_t rows, int64_t directions, int64_t hidden, const float *h, float *out) {
  matrix(rows, hidden, [=](int64_t i, int64_t j, auto as) {
    using F = decltype(as);
    const float *from = h + (i - j) * directions + j;
    F sum = load_as<F>(from);
    for (int64_t d = 1; d < directions; d++) sum = mj_add(sum, load_as<F>(from + d * hidden));
    store_as(out + i, sum);
  });
}

void mj_repeat_directions(int64_t rows, int64_t directions, int64_t hidden, const float *dy, float *out) {
  matrix(rows, hidden, [=](int64_t i, int64_t j, auto as) {
    using F = decltype(as);
    for (int64_t d = 0; d < directions; d++) store_as(out + (i - j) * directions + d * hidden + j, load_as<F>(dy + i));
  });
}

void mj_argmax_rows(int64_t rows, int64_t columns, const float *x, int32_t *out) {
  mj::parallel_blocks(rows, 256, [&](int64_t start, int64_t stop) {
    for (int64_t i = start; i < stop; i++) out[i] = (int32_t)(std::max_element(x + i * columns, x + (i + 1) * columns) - (x + i * columns));
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

void mj_norm_and_factor(const float *square_sum, float limit, float *norm, float *factor) {
  *norm = mj_norm(*square_sum);
  *factor = mj_norm_factor(*norm, limit);
}

void mj_nesterov_array(int64_t count, float *parameters, float *velocities, const float *gradients, const float *factor,
                       const float *rate, float momentum, float decay) {
  const float by = *factor, at = *rate;
  elements(count, [=](int64_t i, auto as) {
    using F = decltype(as);
    const mj_nesterov_state<F> s =
        mj_nesterov(load_as<F>(parameters + i), load_as<F>(velocities + i), load_as<F>(gradients + i), mj_splat<F>(by),
                    mj_splat<F>(at), mj_splat<F>(momentum), mj_splat<F>(decay));
    store_as(parameters + i, s.parameter);
    store_as(velocities + i, s.velocity);
  });
}

void mj_learning_rate_at(float rate, float anneal, int64_t epoch, int64_t hold, int64_t step, int64_t warmup, float *out) {
  *out = mj_learning_rate(rate, anneal, (mj_i32)epoch, (mj_i32)hold, (mj_i32)step, (mj_i32)warmup);
}

void mj_math_array(int64_t function, int64_t count, const float *x, float *out) {
  elements(count, [=](int64_t i, auto as) {
    using F = decltype(as);
    store_as(out + i, function == 0 ? mj_exp(load_as<F>(x + i)) : mj_log(load_as<F>(x + i)));
  });
}

void mj_fma_array(int64_t count, const float *a, const float *b, const float *c, float *out) {
  elements(count, [=](int64_t i, auto as) {
    using F = decltype(as);
    store_as(out + i, mj_fma(load_as<F>(a + i), load_as<F>(b + i), load_as<F>(c + i)));
  });
}
