/* Drivers of the matrix products (product.h has what a block does).
 *
 * Policy. Where there are tiles enough, a block runs all leaves and all terms of its tile, so one launch
 * serves a product and the stack program of per-leaf products alike: no scratch, and a merge reads
 * only the slot below. The total of the chunks before lies in shared memory, touched once in 256 terms.
 * Where tiles are few, a block computes one chunk, and mj_sum_totals_kernel (sums.cu) adds them in
 * ascending order.
 */
#include "product.h"

/* Blocks: tiles; shared memory: two stages and the totals. Leaf l has the terms offsets[l]..offsets[l + 1];
 * a(i, k) = a[i * a_row + k * a_term]; slots is the stack's top. */
template <class Tile>
MJ_DEVICE void mj_product(mj_i64 leaves, const mj_i64 *offsets, const mj_i32 *merges, mj_i64 m, mj_i64 n, const float *a, mj_i64 a_row, mj_i64 a_term, const float *b, mj_i64 b_term, mj_i64 b_column, float *slots, mj_i64 slots_row, mj_i64 slot_stride, bool rounded) {
  const mj_i64 i0 = Tile::first_row(m), j0 = Tile::first_column(m);
  float *totals = mj_shared + 2 * Tile::STAGE;
  Tile tile;
  for (mj_i64 leaf = 0; leaf < leaves; leaf++) {
    const mj_i64 start = offsets[leaf], terms = offsets[leaf + 1] - start;
    typename Tile::Rows left(a + start * a_term, i0, m, a_row, a_term, terms);
    typename Tile::Columns right(b + start * b_term, j0, n, b_column, b_term, terms);
    tile.sum(left, right, terms, [&](bool first) { tile.add_chunk(first, totals); });
    Tile::each_total(totals, m - i0, n - j0, [=](int i, int j, float total) {
      float value = mj_kept(rounded, total), *at = slots + (i0 + i) * slots_row + j0 + j;
      for (mj_i32 merge = 0; merge < merges[leaf]; merge++) {
        at -= slot_stride;
        value = mj_kept(rounded, mj_add(*at, value));
      }
      *at = value;
    });
    __syncthreads();
    slots += (1 - merges[leaf]) * slot_stride;
  }
}

/* Blocks (x: tiles, y: chunks, z: products); shared memory: two stages. Chunk c has the terms
 * starts[c]..starts[c + 1]; sums: (products, m, n) of each, sums_apart floats apart. */
template <class Tile>
MJ_DEVICE void mj_product_chunks(mj_i64 chunks, const mj_i64 *starts, mj_i64 m, mj_i64 n, const float *a, mj_i64 a_row, mj_i64 a_term, mj_i64 a_product, const float *b, mj_i64 b_term, mj_i64 b_column, mj_i64 b_product, float *sums, mj_i64 sums_apart) {
  const mj_i64 i0 = Tile::first_row(m), j0 = Tile::first_column(m);
  a += blockIdx.z * a_product;
  b += blockIdx.z * b_product;
  Tile tile;
  for (mj_i64 c = blockIdx.y; c < chunks; c += gridDim.y) {
    const mj_i64 start = starts[c], terms = starts[c + 1] - start;
    typename Tile::Rows left(a + start * a_term, i0, m, a_row, a_term, terms);
    typename Tile::Columns right(b + start * b_term, j0, n, b_column, b_term, terms);
    float *out = sums + c * sums_apart + blockIdx.z * m * n;
    tile.sum(left, right, terms, [&](bool) { tile.store_chunk(out, i0, j0, m, n); });
  }
}

#define MJ_PRODUCT_KERNEL(name, blocks, Tile)                                                                  \
  extern "C" __global__ void __launch_bounds__(Tile::THREADS, blocks)                                                        \
      name(mj_i64 leaves, const mj_i64 *offsets, const mj_i32 *merges, mj_i64 m, mj_i64 n, const float *a,             \
           mj_i64 a_row, mj_i64 a_term, const float *b, mj_i64 b_term, mj_i64 b_column, float *slots, mj_i64 slots_row, \
           mj_i64 slot_stride, mj_i64 rounded) {                                                                       \
    mj_product<Tile>(leaves, offsets, merges, m, n, a, a_row, a_term, b, b_term, b_column, slots, slots_row, slot_stride, rounded != 0); \
  }

MJ_PRODUCT_KERNEL(mj_gemm_128x128_kernel, 2, mj_tile_128x128)
MJ_PRODUCT_KERNEL(mj_gemm_128x32_kernel, 6, mj_tile_128x32)
MJ_PRODUCT_KERNEL(mj_gemm_32x128_kernel, 6, mj_tile_32x128)

#define MJ_CHUNKS_KERNEL(name, blocks, Tile)                                                                   \
  extern "C" __global__ void __launch_bounds__(Tile::THREADS, blocks)                                                        \
      name(mj_i64 chunks, const mj_i64 *starts, mj_i64 m, mj_i64 n, const float *a, mj_i64 a_row, mj_i64 a_term,       \
           mj_i64 a_product, const float *b, mj_i64 b_term, mj_i64 b_column, mj_i64 b_product, float *sums, mj_i64 sums_apart) { \
    mj_product_chunks<Tile>(chunks, starts, m, n, a, a_row, a_term, a_product, b, b_term, b_column, b_product, sums, sums_apart); \
  }

MJ_CHUNKS_KERNEL(mj_gemm_128x128_chunks_kernel, 2, mj_tile_128x128)
MJ_CHUNKS_KERNEL(mj_gemm_128x32_chunks_kernel, 6, mj_tile_128x32)
MJ_CHUNKS_KERNEL(mj_gemm_32x128_chunks_kernel, 6, mj_tile_32x128)
