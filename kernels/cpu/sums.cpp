/* Drivers of sums over frames: leaf by leaf, item by item, and of vectors along the tree.
 *
 * Policy. Outputs side by side are the tasks; how leaves are merged stands in slots.h.
 */
#include "../sums.h"

#include <string.h>

#include <algorithm>

#include "../entry_points.h"
#include "items.h"
#include "slots.h"

namespace {

/* Canonical sum of each of `columns` columns; term(value, column) is what is summed. */
template <class Term>
void sum_columns(int64_t rows, int64_t columns, const float *x, int64_t x_row, float *out, Term term) {
  mj::parallel_blocks(columns, 4 * MJ_LANES, [&](int64_t start, int64_t stop) {
    int64_t j = start;
    for (; j + MJ_LANES <= stop; j += MJ_LANES) {
      mj_store(out + j, mj_sum<mj_vf>(rows, [&](long i) { return term(mj_load(x + i * x_row + j), j); }));
    }
    for (; j < stop; j++) {
      out[j] = mj_sum<float>(rows, [&](long i) { return term(x[i * x_row + j], j); });
    }
  });
}

const auto itself = [](auto x, int64_t) { return x; };

}  // namespace

void mj_sum_leaves(int64_t leaves, const int64_t *offsets, const int32_t *merges, int64_t columns, const float *x,
                   int64_t x_row, float *slots, int64_t slot_stride, int64_t rounded) {
  mj::over_leaves(leaves, merges, 1, columns, slots, slot_stride, rounded, [&](int64_t leaf, float *slot) {
    const int64_t start = offsets[leaf];
    sum_columns(offsets[leaf + 1] - start, columns, x + start * x_row, x_row, slot, itself);
  });
}

void mj_sum_rows(int64_t rows, int64_t columns, const float *x, float *out) {
  sum_columns(rows, columns, x, columns, out, itself);
}

/* The entry of `center` that belongs to the columns of `value`. */
template <class F> static F center_of(const float *center, int64_t column, F) {
  F at;
  memcpy(&at, center + column, sizeof at);
  return at;
}

void mj_sum_deviations(int64_t rows, int64_t columns, const float *x, const float *center, float *out) {
  sum_columns(rows, columns, x, columns, out,
              [&](auto value, int64_t j) { return mj_deviation(value, center_of(center, j, value)); });
}

void mj_sum_square_deviations(int64_t rows, int64_t columns, const float *x, const float *center, float *out) {
  sum_columns(rows, columns, x, columns, out,
              [&](auto value, int64_t j) { return mj_square_deviation(value, center_of(center, j, value)); });
}

void mj_tree_sum(int64_t nodes, const int64_t *addresses, const int32_t *merges, int64_t outputs,
                 const int64_t *output_addresses, int64_t count, int64_t rounded) {
  constexpr int64_t BLOCK = 2048, DEPTH = 64;
  mj::parallel_blocks(count, BLOCK, [&](int64_t start, int64_t stop) {
    /* The stack holds whole inputs in place until a merge makes a sum of its own. */
    float *sums = mj::workspace_of<float>(mj::LATTICE, DEPTH * BLOCK);
    const float *stack[DEPTH];
    int64_t top = 0;
    for (int64_t node = 0; node < nodes; node++) {
      stack[top++] = reinterpret_cast<const float *>(addresses[node]) + start;
      for (int32_t merge = 0; merge < merges[node]; merge++) {
        top--;
        float *sum = sums + (top - 1) * BLOCK;
        mj::add_block(stop - start, stack[top - 1], stack[top], sum, rounded);
        stack[top - 1] = sum;
      }
    }
    for (int64_t out = 0; out < outputs; out++) {
      memcpy(reinterpret_cast<float *>(output_addresses[out]) + start, stack[out], (stop - start) * sizeof(float));
    }
  });
}

void mj_square_sum(int64_t count, const float *x, float *out) {
  /* Chunks are lanes here: each lane runs up its own chunk, then the chunk sums are added up. */
  const int64_t chunks = (count + MJ_CHUNK - 1) / MJ_CHUNK;
  float *sums = mj::workspace_of<float>(mj::LATTICE, chunks + 1);
  mj::parallel_blocks(chunks, 256, [&](int64_t start, int64_t stop) {
    int64_t c = start;
    for (; c + MJ_LANES <= stop && (c + MJ_LANES) * MJ_CHUNK <= count; c += MJ_LANES) {
      mj_vf acc = mj_splat<mj_vf>(0.0f);
      for (int64_t i = 0; i < MJ_CHUNK; i++) {
        mj_vf term;
        for (int lane = 0; lane < MJ_LANES; lane++) term[lane] = x[(c + lane) * MJ_CHUNK + i];
        acc = mj_term_product(acc, term, term);
      }
      mj_store(sums + c, acc);
    }
    for (; c < stop; c++) {
      float acc = 0.0f;
      for (int64_t i = c * MJ_CHUNK; i < std::min<int64_t>((c + 1) * MJ_CHUNK, count); i++) {
        acc = mj_term_product(acc, x[i], x[i]);
      }
      sums[c] = acc;
    }
  });
  float total = 0.0f;
  for (int64_t c = 0; c < chunks; c++) total = mj_total(c == 0, total, sums[c]);
  *out = total;
}

void mj_sum_items(int64_t items, const int64_t *offsets, const int64_t *order, int64_t columns, const float *x, float *out) {
  mj::sum_items(items, offsets, order, columns, out, [=](float *sums, int64_t, int64_t, int64_t row) {
    mj::each(0, columns, [&](int64_t j, auto as) {
      using F = decltype(as);
      mj::store_as(sums + j, mj_term(mj::load_as<F>(sums + j), mj::load_as<F>(x + row * columns + j)));
    });
  });
}

void mj_mean_of(int64_t columns, const float *center, const float *sums, float count, float *out) {
  for (int64_t j = 0; j < columns; j++) out[j] = mj_mean(center[j], sums[j], count);
}

void mj_scale_of(int64_t columns, const float *sums, const float *square_sums, float count, float *out) {
  for (int64_t j = 0; j < columns; j++) out[j] = mj_scale(sums[j], square_sums[j], count);
}
