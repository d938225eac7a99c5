/* Drivers of the canonical sums: chunks side by side, then their totals in ascending order.
 *
 * Policy. A chunk (mj_sum.h) is the unit of work; its sum goes to a row of `sums`. `starts` are
 * the first terms of the chunks, and where the last ends; chunks never cross leaves. The totals
 * of leaves go through the stack program of entry_points.h, column by column.
 */
#include "../sums.h"
#include "items.h"

/* sums[chunk][column] of term(value, column). */
template <class Term>
MJ_DEVICE void mj_chunk_sums(mj_i64 chunks, const mj_i64 *starts, mj_i64 columns, const float *x, mj_i64 x_row, float *sums, Term term) {
  mj_matrix(chunks, columns, [=](mj_i64 c, mj_i64 j) {
    float acc = 0.0f;
    const mj_i64 stop = starts[c + 1];
#pragma unroll 8
    for (mj_i64 i = starts[c]; i < stop; i++) acc = mj_term(acc, term(x[i * x_row + j], j));
    sums[c * columns + j] = acc;
  });
}

MJ_KERNEL mj_sum_chunks_kernel(mj_i64 chunks, const mj_i64 *starts, mj_i64 columns, const float *x, mj_i64 x_row, float *sums) {
  mj_chunk_sums(chunks, starts, columns, x, x_row, sums, [](float v, mj_i64) { return v; });
}

MJ_KERNEL mj_deviation_chunks_kernel(mj_i64 chunks, const mj_i64 *starts, mj_i64 columns, const float *x, const float *center, float *sums) {
  mj_chunk_sums(chunks, starts, columns, x, columns, sums, [=](float v, mj_i64 j) { return mj_deviation(v, center[j]); });
}

MJ_KERNEL mj_square_deviation_chunks_kernel(mj_i64 chunks, const mj_i64 *starts, mj_i64 columns, const float *x, const float *center, float *sums) {
  mj_chunk_sums(chunks, starts, columns, x, columns, sums, [=](float v, mj_i64 j) { return mj_square_deviation(v, center[j]); });
}

/* Leaf l has the chunks first[l]..first[l + 1]. */
MJ_KERNEL mj_sum_totals_kernel(mj_i64 leaves, const mj_i64 *first, const mj_i32 *merges, mj_i64 columns, const float *sums, float *slots, mj_i64 slot_stride, mj_i64 rounded) {
  mj_elements(columns, [=](mj_i64 j) {
    mj_i64 top = 0;
    for (mj_i64 leaf = 0; leaf < leaves; leaf++) {
      float total = 0.0f;
      for (mj_i64 c = first[leaf]; c < first[leaf + 1]; c++) total = mj_total(c == first[leaf], total, sums[c * columns + j]);
      total = mj_kept(rounded, total);
      for (mj_i32 merge = 0; merge < merges[leaf]; merge++) {
        top--;
        total = mj_kept(rounded, mj_add(slots[top * slot_stride + j], total));
      }
      slots[top * slot_stride + j] = total;
      top++;
    }
  });
}

#define MJ_TREE_DEPTH 64

MJ_KERNEL mj_tree_sum_kernel(mj_i64 nodes, const mj_i64 *addresses, const mj_i32 *merges, mj_i64 outputs, const mj_i64 *output_addresses, mj_i64 count, mj_i64 rounded) {
  mj_elements(count, [=](mj_i64 i) {
    float stack[MJ_TREE_DEPTH];
    mj_i64 top = 0;
    for (mj_i64 node = 0; node < nodes; node++) {
      stack[top++] = ((const float *)addresses[node])[i];
      for (mj_i32 merge = 0; merge < merges[node]; merge++) {
        top--;
        stack[top - 1] = mj_kept(rounded, mj_add(stack[top - 1], stack[top]));
      }
    }
    for (mj_i64 out = 0; out < outputs; out++) ((float *)output_addresses[out])[i] = stack[out];
  });
}

/* Chunk sums of squares of a vector: a thread a chunk, the terms brought in 32 at a time through
 * shared memory (blockDim.x * 33 floats), so that a warp reads whole lines. */
MJ_KERNEL mj_square_chunks_kernel(mj_i64 count, const float *x, float *sums) {
  const int threads = blockDim.x, thread = threadIdx.x;
  const mj_i64 first = (mj_i64)blockIdx.x * threads, start = (first + thread) * MJ_CHUNK;
  float acc = 0.0f;
  for (int done = 0; done < MJ_CHUNK; done += 32) {
    for (int e = thread; e < threads * 32; e += threads) {
      const mj_i64 at = (first + e / 32) * MJ_CHUNK + done + e % 32;
      if (at < count) mj_shared[e / 32 * 33 + e % 32] = x[at];
    }
    __syncthreads();
    const mj_i64 live = mj_least(32, count - start - done);
    for (int i = 0; i < live; i++) {
      const float v = mj_shared[thread * 33 + i];
      acc = mj_term_product(acc, v, v);
    }
    __syncthreads();
  }
  if (start < count) sums[first + thread] = acc;
}

/* One block: the totals of chunk sums, brought in through shared memory (blockDim.x floats). */
MJ_KERNEL mj_chunk_total_kernel(mj_i64 chunks, const float *sums, float *out) {
  float total = 0.0f;
  for (mj_i64 first = 0; first < chunks; first += blockDim.x) {
    if (first + threadIdx.x < chunks) mj_shared[threadIdx.x] = sums[first + threadIdx.x];
    __syncthreads();
    if (threadIdx.x == 0) {
      const mj_i64 live = mj_least(blockDim.x, chunks - first);
      for (mj_i64 c = 0; c < live; c++) total = mj_total(first + c == 0, total, mj_shared[c]);
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) *out = total;
}

MJ_KERNEL mj_item_sum_chunks_kernel(mj_i64 chunks, const mj_i64 *starts, const mj_i64 *order, mj_i64 columns, const float *x, float *sums) {
  mj_item_chunks(
      chunks, starts, order, columns, [] { return 0.0f; },
      [=](float acc, mj_i64, mj_i64 row, mj_i64 j) { return mj_term(acc, x[row * columns + j]); },
      [=](float acc, mj_i64 c, mj_i64 j) { sums[c * columns + j] = acc; });
}

MJ_KERNEL mj_mean_of_kernel(mj_i64 columns, const float *center, const float *sums, float count, float *out) {
  mj_elements(columns, [=](mj_i64 j) { out[j] = mj_mean(center[j], sums[j], count); });
}

MJ_KERNEL mj_scale_of_kernel(mj_i64 columns, const float *sums, const float *square_sums, float count, float *out) {
  mj_elements(columns, [=](mj_i64 j) { out[j] = mj_scale(sums[j], square_sums[j], count); });
}
