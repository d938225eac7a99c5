/* A tile of sums of products: what a block does, whatever its factors are.
 *
 * Policy. A block owns a tile of the output. Stages of MJ_STEP terms of the tile's rows and columns
 * come into shared memory by copies that run beside the arithmetic on the stage before; a thread
 * keeps its outputs' sums over a chunk in registers. Who brings the factors is a side's business:
 * lines of a matrix (mj_lines), or what a convolution reads (conv.cu). Rows and columns beyond the
 * last are copies of the last and go nowhere, so no copy asks whether there is something; of a last
 * stage that is not whole only its terms are multiplied.
 *
 *   terms k:   | 8 | 8 | ... | 8 || 8 | ...      one barrier a stage
 *   stages:      0   1   0 ...
 *   chunks:    \____ 256 terms __/\___           of registers, then for the caller to keep
 */
#pragma once
#include "../mj_sum.h"
#include "copies.h"

#define MJ_STEP 8 /* terms of a stage */

/* First term of the last stage: it goes back so far that it is whole, where there are terms enough. */
MJ_DEVICE mj_i64 mj_last_stage(mj_i64 terms) { return terms < MJ_STEP ? 0 : terms - MJ_STEP; }

/* Where a thread's share of a stage of LINES lines lies, number q of EACH: neighbouring threads have
 * neighbouring terms (ALONG_TERMS) or lines, and no two of a warp's copies share a bank. */
template <int LINES, int THREADS, bool ALONG_TERMS> struct mj_share {
  static const int EACH = LINES * MJ_STEP / THREADS, ROW = LINES + 4;
  static const int SIDE = LINES > THREADS ? LINES / THREADS : 1, DOWN = THREADS > LINES ? THREADS / LINES : 1;
  MJ_DEVICE_MEMBER static int first_line() { return ALONG_TERMS ? threadIdx.x / MJ_STEP : threadIdx.x % LINES; }
  MJ_DEVICE_MEMBER static int first_term() { return ALONG_TERMS ? threadIdx.x % MJ_STEP : threadIdx.x / LINES; }
  MJ_DEVICE_MEMBER static int lines(int q) { return ALONG_TERMS ? q * (THREADS / MJ_STEP) : q % SIDE * THREADS; }
  MJ_DEVICE_MEMBER static int terms(int q) { return ALONG_TERMS ? 0 : q / SIDE * DOWN; }
  /* Of the first number in a stage, and how far on number q is. */
  MJ_DEVICE_MEMBER static int first_place() { return first_term() * ROW + first_line(); }
  MJ_DEVICE_MEMBER static int places(int q) { return terms(q) * ROW + lines(q); }
};

/* LINES lines of a matrix, from `first` on, of which `count` exist: line i has its `terms` terms, at least
 * one, at base + i * line_stride + k * term_stride. */
template <int LINES, int THREADS> struct mj_lines {
  typedef mj_share<LINES, THREADS, true> Along;
  typedef mj_share<LINES, THREADS, false> Across;
  static const int EACH = Along::EACH;
  mj_u64 at[EACH]; /* addresses, of the terms from 0 on */
  mj_u64 done, step, last; /* bytes: to the next stage, of a stage, to the last */
  int place;
  bool along_terms;

  MJ_DEVICE_MEMBER mj_lines(const float *base, mj_i64 first, mj_i64 count, mj_i64 line_stride, mj_i64 term_stride, mj_i64 terms) : done(0), along_terms(term_stride == 1) {
    step = MJ_STEP * term_stride * sizeof(float);
    last = mj_last_stage(terms) * term_stride * sizeof(float);
    const int term = along_terms ? Along::first_term() : Across::first_term();
    const int line = along_terms ? Along::first_line() : Across::first_line();
    place = along_terms ? Along::first_place() : Across::first_place();
#pragma unroll
    for (int q = 0; q < EACH; q++) {
      const mj_i64 i = mj_least(first + line + (along_terms ? Along::lines(q) : Across::lines(q)), count - 1);
      at[q] = mj_kept_in_register((mj_u64)(base + i * line_stride + mj_least(term + (along_terms ? 0 : Across::terms(q)), terms - 1) * term_stride));
    }
  }

  template <class Share> MJ_DEVICE_MEMBER void bring_share(mj_spot stage) const {
#pragma unroll
    for (int q = 0; q < EACH; q++) mj_copy_one(stage + Share::places(q), (const float *)(at[q] + done));
  }
  /* The next stage; after it comes the last, or one that is not. */
  MJ_DEVICE_MEMBER void bring(mj_spot stage, bool last_follows) {
    if (along_terms) {
      bring_share<Along>(stage + place);
    } else {
      bring_share<Across>(stage + place);
    }
    done = last_follows ? last : done + step;
  }
};

/* A thread computes TM x TN outputs, in groups of four; the lanes of a warp are LM x LN of those,
 * the warps of a block WM x WN of these. */
template <int TM, int TN, int LM, int LN, int WM, int WN> struct mj_tile {
  static const int THREADS = 32 * WM * WN, BM = TM * LM * WM, BN = TN * LN * WN, LEFT_ROW = BM + 4, RIGHT_ROW = BN + 4;
  static const int STAGE = MJ_STEP * (LEFT_ROW + RIGHT_ROW);
  typedef mj_lines<BM, THREADS> Rows;
  typedef mj_lines<BN, THREADS> Columns;
  alignas(16) float acc[TM][TN];

  /* Row i and column j of this thread within the tile. */
  MJ_DEVICE_MEMBER static int row(int i) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    return warp / WN * (LM * TM) + lane / LN * 4 + i / 4 * (4 * LM) + i % 4;
  }
  MJ_DEVICE_MEMBER static int column(int j) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    return warp % WN * (LN * TN) + lane % LN * 4 + j / 4 * (4 * LN) + j % 4;
  }

  /* The next term of all sums. */
  MJ_DEVICE_MEMBER void multiply(const float *left, const float *right) {
    alignas(16) float a[TM], b[TN];
#pragma unroll
    for (int i = 0; i < TM; i += 4) *(mj_four *)(a + i) = *(const mj_four *)(left + i * LM);
#pragma unroll
    for (int j = 0; j < TN; j += 4) *(mj_four *)(b + j) = *(const mj_four *)(right + j * LN);
#pragma unroll
    for (int i = 0; i < TM; i++) {
#pragma unroll
      for (int j = 0; j < TN; j++) acc[i][j] = mj_term_product(acc[i][j], a[i], b[j]);
    }
  }

  /* Sums over `terms` terms of two sides: keep(first) is called after each chunk, whose sums are acc.
   * All threads of the block have passed when it returns; the shared memory is 2 * STAGE floats. */
  template <class Left, class Right, class Keep>
  MJ_DEVICE_MEMBER void sum(Left &left, Right &right, mj_i64 terms, Keep keep) {
    const float *a = mj_shared + row(0), *b = mj_shared + MJ_STEP * LEFT_ROW + column(0);
    const mj_spot stages = mj_spot_of(mj_shared);
    const mj_i64 last_stage = mj_last_stage(terms);
    int stage = 0;
    /* The stage of term k; after the last it comes again. */
    const auto bring = [&](int to, mj_i64 k) {
      left.bring(stages + to, k + MJ_STEP >= last_stage);
      right.bring(stages + (to + MJ_STEP * LEFT_ROW), k + MJ_STEP >= last_stage);
      mj_copies_close();
    };
    /* The stage with term k is there for all; the next is on its way to the other. */
    const auto begin = [&](mj_i64 k) {
      mj_copies_wait<0>();
      __syncthreads();
      bring(STAGE - stage, k + MJ_STEP);
    };
    if (terms > 0) bring(0, 0);
    mj_i64 k = 0;
    do {
      const bool first = k == 0;
      const mj_i64 last = mj_least(k + MJ_CHUNK, terms);
#pragma unroll
      for (int i = 0; i < TM; i++) {
#pragma unroll
        for (int j = 0; j < TN; j++) acc[i][j] = 0.0f;
      }
      for (; k + MJ_STEP <= last; k += MJ_STEP) {
        begin(k);
#pragma unroll
        for (int t = 0; t < MJ_STEP; t++) multiply(a + stage + t * LEFT_ROW, b + stage + t * RIGHT_ROW);
        stage = STAGE - stage;
      }
      if (k < last) {
        begin(k);
#pragma unroll 1
        for (int t = (int)(k - last_stage); k < last; t++, k++) multiply(a + stage + t * LEFT_ROW, b + stage + t * RIGHT_ROW);
      }
      keep(first);
    } while (k < terms);
    mj_copies_wait<0>();
    __syncthreads();
  }

  /* A finished chunk joins the totals: BM * BN floats, a thread's groups of four THREADS groups apart. */
  MJ_DEVICE_MEMBER void add_chunk(bool first, float *totals) const {
#pragma unroll
    for (int i = 0; i < TM; i++) {
#pragma unroll
      for (int j = 0; j < TN; j += 4) {
        mj_four *total = (mj_four *)totals + (i * (TN / 4) + j / 4) * THREADS + threadIdx.x;
        mj_four sum = first ? mj_four{} : *total;
#pragma unroll
        for (int q = 0; q < 4; q++) sum.at[q] = mj_total(first, sum.at[q], acc[i][j + q]);
        *total = sum;
      }
    }
  }
  /* Where the total of (row i, column j) of the tile lies. */
  MJ_DEVICE_MEMBER static int total_at(int i, int j) {
    const int warp = i / (LM * TM) * WN + j / (LN * TN), lane = i % (4 * LM) / 4 * LN + j % (4 * LN) / 4;
    const int of_row = i % (LM * TM) / (4 * LM) * 4 + i % 4, of_column = j % (LN * TN) / (4 * LN);
    return ((of_row * (TN / 4) + of_column) * THREADS + warp * 32 + lane) * 4 + j % 4;
  }
  /* each(i, j, total) for the rows below m and the columns below n of the tile. */
  template <class Each> MJ_DEVICE_MEMBER static void each_total(const float *totals, mj_i64 m, mj_i64 n, Each each) {
#pragma unroll 4
    for (int e = threadIdx.x; e < BM * BN; e += THREADS) {
      const int i = e / BN, j = e % BN;
      if (i < m && j < n) each(i, j, totals[total_at(i, j)]);
    }
  }

  /* The sums of a chunk, to (row i0, column j0) on of `out` with m rows and n columns. */
  MJ_DEVICE_MEMBER void store_chunk(float *out, mj_i64 i0, mj_i64 j0, mj_i64 m, mj_i64 n) const {
    const int rows = (int)mj_least(m - i0, BM) - row(0), columns = (int)mj_least(n - j0, BN) - column(0);
    const bool fours = n % 4 == 0;
    float *line = out + (i0 + row(0)) * n + j0 + column(0);
#pragma unroll
    for (int i = 0; i < TM; i++) {
#pragma unroll
      for (int j = 0; j < TN; j += 4) {
        float *to = line + j * LN;
        if (row(i) - row(0) < rows && j * LN < columns) {
          if (fours) {
            *(mj_four *)to = *(const mj_four *)&acc[i][j];
          } else {
#pragma unroll
            for (int q = 0; q < 4; q++) {
              if (j * LN + q < columns) to[q] = acc[i][j + q];
            }
          }
        }
      }
      line += (i % 4 < 3 ? 1 : 4 * LM - 3) * n;
    }
  }

  /* Of a block's tile; tiles of a column lie one after another in the grid's x, which alone is long. */
  MJ_DEVICE_MEMBER static mj_i64 first_row(mj_i64 m) { return blockIdx.x % ((m + BM - 1) / BM) * BM; }
  MJ_DEVICE_MEMBER static mj_i64 first_column(mj_i64 m) { return blockIdx.x / ((m + BM - 1) / BM) * BN; }
};

/* The tiles that there are (majelpy/gpu/gemm.py). */
typedef mj_tile<8, 16, 8, 4, 2, 2> mj_tile_128x128;
typedef mj_tile<8, 8, 8, 4, 2, 1> mj_tile_128x32;
typedef mj_tile<8, 8, 4, 8, 1, 2> mj_tile_32x128;
