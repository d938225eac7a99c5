/* Drivers of the normalisations.
 *
 * Policy. Sums over frames: chunks of items are the tasks (items.h). Maps: blocks of rows. Sums over
 * a row's columns: MJ_LANES rows side by side, one in each lane.
 */
#include "../norm.h"

#include "../entry_points.h"
#include "items.h"
#include "maps.h"

namespace {

using mj::each;
using mj::load_as;
using mj::store_as;

using mj::rows_of_a_task;

/* body(leaf, row) for all rows of all leaves. */
template <class Body> void leaf_rows(int64_t leaves, const int64_t *offsets, int64_t columns, Body body) {
  for (int64_t leaf = 0; leaf < leaves; leaf++) {
    mj::parallel_blocks(offsets[leaf + 1] - offsets[leaf], rows_of_a_task(columns), [&](int64_t start, int64_t stop) {
      for (int64_t row = offsets[leaf] + start; row < offsets[leaf] + stop; row++) body(leaf, row);
    });
  }
}

/* Columns start..start + count of `live` rows side by side, a row in each lane; the lanes beyond repeat
 * the last row. */
void turn(int64_t live, int64_t columns, const float *rows, int64_t start, int64_t count, float *to) {
  for (int64_t lane = 0; lane < MJ_LANES; lane++) {
    const float *from = rows + std::min(lane, live - 1) * columns + start;
    for (int64_t j = 0; j < count; j++) to[j * MJ_LANES + lane] = from[j];
  }
}

/* Canonical sum in each lane; bring(start, count) fetches columns, add(sums, at) adds the one that lies at
 * place `at` of what was brought. */
template <class Bring, class Add> mj_vf sum_lanes(int64_t columns, Bring bring, Add add) {
  mj_vf total = mj_splat<mj_vf>(0.0f);
  for (int64_t start = 0; start < columns; start += MJ_CHUNK) {
    const int64_t count = std::min<int64_t>(MJ_CHUNK, columns - start);
    bring(start, count);
    mj_vf acc = mj_splat<mj_vf>(0.0f);
    for (int64_t i = 0; i < count; i++) acc = add(acc, i * MJ_LANES);
    total = mj_total(start == 0, total, acc);
  }
  return total;
}

/* body(first row, live rows, room for two times MJ_CHUNK columns) over blocks of MJ_LANES rows. */
template <class Body> void row_blocks(int64_t rows, Body body) {
  mj::parallel((rows + MJ_LANES - 1) / MJ_LANES, [&](int64_t task) {
    const int64_t first = task * MJ_LANES;
    body(first, std::min<int64_t>(MJ_LANES, rows - first), mj::workspace_of<float>(mj::PACKED_A, 2 * MJ_CHUNK * MJ_LANES));
  });
}

mj_vf mean_lanes(mj_vf sums, int64_t count) {
  for (int lane = 0; lane < MJ_LANES; lane++) sums[lane] = mj_mean_over(sums[lane], (mj_i32)count);
  return sums;
}

}  // namespace

void mj_square_items(int64_t items, const int64_t *offsets, const int64_t *order, const int64_t *leaves, int64_t columns,
                     const float *x, const float *mean, float *out) {
  mj::sum_items(items, offsets, order, columns, out, [=](float *sums, int64_t item, int64_t, int64_t row) {
    const float *from = x + row * columns, *center = mean + leaves[item] * columns;
    each(0, columns, [&](int64_t j, auto as) {
      using F = decltype(as);
      store_as(sums + j, mj_term_deviation(load_as<F>(sums + j), load_as<F>(from + j), load_as<F>(center + j)));
    });
  });
}

void mj_norm_dot_items(int64_t items, const int64_t *offsets, const int64_t *order, const int64_t *leaves, int64_t columns,
                       const float *dy, const float *x, const float *mean, const float *rstd, float *out) {
  mj::sum_items(items, offsets, order, 2 * columns, out, [=](float *sums, int64_t item, int64_t, int64_t row) {
    const int64_t leaf = leaves[item] * columns;
    each(0, columns, [&](int64_t j, auto as) {
      using F = decltype(as);
      const F d = load_as<F>(dy + row * columns + j);
      const F hat = mj_norm_hat(load_as<F>(x + row * columns + j), load_as<F>(mean + leaf + j), load_as<F>(rstd + leaf + j));
      store_as(sums + j, mj_term(load_as<F>(sums + j), d));
      store_as(sums + columns + j, mj_term_product(load_as<F>(sums + columns + j), d, hat));
    });
  });
}

void mj_leaf_means(int64_t leaves, const int64_t *counts, int64_t columns, const float *sums, float *out) {
  for (int64_t leaf = 0; leaf < leaves; leaf++) {
    for (int64_t j = 0; j < columns; j++) {
      out[leaf * columns + j] = mj_mean_over(sums[leaf * columns + j], (mj_i32)counts[leaf]);
    }
  }
}

void mj_rstd_array(int64_t count, const float *variance, float *out) {
  for (int64_t i = 0; i < count; i++) out[i] = mj_norm_rstd(variance[i]);
}

void mj_norm_rows(int64_t leaves, const int64_t *offsets, int64_t columns, const float *x, const float *mean, const float *rstd,
                  const float *gain, const float *bias, int64_t clipped, float *out) {
  leaf_rows(leaves, offsets, columns, [=](int64_t leaf, int64_t row) {
    each(0, columns, [&](int64_t j, auto as) {
      using F = decltype(as);
      const int64_t i = row * columns + j, k = leaf * columns + j;
      const F hat = mj_norm_hat(load_as<F>(x + i), load_as<F>(mean + k), load_as<F>(rstd + k));
      const F by = load_as<F>(gain + j), plus = load_as<F>(bias + j);
      store_as(out + i, clipped ? mj_norm_rectify(hat, by, plus) : mj_norm_affine(hat, by, plus));
    });
  });
}

void mj_norm_backward_rows(int64_t leaves, const int64_t *offsets, int64_t columns, const float *dy, const float *x,
                           const float *mean, const float *rstd, const float *gain, const float *means, float *out) {
  leaf_rows(leaves, offsets, columns, [=](int64_t leaf, int64_t row) {
    each(0, columns, [&](int64_t j, auto as) {
      using F = decltype(as);
      const int64_t i = row * columns + j, k = leaf * columns + j, both = 2 * leaf * columns + j;
      const F deviation = load_as<F>(rstd + k), hat = mj_norm_hat(load_as<F>(x + i), load_as<F>(mean + k), deviation);
      store_as(out + i, mj_norm_backward(mj_mul(load_as<F>(gain + j), deviation), load_as<F>(dy + i), hat,
                                         load_as<F>(means + both), load_as<F>(means + both + columns)));
    });
  });
}

void mj_running_array(int64_t count, const float *sums, float number, float rate, float *running) {
  for (int64_t i = 0; i < count; i++) running[i] = mj_running(running[i], sums[i], number, rate);
}

void mj_layer_norm_rows(int64_t rows, int64_t columns, const float *x, const float *gain, const float *bias, float *out,
                        float *mean, float *rstd) {
  row_blocks(rows, [=](int64_t first, int64_t live, float *turned) {
    const auto bring = [&](int64_t start, int64_t count) { turn(live, columns, x + first * columns, start, count, turned); };
    const mj_vf means = mean_lanes(
        sum_lanes(columns, bring, [&](mj_vf acc, int64_t i) { return mj_term(acc, mj_load(turned + i)); }), columns);
    const mj_vf variances = mean_lanes(
        sum_lanes(columns, bring, [&](mj_vf acc, int64_t i) { return mj_term_deviation(acc, mj_load(turned + i), means); }),
        columns);
    for (int64_t lane = 0; lane < live; lane++) {
      const int64_t row = first + lane;
      mean[row] = means[lane];
      rstd[row] = mj_norm_rstd(variances[lane]);
      each(0, columns, [&](int64_t j, auto as) {
        using F = decltype(as);
        const F hat = mj_norm_hat(load_as<F>(x + row * columns + j), mj_splat<F>(mean[row]), mj_splat<F>(rstd[row]));
        store_as(out + row * columns + j, mj_norm_affine(hat, load_as<F>(gain + j), load_as<F>(bias + j)));
      });
    }
  });
}

void mj_layer_norm_backward_rows(int64_t rows, int64_t columns, const float *dy, const float *x, const float *mean,
                                 const float *rstd, const float *gain, float *out, float *dy_hat) {
  row_blocks(rows, [=](int64_t first, int64_t live, float *turned) {
    /* Scaled gradients and deviations of the block: `out` and `dy_hat` hold them until the end. */
    for (int64_t row = first; row < first + live; row++) {
      each(0, columns, [&](int64_t j, auto as) {
        using F = decltype(as);
        const int64_t i = row * columns + j;
        store_as(out + i, mj_mul(load_as<F>(gain + j), load_as<F>(dy + i)));
        store_as(dy_hat + i, mj_norm_hat(load_as<F>(x + i), mj_splat<F>(mean[row]), mj_splat<F>(rstd[row])));
      });
    }
    float *hats = turned + MJ_CHUNK * MJ_LANES;
    const auto bring = [&](int64_t start, int64_t count) { turn(live, columns, out + first * columns, start, count, turned); };
    const mj_vf means = mean_lanes(
        sum_lanes(columns, bring, [&](mj_vf acc, int64_t i) { return mj_term(acc, mj_load(turned + i)); }), columns);
    const auto bring_both = [&](int64_t start, int64_t count) {
      bring(start, count);
      turn(live, columns, dy_hat + first * columns, start, count, hats);
    };
    const auto add_product = [&](mj_vf acc, int64_t i) { return mj_term_product(acc, mj_load(turned + i), mj_load(hats + i)); };
    const mj_vf hat_means = mean_lanes(sum_lanes(columns, bring_both, add_product), columns);
    for (int64_t lane = 0; lane < live; lane++) {
      const int64_t row = first + lane;
      each(0, columns, [&](int64_t j, auto as) {
        using F = decltype(as);
        const int64_t i = row * columns + j;
        const F hat = load_as<F>(dy_hat + i);
        store_as(out + i, mj_norm_backward(mj_splat<F>(rstd[row]), load_as<F>(out + i), hat, mj_splat<F>(means[lane]),
                                           mj_splat<F>(hat_means[lane])));
        store_as(dy_hat + i, mj_mul(load_as<F>(dy + i), hat));
      });
    }
  });
}
