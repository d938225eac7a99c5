/* Drivers of everything that is summed over frames: leaf by leaf, then along the tree.
 *
 * Policy. Each leaf's result is pushed on a stack of slots and merged with the one below it as
 * often as the program `merges` says (majelpy/tree.py), so at most log2(leaves) + 1
 * vectors are open. Merges add left + right; what the tree keeps may be rounded (mj_kept).
 */
#include <string.h>

#include <algorithm>

#include "../entry_points.h"
#include "../elementwise.h"
#include "../mj_sum.h"
#include "gemm.h"
#include "threads.h"

namespace {

constexpr int64_t GRAIN = 1 << 14; /* elements of a task: some microseconds of work */

/* out = left + right as the tree keeps it, elementwise; out may be left. */
void add_block(int64_t count, const float *left, const float *right, float *out, bool rounded) {
  int64_t i = 0;
  for (; i + MJ_LANES <= count; i += MJ_LANES) {
    mj_store(out + i, mj_kept(rounded, mj_add(mj_load(left + i), mj_load(right + i))));
  }
  for (; i < count; i++) out[i] = mj_kept(rounded, mj_add(left[i], right[i]));
}

/* x as the tree keeps it when it rounds. */
void round_block(int64_t count, float *x) {
  int64_t i = 0;
  for (; i + MJ_LANES <= count; i += MJ_LANES) mj_store(x + i, mj_kept(true, mj_load(x + i)));
  for (; i < count; i++) x[i] = mj_kept(true, x[i]);
}

/* compute(leaf, slot) for each leaf, and the merges after each. */
template <class Compute>
void over_leaves(int64_t leaves, const int32_t *merges, int64_t rows, int64_t columns, float *slots, int64_t stride,
                 bool rounded, Compute compute) {
  const int64_t count = rows * columns;
  float *top = slots;
  for (int64_t leaf = 0; leaf < leaves; leaf++, top += stride) {
    compute(leaf, top);
    if (rounded) {
      mj::parallel_blocks(count, GRAIN, [&](int64_t start, int64_t stop) { round_block(stop - start, top + start); });
    }
    for (int32_t merge = 0; merge < merges[leaf]; merge++) {
      top -= stride;
      mj::parallel_blocks(count, GRAIN, [&](int64_t start, int64_t stop) {
        add_block(stop - start, top + start, top + stride + start, top + start, rounded);
      });
    }
  }
}

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

void mj_gemm(int64_t m, int64_t n, int64_t k, int64_t parts, const float *a, int64_t a_row, int64_t a_column,
             const float *b, int64_t b_row, int64_t b_column, float *c, int64_t c_row) {
  if (parts == 1) {
    mj::gemm(m, n, k, {a, a_row, a_column}, {b, b_row, b_column}, c, c_row);
    return;
  }
  int32_t merges[MJ_MOST_PARTS];
  int height = 0, most = 0;
  for (int64_t part = 0; part < parts; part++) {
    most = std::max(most, ++height);
    merges[part] = mj_merges_after(part, parts, height);
    height -= merges[part];
  }
  float *slots = mj::workspace_of<float>(mj::LATTICE, most * m * n);
  over_leaves(parts, merges, m, n, slots, m * n, false, [&](int64_t part, float *slot) {
    const int64_t start = mj_part_start(k, parts, part), terms = mj_part_start(k, parts, part + 1) - start;
    mj::gemm(m, n, terms, {a + start * a_column, a_row, a_column}, {b + start * b_row, b_row, b_column}, slot, n);
  });
  memcpy(c, slots, m * n * sizeof(float));
}

void mj_gemm_leaves(int64_t leaves, const int64_t *offsets, const int32_t *merges, int64_t m, int64_t n, const float *a,
                    int64_t a_row, const float *b, int64_t b_row, float *slots, int64_t slot_stride, int64_t rounded) {
  over_leaves(leaves, merges, m, n, slots, slot_stride, rounded, [&](int64_t leaf, float *slot) {
    const int64_t start = offsets[leaf], rows = offsets[leaf + 1] - start;
    mj::gemm(m, n, rows, {a + start * a_row, 1, a_row}, {b + start * b_row, b_row, 1}, slot, n);
  });
}

void mj_sum_leaves(int64_t leaves, const int64_t *offsets, const int32_t *merges, int64_t columns, const float *x,
                   int64_t x_row, float *slots, int64_t slot_stride, int64_t rounded) {
  over_leaves(leaves, merges, 1, columns, slots, slot_stride, rounded, [&](int64_t leaf, float *slot) {
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
        add_block(stop - start, stack[top - 1], stack[top], sum, rounded);
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
