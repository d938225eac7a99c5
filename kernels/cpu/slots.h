/* The stack of slots that leaves go to, and the merges along the tree (majelpy/tree.py).
 *
 * Policy. Each leaf's result is pushed on a stack of slots and merged with the one below it as
 * often as the program `merges` says, so at most log2(leaves) + 1 vectors are open. Merges add
 * left + right; what the tree keeps may be rounded (mj_kept).
 */
#pragma once
#include "../mj_sum.h"
#include "maps.h"

namespace mj {

/* out = left + right as the tree keeps it, elementwise; out may be left. */
inline void add_block(int64_t count, const float *left, const float *right, float *out, bool rounded) {
  int64_t i = 0;
  for (; i + MJ_LANES <= count; i += MJ_LANES) {
    mj_store(out + i, mj_kept(rounded, mj_add(mj_load(left + i), mj_load(right + i))));
  }
  for (; i < count; i++) out[i] = mj_kept(rounded, mj_add(left[i], right[i]));
}

/* x as the tree keeps it when it rounds. */
inline void round_block(int64_t count, float *x) {
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
      parallel_blocks(count, GRAIN, [&](int64_t start, int64_t stop) { round_block(stop - start, top + start); });
    }
    for (int32_t merge = 0; merge < merges[leaf]; merge++) {
      top -= stride;
      parallel_blocks(count, GRAIN, [&](int64_t start, int64_t stop) {
        add_block(stop - start, top + start, top + stride + start, top + start, rounded);
      });
    }
  }
}

}  // namespace mj
