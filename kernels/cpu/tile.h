/* The register tile under every matrix product, and the packing that feeds it.
 *
 * Policy. One tile computes one chunk (at most MJ_CHUNK terms) of MR x COLUMNS outputs, each from
 * +0 upwards by fma, so any tiling of the outputs gives the same bits. Layout of a packed panel
 * of b, of COLUMNS columns and `depth` terms:   panel[k * COLUMNS + j] = b(k, j), +0 past the edge.
 * a is read as a[k * a_column + i * a_row], packed or in place; a panel in place has rows further apart.
 *
 *             COLUMNS (2 vectors)
 *            b0        b1          for each k: load b0 b1, then for each row i
 *   a(0,k)  acc00     acc01        broadcast a(i,k) and two fma
 *   a(1,k)  acc10     acc11
 *    ...     ...       ...         TILE_ROWS * 2 accumulators stay in registers
 */
#pragma once
#include <string.h>

#include <type_traits>

#include "../mj_sum.h"

namespace mj {

constexpr int64_t COLUMNS = 2 * MJ_LANES;
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int64_t TILE_ROWS = 14; /* of 32 vector registers: 28 sums, 2 of b, 1 of a */
#elif defined(__AVX__)
constexpr int64_t TILE_ROWS = 6;  /* of 16: 12 sums, 2 of b, 1 of a */
#else
constexpr int64_t TILE_ROWS = 4;
#endif

template <int ROWS> struct Tile { mj_vf at[ROWS][2]; };

/* The next `depth` terms of a chunk's sums. */
template <int ROWS>
static inline __attribute__((always_inline)) void add_terms(mj_vf (&acc)[ROWS][2], int64_t depth, const float *a,
                                                            int64_t a_row, int64_t a_column, const float *panel,
                                                            int64_t panel_row) {
  for (int64_t k = 0; k < depth; k++) {
    const mj_vf b0 = mj_load(panel), b1 = mj_load(panel + MJ_LANES);
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++) {
      const mj_vf x = mj_splat<mj_vf>(a[i * a_row]);
      acc[i][0] = mj_term_product(acc[i][0], x, b0);
      acc[i][1] = mj_term_product(acc[i][1], x, b1);
    }
    a += a_column;
    panel += panel_row;
  }
}

/* A chunk; terms(sums) adds all of its terms to sums of +0. */
template <int ROWS, class Terms> static inline __attribute__((always_inline)) Tile<ROWS> sum_chunk(Terms terms) {
  mj_vf acc[ROWS][2];
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; i++) acc[i][0] = acc[i][1] = mj_splat<mj_vf>(0.0f);
  terms(acc);
  Tile<ROWS> tile;
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; i++) {
    tile.at[i][0] = acc[i][0];
    tile.at[i][1] = acc[i][1];
  }
  return tile;
}

template <int ROWS>
static inline __attribute__((always_inline)) Tile<ROWS> multiply_chunk(int64_t depth, const float *a, int64_t a_row,
                                                                       int64_t a_column, const float *panel,
                                                                       int64_t panel_row = COLUMNS) {
  return sum_chunk<ROWS>([&](mj_vf (&acc)[ROWS][2]) __attribute__((always_inline)) {
    add_terms<ROWS>(acc, depth, a, a_row, a_column, panel, panel_row);
  });
}

/* Store a tile: the first chunk overwrites c, later ones are added. */
template <int ROWS> inline void put(const Tile<ROWS> &tile, bool first, float *c, int64_t c_row, int64_t columns) {
  if (columns == COLUMNS) {
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++) {
      for (int v = 0; v < 2; v++) {
        float *at = c + i * c_row + v * MJ_LANES;
        mj_store(at, first ? tile.at[i][v] : mj_total(false, mj_load(at), tile.at[i][v]));
      }
    }
    return;
  }
  for (int i = 0; i < ROWS; i++) {
    float sums[COLUMNS];
    mj_store(sums, tile.at[i][0]);
    mj_store(sums + MJ_LANES, tile.at[i][1]);
    float *at = c + i * c_row;
    for (int64_t j = 0; j < columns; j++) at[j] = mj_total(first, first ? sums[j] : at[j], sums[j]);
  }
}

/* Rows start, start + 1, ... of a cut into tiles as even as can be, body.template operator()<ROWS>. */
template <class Body, int ROWS = TILE_ROWS> static inline void with_rows(int64_t rows, Body &&body) {
  if constexpr (ROWS > 0) {
    if (rows == ROWS) {
      body(std::integral_constant<int, ROWS>{});
    } else {
      with_rows<Body, ROWS - 1>(rows, static_cast<Body &&>(body));
    }
  }
}

/* Copy the columns j..j+columns of b, terms k..k+depth, to a panel; a missing column is +0. */
static inline void pack_panel(int64_t depth, int64_t columns, const float *b, int64_t b_row, int64_t b_column,
                              float *panel) {
  if (b_column == 1 && columns == COLUMNS) {
    for (int64_t k = 0; k < depth; k++) memcpy(panel + k * COLUMNS, b + k * b_row, COLUMNS * sizeof(float));
    return;
  }
  if (columns < COLUMNS) memset(panel, 0, depth * COLUMNS * sizeof(float));
  if (b_column == 1) {
    for (int64_t k = 0; k < depth; k++) memcpy(panel + k * COLUMNS, b + k * b_row, columns * sizeof(float));
    return;
  }
  constexpr int64_t STEP = 16; /* terms at a time, so that both sides stay in cached lines */
  for (int64_t k0 = 0; k0 < depth; k0 += STEP) {
    const int64_t k1 = k0 + STEP < depth ? k0 + STEP : depth;
    for (int64_t j = 0; j < columns; j++) {
      for (int64_t k = k0; k < k1; k++) panel[k * COLUMNS + j] = b[k * b_row + j * b_column];
    }
  }
}

}  // namespace mj
