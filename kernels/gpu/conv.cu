/* Drivers of the convolutions over frames.
 *
 * Policy. A convolution is a matrix product (product.h) one of whose sides is read where it lies: a
 * patch is the taps x run numbers of x that a position reads, run numbers of a frame beside each other, +0 where
 * there is none. The rows of the product are positions, and its terms a patch's numbers in ascending
 * order; the gradient by the weight has patches' numbers as columns and positions as terms, its
 * chunks side by side. Whatever is said of a position is worked out once, into a table in shared memory.
 */
#include "product.h"

/* What is the same for all patches. */
struct mj_patch {
  mj_i64 features, channels, positions, step, before;
  int run, frame; /* numbers: of a tap in a patch, of a frame of x */
};

/* A position: the bytes from x to where its patch would begin, and from the matrix that it goes to, to its row;
 * its frames, from the first that it may read on: the patch's first one, and how many; the number of a frame that
 * the patch begins with. */
struct alignas(16) mj_position {
  mj_u64 from, to;
  int first, frames, within, unused;

  /* Of position q of a list of entries (row, first, low, high), which goes to row_apart and place_apart. */
  MJ_DEVICE_MEMBER void set(const mj_patch &patch, const mj_i64 *list, mj_i64 q, mj_i64 row_apart, mj_i64 place_apart) {
    const mj_i64 *entry = list + q / patch.positions * 4, p = q % patch.positions;
    const mj_i64 feature = p * patch.step - patch.before;
    from = (entry[1] * patch.features + feature) * patch.channels * sizeof(float);
    to = (entry[0] * row_apart + p * place_apart) * sizeof(float);
    first = (int)(entry[1] - entry[2]);
    frames = (int)(entry[3] - entry[2]);
    within = (int)(feature * patch.channels);
  }
  MJ_DEVICE_MEMBER bool has(const mj_patch &patch, int tap, int at) const {
    return ((mj_u32)(first + tap) < (mj_u32)frames) & ((mj_u32)(within + at) < (mj_u32)patch.frame);
  }
};

/* Lines are positions, terms the numbers of their patches. */
template <int LINES, int THREADS> struct mj_patch_lines {
  typedef mj_share<LINES, THREADS, true> Share;
  const mj_patch &patch;
  const mj_position *positions;
  const float *x;
  int place, tap, at, last_tap, last_at;

  MJ_DEVICE_MEMBER mj_patch_lines(const mj_patch &patch, const mj_position *all, const float *x, mj_i64 terms) : patch(patch), positions(all + Share::first_line()), x(x) {
    const mj_i64 term = mj_least(Share::first_term(), terms - 1), last = mj_last_stage(terms) + term;
    place = Share::first_place();
    tap = terms > 0 ? (int)(term / patch.run) : 0;
    at = (int)(term - (mj_i64)tap * patch.run);
    last_tap = terms > 0 ? (int)(last / patch.run) : 0;
    last_at = (int)(last - (mj_i64)last_tap * patch.run);
  }
  MJ_DEVICE_MEMBER void bring(mj_spot stage, bool last_follows) {
    const mj_u64 base = (mj_u64)(x + (mj_i64)tap * patch.frame + at);
    mj_u64 from[Share::EACH];
    bool there[Share::EACH];
#pragma unroll
    for (int q = 0; q < Share::EACH; q++) {
      const mj_position position = positions[Share::lines(q)];
      from[q] = base + position.from;
      there[q] = position.has(patch, tap, at);
    }
#pragma unroll
    for (int q = 0; q < Share::EACH; q++) mj_copy_one(stage + (place + Share::places(q)), (const float *)from[q], there[q]);
    at += MJ_STEP;
    if (at >= patch.run) {
      const int taps = at / patch.run;
      tap += taps;
      at -= taps * patch.run;
    }
    if (last_follows) {
      tap = last_tap;
      at = last_at;
    }
  }
};

/* Lines are numbers of patches, terms positions. */
template <int LINES, int THREADS> struct mj_patch_columns {
  typedef mj_share<LINES, THREADS, false> Share;
  const mj_patch &patch;
  const mj_position *positions;
  mj_u64 x[Share::SIDE];
  int place, done, last, tap[Share::SIDE], at[Share::SIDE];

  MJ_DEVICE_MEMBER mj_patch_columns(const mj_patch &patch, const mj_position *all, const float *from, mj_i64 first, mj_i64 count, int terms) : patch(patch), positions(all + Share::first_term()), done(0), last((int)mj_last_stage(terms)) {
    place = Share::first_place();
#pragma unroll
    for (int q = 0; q < Share::SIDE; q++) {
      const mj_i64 line = mj_least(first + Share::first_line() + Share::lines(q), count - 1);
      tap[q] = (int)(line / patch.run);
      at[q] = (int)(line % patch.run);
      x[q] = (mj_u64)(from + (mj_i64)tap[q] * patch.frame + at[q]);
    }
  }
  MJ_DEVICE_MEMBER void bring(mj_spot stage, bool last_follows) {
    mj_u64 from[Share::EACH];
    bool there[Share::EACH];
#pragma unroll
    for (int q = 0; q < Share::EACH; q++) {
      const mj_position position = positions[done + Share::terms(q)];
      from[q] = x[q % Share::SIDE] + position.from;
      there[q] = position.has(patch, tap[q % Share::SIDE], at[q % Share::SIDE]);
    }
#pragma unroll
    for (int q = 0; q < Share::EACH; q++) {
      mj_copy_one(stage + (place + Share::places(q)), (const float *)from[q], there[q]);
    }
    done = last_follows ? last : done + MJ_STEP;
  }
};

/* Lines are columns of a matrix, terms the rows of it that positions go to. */
template <int LINES, int THREADS> struct mj_position_rows {
  typedef mj_share<LINES, THREADS, false> Share;
  const mj_position *positions;
  mj_u64 rows;
  int place, done, last;

  MJ_DEVICE_MEMBER mj_position_rows(const mj_position *all, const float *matrix, mj_i64 first, mj_i64 count, int terms) : positions(all + Share::first_term()), done(0), last((int)mj_last_stage(terms)) {
    static_assert(Share::SIDE == 1, "a thread has terms of one line");
    rows = (mj_u64)(matrix + mj_least(first + Share::first_line(), count - 1));
    place = Share::first_place();
  }
  MJ_DEVICE_MEMBER void bring(mj_spot stage, bool last_follows) {
    mj_u64 from[Share::EACH];
#pragma unroll
    for (int q = 0; q < Share::EACH; q++) from[q] = rows + positions[done + Share::terms(q)].to;
#pragma unroll
    for (int q = 0; q < Share::EACH; q++) mj_copy_one(stage + (place + Share::places(q)), (const float *)from[q]);
    done = last_follows ? last : done + MJ_STEP;
  }
};

MJ_KERNEL mj_conv_weights_kernel(mj_i64 terms, mj_i64 run, mj_i64 channels, mj_i64 outputs, const float *weight, mj_i64 by_output, mj_i64 by_tap, mj_i64 by_feature, mj_i64 by_channel, float *out) {
  mj_matrix(terms, outputs, [=](mj_i64 k, mj_i64 o) {
    const mj_i64 at = k / run * by_tap + k % run / channels * by_feature + k % channels * by_channel;
    out[k * outputs + o] = weight[o * by_output + at];
  });
}

/* Blocks: tiles of (positions, outputs); weights (terms, outputs); shared memory: two stages, the totals,
 * and the table of the tile's positions. */
extern "C" __global__ void __launch_bounds__(mj_tile_128x32::THREADS, 5)
mj_conv_rows_kernel(mj_i64 count, const mj_i64 *list, mj_i64 terms, mj_i64 run, mj_i64 features, mj_i64 channels, mj_i64 positions, mj_i64 step, mj_i64 before, const float *x, mj_i64 outputs, const float *weights, float *out, mj_i64 out_row, mj_i64 out_position) {
  typedef mj_tile_128x32 Tile;
  const mj_patch patch = {features, channels, positions, step, before, (int)run, (int)(features * channels)};
  const mj_i64 i0 = Tile::first_row(count), j0 = Tile::first_column(count);
  float *totals = mj_shared + 2 * Tile::STAGE;
  mj_position *table = (mj_position *)(totals + Tile::BM * Tile::BN);
  for (int i = threadIdx.x; i < Tile::BM; i += Tile::THREADS) {
    table[i].set(patch, list, mj_least(i0 + i, count - 1), out_row, out_position);
  }
  __syncthreads();
  mj_patch_lines<Tile::BM, Tile::THREADS> left(patch, table, x, terms);
  Tile::Columns right(weights, j0, outputs, 1, outputs, terms);
  Tile tile;
  tile.sum(left, right, terms, [&](bool first) { tile.add_chunk(first, totals); });
  Tile::each_total(totals, count - i0, outputs - j0, [=](int i, int j, float total) {
    ((float *)((mj_u64)out + table[i].to))[j0 + j] = total;
  });
}

/* Blocks (x: tiles of (outputs, a patch's numbers), y: chunks of positions); shared memory: two stages, and the
 * table of a chunk's positions. */
extern "C" __global__ void __launch_bounds__(mj_tile_32x128::THREADS, 6)
mj_conv_weight_chunks_kernel(mj_i64 chunks, const mj_i64 *starts, const mj_i64 *list, mj_i64 terms, mj_i64 run, mj_i64 features, mj_i64 channels, mj_i64 positions, mj_i64 step, mj_i64 before, const float *x, mj_i64 outputs, const float *dy, float *sums) {
  typedef mj_tile_32x128 Tile;
  const mj_patch patch = {features, channels, positions, step, before, (int)run, (int)(features * channels)};
  const mj_i64 i0 = Tile::first_row(outputs), j0 = Tile::first_column(outputs);
  mj_position *table = (mj_position *)(mj_shared + 2 * Tile::STAGE);
  Tile tile;
  for (mj_i64 c = blockIdx.y; c < chunks; c += gridDim.y) {
    const mj_i64 start = starts[c];
    const int count = (int)(starts[c + 1] - start);
    for (int i = threadIdx.x; i < count || i < MJ_STEP; i += Tile::THREADS) { /* a stage at least, of the last again */
      table[i].set(patch, list, start + mj_least(i, count - 1), positions * outputs, outputs);
    }
    __syncthreads();
    mj_position_rows<Tile::BM, Tile::THREADS> left(table, dy, i0, outputs, count);
    mj_patch_columns<Tile::BN, Tile::THREADS> right(patch, table, x, j0, terms, count);
    float *out = sums + c * outputs * terms;
    tile.sum(left, right, count, [&](bool) { tile.store_chunk(out, i0, j0, outputs, terms); });
  }
}

MJ_KERNEL mj_row_conv_rows_kernel(mj_i64 rows, const mj_i64 *list, mj_i64 step, mj_i64 columns, const float *x, const float *weight, float *out) {
  mj_matrix(rows, columns, [=](mj_i64 i, mj_i64 j) {
    const float *from = x + list[2 * i] * columns + j;
    const mj_i64 terms = list[2 * i + 1];
    float total = 0.0f;
    for (mj_i64 k0 = 0; k0 < terms; k0 += MJ_CHUNK) {
      float acc = 0.0f;
      for (mj_i64 k = k0; k < mj_least(k0 + MJ_CHUNK, terms); k++) {
        acc = mj_term_product(acc, weight[k * columns + j], from[k * step * columns]);
      }
      total = mj_total(k0 == 0, total, acc);
    }
    out[i * columns + j] = total;
  });
}

MJ_KERNEL mj_row_conv_weight_chunks_kernel(mj_i64 chunks, const mj_i64 *starts, const mj_i64 *list, mj_i64 taps, mj_i64 columns, const float *dy, const float *x, float *sums) {
  mj_matrix(chunks, taps * columns, [=](mj_i64 c, mj_i64 e) {
    const mj_i64 k = e / columns, j = e % columns;
    float acc = 0.0f;
    for (mj_i64 i = starts[c]; i < starts[c + 1]; i++) {
      const mj_i64 *entry = list + 3 * i;
      if (k < entry[2]) acc = mj_term_product(acc, dy[entry[0] * columns + j], x[(entry[1] + k) * columns + j]);
    }
    sums[c * taps * columns + e] = acc;
  });
}
