/* Driver of the matrix product: blocks in the manner of BLIS (Van Zee and van de Geijn 2015).
 *
 * Policy. The block of terms is the chunk of the canonical sum, so blocking costs no extra
 * addition: a chunk's tile is stored first and added from the second chunk on. All panels of b
 * for one chunk are packed by all threads; then tasks of (row block, group of panels) run in any
 * order, each packing its own rows of a. With few rows of a, packing b would cost as much as the
 * product: then its rows are read in place, and each thread packs only a last, narrower panel.
 */
#include "gemm.h"

#include <algorithm>
#include <type_traits>

#include "../entry_points.h"
#include "slots.h"
#include "tile.h"

namespace mj {
namespace {

constexpr int64_t ROW_BLOCK = 12 * TILE_ROWS;    /* rows of a packed at a time: fits a level-2 cache */
constexpr int64_t COLUMN_BLOCK = 64 * COLUMNS;   /* columns of b packed at a time */

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Rows of a, packed tile by tile: packed[k * rows + i] within a tile. */
void pack_rows(int64_t rows, int64_t depth, Operand a, float *packed) {
  if (a.row == 1) {
    for (int64_t k = 0; k < depth; k++) memcpy(packed + k * rows, a.data + k * a.column, rows * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < rows; i++) {
    const float *from = a.data + i * a.row;
    if (a.column == 1) {
      for (int64_t k = 0; k < depth; k++) packed[k * rows + i] = from[k];
    } else {
      for (int64_t k = 0; k < depth; k++) packed[k * rows + i] = from[k * a.column];
    }
  }
}

}  // namespace

void gemm(int64_t m, int64_t n, int64_t k, Operand a, Operand b, float *c, int64_t c_row) {
  if (m == 0 || n == 0) return;
  if (k == 0) {
    for (int64_t i = 0; i < m; i++) memset(c + i * c_row, 0, n * sizeof(float));
    return;
  }
  const bool in_place = m <= 3 * TILE_ROWS && b.column == 1;
  const int64_t width = in_place ? 0 : std::min(n, COLUMN_BLOCK);
  float *panels = workspace_of<float>(PACKED_B, ceil_div(width, COLUMNS) * COLUMNS * std::min<int64_t>(k, MJ_CHUNK));
  /* Row blocks of equal size, at least one for each thread where there are rows enough. */
  const int64_t tiles = ceil_div(m, TILE_ROWS);
  const int64_t blocks = std::min(tiles, std::max(ceil_div(m, ROW_BLOCK), std::min(threads(), tiles)));
  for (int64_t j0 = 0; j0 < n; j0 += COLUMN_BLOCK) {
    const int64_t columns = std::min(COLUMN_BLOCK, n - j0), panel_count = ceil_div(columns, COLUMNS);
    const int64_t groups = std::min(panel_count, ceil_div(threads(), blocks));
    for (int64_t k0 = 0; k0 < k; k0 += MJ_CHUNK) {
      const int64_t depth = std::min<int64_t>(MJ_CHUNK, k - k0);
      const bool first = k0 == 0;
      if (!in_place) parallel_blocks(panel_count, 4, [&](int64_t start, int64_t stop) {
        for (int64_t p = start; p < stop; p++) {
          const int64_t j = j0 + p * COLUMNS;
          pack_panel(depth, std::min(COLUMNS, j0 + columns - j), b.data + k0 * b.row + j * b.column, b.row, b.column,
                     panels + p * COLUMNS * depth);
        }
      });
      parallel(blocks * groups, [&](int64_t task) {
        const int64_t block = task / groups, group = task % groups;
        const int64_t tile_first = tiles * block / blocks, tile_last = tiles * (block + 1) / blocks;
        /* Tiles differ by at most one row: m * t / tiles is the first row of tile t. */
        const int64_t row_first = m * tile_first / tiles, row_last = m * tile_last / tiles;
        float *packed = workspace_of<float>(PACKED_A, (row_last - row_first) * depth);
        for (int64_t t = tile_first; t < tile_last; t++) {
          const int64_t i = m * t / tiles, rows = m * (t + 1) / tiles - i;
          pack_rows(rows, depth, {a.data + i * a.row + k0 * a.column, a.row, a.column}, packed + (i - row_first) * depth);
        }
        for (int64_t p = panel_count * group / groups; p < panel_count * (group + 1) / groups; p++) {
          const int64_t j = j0 + p * COLUMNS, live = std::min(COLUMNS, j0 + columns - j);
          const float *panel = panels + p * COLUMNS * depth;
          int64_t panel_row = COLUMNS;
          if (in_place && live == COLUMNS) {
            panel = b.data + k0 * b.row + j;
            panel_row = b.row;
          } else if (in_place) {
            float *packed_panel = workspace_of<float>(PACKED_B, COLUMNS * depth);
            pack_panel(depth, live, b.data + k0 * b.row + j, b.row, 1, packed_panel);
            panel = packed_panel;
          }
          for (int64_t t = tile_first; t < tile_last; t++) {
            const int64_t i = m * t / tiles, rows = m * (t + 1) / tiles - i;
            with_rows(rows, [&](auto size) {
              constexpr int ROWS = decltype(size)::value;
              put<ROWS>(multiply_chunk<ROWS>(depth, packed + (i - row_first) * depth, 1, ROWS, panel, panel_row), first,
                        c + i * c_row + j, c_row, live);
            });
          }
        }
      });
    }
  }
}

}  // namespace mj

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
  mj::over_leaves(parts, merges, m, n, slots, m * n, false, [&](int64_t part, float *slot) {
    const int64_t start = mj_part_start(k, parts, part), terms = mj_part_start(k, parts, part + 1) - start;
    mj::gemm(m, n, terms, {a + start * a_column, a_row, a_column}, {b + start * b_row, b_row, b_column}, slot, n);
  });
  memcpy(c, slots, m * n * sizeof(float));
}

void mj_gemm_leaves(int64_t leaves, const int64_t *offsets, const int32_t *merges, int64_t m, int64_t n, const float *a,
                    int64_t a_row, const float *b, int64_t b_row, float *slots, int64_t slot_stride, int64_t rounded) {
  mj::over_leaves(leaves, merges, m, n, slots, slot_stride, rounded, [&](int64_t leaf, float *slot) {
    const int64_t start = offsets[leaf], rows = offsets[leaf + 1] - start;
    mj::gemm(m, n, rows, {a + start * a_row, 1, a_row}, {b + start * b_row, b_row, 1}, slot, n);
  });
}
