/* Driver of the matrix products: shared-memory tiles and register blocks.
 *
 * Policy. A block owns a tile of the output and runs all leaves and all terms of it, so one
 * launch serves a product and the stack program of per-leaf products alike: no scratch, and a
 * merge reads only the slot below. The accumulators of a chunk are registers; the total of the
 * chunks before lies in shared memory, touched once in 256 terms, which leaves room for two
 * blocks on a multiprocessor. A term beyond the last is (-0) * (+0) = -0, which changes no sum.
 *
 *   terms k:   | 8 | 8 | ... | 8 || 8 | ...      a step of 8 terms is computed from one stage
 *   stages:      0   1   0 ...                   of shared memory while the next is fetched
 *   chunks:    \____ 256 terms __/\___           into registers, then stored to the other
 */
#include "../mj_sum.h"
#include "driver.h"

#define MJ_STEP 8 /* terms of a stage */

/* One thread's share of bringing LINES x MJ_STEP numbers to shared[term][line]. Neighbouring
 * threads read neighbouring addresses, be that along terms or along lines. */
template <int LINES, int THREADS> struct mj_carrier {
  static const int EACH = LINES * MJ_STEP / THREADS, ROW = LINES + 4; /* ROW: no two of a warp's stores share a bank */
  const float *at;
  mj_i64 step, apart;
  int lines, place, place_apart; /* lines: bit q is set where number q has a line; place: in shared memory */
  float kept[EACH];

  MJ_DEVICE_MEMBER mj_carrier(const float *base, mj_i64 first_line, mj_i64 all_lines, mj_i64 line_stride, mj_i64 term_stride, mj_i64 first_term) {
    const int thread = threadIdx.x;
    const bool along_terms = term_stride == 1;
    const int line = along_terms ? thread / MJ_STEP : thread % LINES, line_apart = along_terms ? THREADS / MJ_STEP : 0;
    const int term = along_terms ? thread % MJ_STEP : thread / LINES, term_apart = along_terms ? 0 : THREADS / LINES;
    lines = 0;
    for (int q = 0; q < EACH; q++) lines |= (first_line + line + q * line_apart < all_lines) << q;
    at = base + (first_line + line) * line_stride + (first_term + term) * term_stride;
    step = MJ_STEP * term_stride;
    apart = line_apart * line_stride + term_apart * term_stride;
    place = term * ROW + line;
    place_apart = term_apart * ROW + line_apart;
  }

  /* The next MJ_STEP terms, of which `left` are there. */
  MJ_DEVICE_MEMBER void fetch(int left, float missing) {
    int there = lines;
    if (left < MJ_STEP) {
      for (int q = 0; q < EACH; q++) there &= ~(((place + q * place_apart) / ROW >= left) << q);
    }
#pragma unroll
    for (int q = 0; q < EACH; q++) kept[q] = there >> q & 1 ? at[q * apart] : missing;
    at += step;
  }

  MJ_DEVICE_MEMBER void put(float *shared) const {
#pragma unroll
    for (int q = 0; q < EACH; q++) shared[place + q * place_apart] = kept[q];
  }
};

/* A thread computes TM x TN outputs, in groups of four; the lanes of a warp are LM x LN of those,
 * the warps of a block WM x WN of these. */
template <int TM, int TN, int LM, int LN, int WM, int WN> struct mj_product {
  static const int THREADS = 32 * WM * WN, BM = TM * LM * WM, BN = TN * LN * WN;
  typedef mj_carrier<BM, THREADS> Left;
  typedef mj_carrier<BN, THREADS> Right;
  static const int STAGE = MJ_STEP * (Left::ROW + Right::ROW);
  float acc[TM][TN];

  MJ_DEVICE_MEMBER void clear() {
#pragma unroll
    for (int i = 0; i < TM; i++) {
#pragma unroll
      for (int j = 0; j < TN; j++) acc[i][j] = 0.0f;
    }
  }

  /* Row i and column j of this thread within the tile. */
  MJ_DEVICE_MEMBER static int row(int i) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    return warp / WN * (LM * TM) + lane / LN * 4 + i / 4 * (4 * LM) + i % 4;
  }
  MJ_DEVICE_MEMBER static int column(int j) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    return warp % WN * (LN * TN) + lane % LN * 4 + j / 4 * (4 * LN) + j % 4;
  }

  MJ_DEVICE_MEMBER void multiply(const float *stage) {
    const float *left = stage + row(0), *right = stage + MJ_STEP * Left::ROW + column(0);
#pragma unroll
    for (int k = 0; k < MJ_STEP; k++) {
      float a[TM], b[TN];
#pragma unroll
      for (int i = 0; i < TM; i += 4) *(mj_four *)(a + i) = *(const mj_four *)(left + k * Left::ROW + i * LM);
#pragma unroll
      for (int j = 0; j < TN; j += 4) *(mj_four *)(b + j) = *(const mj_four *)(right + k * Right::ROW + j * LN);
#pragma unroll
      for (int i = 0; i < TM; i++) {
#pragma unroll
        for (int j = 0; j < TN; j++) acc[i][j] = mj_term_product(acc[i][j], a[i], b[j]);
      }
    }
  }

  /* A finished chunk joins the totals, a tile in rows. */
  MJ_DEVICE_MEMBER void add_chunk(bool first_chunk, float *totals) const {
#pragma unroll
    for (int i = 0; i < TM; i++) {
#pragma unroll
      for (int j = 0; j < TN; j++) {
        float *total = totals + row(i) * BN + column(j);
        *total = first_chunk ? acc[i][j] : mj_total(false, *total, acc[i][j]);
      }
    }
  }

  /* Of a block's tile; tiles of a column lie one after another in the grid's x, which alone is long. */
  MJ_DEVICE_MEMBER static mj_i64 first_row(mj_i64 m) { return blockIdx.x % ((m + BM - 1) / BM) * BM; }
  MJ_DEVICE_MEMBER static mj_i64 first_column(mj_i64 m) { return blockIdx.x / ((m + BM - 1) / BM) * BN; }

  /* Push the tile of totals on the stack of slots and merge; slots is the stack's top. */
  MJ_DEVICE_MEMBER static void push(const float *totals, mj_i32 merges, mj_i64 m, mj_i64 n, float *slots, mj_i64 slots_row, mj_i64 slot_stride, bool rounded) {
    const mj_i64 i0 = first_row(m), j0 = first_column(m);
#pragma unroll 4
    for (int e = threadIdx.x; e < BM * BN; e += THREADS) {
      const mj_i64 i = i0 + e / BN, j = j0 + e % BN;
      if (i >= m || j >= n) continue;
      float value = mj_kept(rounded, totals[e]), *at = slots + i * slots_row + j;
      for (mj_i32 merge = 0; merge < merges; merge++) {
        at -= slot_stride;
        value = mj_kept(rounded, mj_add(*at, value));
      }
      *at = value;
    }
  }

  /* Leaf l has the terms offsets[l]..offsets[l + 1]; a(i, k) = a[i * a_row + k * a_term]. */
  MJ_DEVICE_MEMBER void run(mj_i64 leaves, const mj_i64 *offsets, const mj_i32 *merges, mj_i64 m, mj_i64 n, const float *a, mj_i64 a_row, mj_i64 a_term, const float *b, mj_i64 b_term, mj_i64 b_column, float *slots, mj_i64 slots_row, mj_i64 slot_stride, bool rounded) {
    float *totals = mj_shared + 2 * STAGE;
    for (mj_i64 leaf = 0; leaf < leaves; leaf++) {
      const mj_i64 start = offsets[leaf], stop = offsets[leaf + 1];
      Left left(a, first_row(m), m, a_row, a_term, start);
      Right right(b, first_column(m), n, b_column, b_term, start);
      const auto fetch = [&](mj_i64 k) {
        const int terms = (int)mj_least(MJ_STEP, stop - k);
        left.fetch(terms, -0.0f);
        right.fetch(terms, 0.0f);
      };
      const auto put = [&](float *to) {
        left.put(to);
        right.put(to + MJ_STEP * Left::ROW);
      };
      fetch(start);
      put(mj_shared);
      __syncthreads();
      mj_i64 k = start;
      int stage = 0;
      do {
        clear();
        for (const mj_i64 last = mj_least(k + MJ_CHUNK, stop); k < last; k += MJ_STEP) {
          if (k + MJ_STEP < stop) fetch(k + MJ_STEP);
          multiply(mj_shared + stage);
          stage = STAGE - stage;
          if (k + MJ_STEP < stop) put(mj_shared + stage);
          __syncthreads();
        }
        add_chunk(k - start <= MJ_CHUNK, totals);
      } while (k < stop);
      __syncthreads();
      push(totals, merges[leaf], m, n, slots, slots_row, slot_stride, rounded);
      __syncthreads();
      slots += (1 - merges[leaf]) * slot_stride;
    }
  }
};

/* Blocks: tiles; shared memory: two stages and the totals. */
#define MJ_PRODUCT_KERNEL(name, threads, blocks, ...)                                                                  \
  extern "C" __global__ void __launch_bounds__(threads, blocks)                                                        \
      name(mj_i64 leaves, const mj_i64 *offsets, const mj_i32 *merges, mj_i64 m, mj_i64 n, const float *a,             \
           mj_i64 a_row, mj_i64 a_term, const float *b, mj_i64 b_term, mj_i64 b_column, float *slots, mj_i64 slots_row, \
           mj_i64 slot_stride, mj_i64 rounded) {                                                                       \
    mj_product<__VA_ARGS__> product;                                                                                   \
    product.run(leaves, offsets, merges, m, n, a, a_row, a_term, b, b_term, b_column, slots, slots_row, slot_stride, rounded);\
  }

MJ_PRODUCT_KERNEL(mj_gemm_128x128_kernel, 256, 2, 8, 8, 8, 4, 2, 4)
MJ_PRODUCT_KERNEL(mj_gemm_32x64_kernel, 128, 4, 4, 4, 4, 8, 2, 2)
