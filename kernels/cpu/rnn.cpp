/* Driver of the recurrent layer: one call runs whole sequences of all directions.
 *
 * Policy. Rows of a batch do not see one another, so a task is (direction, group of at most
 * TILE_ROWS utterances) and runs all time steps alone, without any barrier. All utterances of a
 * group start together, each at its own first frame in its direction; sorted by length, those
 * still running are always the first rows of the group. Back-propagation is the same recurrence
 * in the opposite direction with the transposed weight, so both share this one loop.
 *
 * The weight is packed once per call: panel p of chunk c holds COLUMNS columns, so that a step
 * reads it in order. The state of the step before is kept in a small row-major buffer whose rows
 * are one vector longer than the layer, lest all rows fall into the same cache set.
 *
 * A sum over the hidden units may be cut in parts; then the packed weight has more, shorter chunks.
 * An utterance that is carried on has a recurrent term at its first step too, of a state given.
 */
#include <algorithm>
#include <numeric>
#include <vector>

#include "../entry_points.h"
#include "../rnn.h"
#include "lanes.h"
#include "threads.h"
#include "tile.h"

namespace {

using mj::COLUMNS;
using mj::load_some;
using mj::store_some;
using mj::TILE_ROWS;

struct Sequences {
  int64_t first, directions, utterances, hidden, parts;
  const int64_t *offsets, *carried;
  const float *initial;
  std::vector<int64_t> sorted; /* utterances, longest first, equal ones in order */

  Sequences(int64_t first, int64_t directions, int64_t utterances, const int64_t *offsets, int64_t hidden, int64_t parts,
            const int64_t *carried, const float *initial)
      : first(first), directions(directions), utterances(utterances), hidden(hidden), parts(parts), offsets(offsets),
        carried(carried), initial(initial), sorted(utterances) {
    std::iota(sorted.begin(), sorted.end(), int64_t{0});
    std::stable_sort(sorted.begin(), sorted.end(), [&](int64_t a, int64_t b) { return length(a) > length(b); });
  }
  int64_t length(int64_t utterance) const { return offsets[utterance + 1] - offsets[utterance]; }
  /* The state that utterance u of direction d goes on from, or null. */
  const float *before(int64_t d, int64_t u) const {
    return carried && carried[u] ? initial + (d * utterances + u) * hidden : nullptr;
  }
  int64_t groups() const { return (utterances + TILE_ROWS - 1) / TILE_ROWS; }
};

int64_t panels(int64_t hidden) { return (hidden + COLUMNS - 1) / COLUMNS; }

/* All panels of w(k, j), chunk after chunk. */
void pack_weight(int64_t hidden, int64_t parts, const float *w, int64_t k_stride, int64_t j_stride, float *packed) {
  mj::parallel(panels(hidden), [&](int64_t p) {
    for (int64_t part = 0; part < parts; part++) {
      const int64_t stop = mj_part_start(hidden, parts, part + 1);
      for (int64_t k0 = mj_part_start(hidden, parts, part); k0 < stop; k0 += MJ_CHUNK) {
        const int64_t depth = std::min<int64_t>(MJ_CHUNK, stop - k0);
        mj::pack_panel(depth, std::min(COLUMNS, hidden - p * COLUMNS), w + k0 * k_stride + p * COLUMNS * j_stride,
                       k_stride, j_stride, packed + k0 * panels(hidden) * COLUMNS + p * COLUMNS * depth);
      }
    }
  });
}

template <int ROWS> mj::Tile<ROWS> add_tiles(const mj::Tile<ROWS> &left, const mj::Tile<ROWS> &right) {
  mj::Tile<ROWS> sum;
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; i++) {
    for (int v = 0; v < 2; v++) sum.at[i][v] = mj_total(false, left.at[i][v], right.at[i][v]);
  }
  return sum;
}

/* What a step makes of its input and the recurrent sum. `other` is read at the same place. */
struct Forward {
  static mj_vf step(mj_vf x, mj_vf recurrent, mj_vf) { return mj_rnn_forward(x, recurrent); }
  static mj_vf first(mj_vf x, mj_vf) { return mj_rnn_forward_first(x); }
};
struct Backward {
  static mj_vf step(mj_vf dy, mj_vf recurrent, mj_vf h) { return mj_rnn_backward(dy, recurrent, h); }
  static mj_vf first(mj_vf dy, mj_vf h) { return mj_rnn_backward_first(dy, h); }
};

/* One group of rows: x, other and out are matrices with `stride` columns, read at `column`. */
template <class Step> struct Group {
  const float *x, *other, *packed;
  float *out;
  int64_t stride, column, hidden, parts;

  template <int ROWS>
  void columns(const int64_t *rows, int64_t panel, const float *state, int64_t state_row, float *next) const {
    const int64_t j0 = panel * COLUMNS;
    const auto chunk_sums = [&](int64_t k0, int64_t depth) {
      const float *weights = packed + k0 * panels(hidden) * COLUMNS + panel * COLUMNS * depth;
      return mj::multiply_chunk<ROWS>(depth, state + k0, state_row, 1, weights);
    };
    mj::Tile<ROWS> stack[MJ_MOST_OPEN];
    const auto open = [&](int height) -> mj::Tile<ROWS> & { return stack[height]; };
    const mj::Tile<ROWS> total =
        mj_sum_in_parts<mj::Tile<ROWS>>(hidden, parts, chunk_sums, open, add_tiles<ROWS>);
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++) {
      for (int v = 0; v < 2; v++) {
        const int64_t j = j0 + v * MJ_LANES, live = hidden - j, at = rows[i] * stride + column + j;
        if (live <= 0) continue;
        const mj_vf y = Step::step(load_some(x + at, live), total.at[i][v], load_some(other + at, live));
        store_some(out + at, y, live);
        store_some(next + i * state_row + j, y, live);
      }
    }
  }

  /* The first step of utterance `i` of a group; `initial` is the state it is carried on from, or null. */
  void first_step(const int64_t *rows, int64_t i, const float *initial, int64_t state_row, float *before,
                  float *next) const {
    if (initial) {
      memcpy(before + i * state_row, initial, hidden * sizeof(float));
      for (int64_t p = 0; p < panels(hidden); p++) {
        columns<1>(rows + i, p, before + i * state_row, state_row, next + i * state_row);
      }
    } else {
      for (int64_t j = 0; j < hidden; j += MJ_LANES) {
        const int64_t live = hidden - j, at = rows[i] * stride + column + j;
        const mj_vf y = Step::first(load_some(x + at, live), load_some(other + at, live));
        store_some(out + at, y, live);
        store_some(next + i * state_row + j, y, live);
      }
    }
  }
};

/* `transposed`: w(k, j) = weight[k][j] instead of weight[j][k]. `flipped`: against the direction. */
template <class Step>
void run(const Sequences &all, const float *x, const float *other, const float *weight, bool transposed, bool flipped,
         float *out) {
  const int64_t hidden = all.hidden, packed_size = hidden * panels(hidden) * COLUMNS;
  float *packed = mj::workspace_of<float>(mj::PACKED_B, all.directions * packed_size);
  for (int64_t d = 0; d < all.directions; d++) {
    const float *w = weight + d * hidden * hidden;
    pack_weight(hidden, all.parts, w, transposed ? hidden : 1, transposed ? 1 : hidden, packed + d * packed_size);
  }
  mj::parallel(all.directions * all.groups(), [&](int64_t task) {
    const int64_t d = task % all.directions, g = task / all.directions;
    const bool reversed = ((all.first + d) % 2 == 1) != flipped;
    const int64_t first = all.utterances * g / all.groups(), last = all.utterances * (g + 1) / all.groups();
    const int64_t *members = all.sorted.data() + first;
    const int64_t state_row = (hidden + MJ_LANES - 1) / MJ_LANES * MJ_LANES + MJ_LANES;
    float *state = mj::workspace_of<float>(mj::STATE, 2 * TILE_ROWS * state_row);
    const Group<Step> group{x, other, packed + d * packed_size, out, all.directions * hidden, d * hidden, hidden, all.parts};
    int64_t count = last - first;
    for (int64_t s = 0;; s++) {
      while (count > 0 && all.length(members[count - 1]) <= s) count--;
      if (count == 0) break;
      int64_t rows[TILE_ROWS];
      for (int64_t i = 0; i < count; i++) {
        const int64_t u = members[i];
        rows[i] = reversed ? all.offsets[u + 1] - 1 - s : all.offsets[u] + s;
      }
      float *before = state + (s % 2) * TILE_ROWS * state_row, *next = state + ((s + 1) % 2) * TILE_ROWS * state_row;
      if (s == 0) {
        for (int64_t i = 0; i < count; i++) {
          group.first_step(rows, i, all.before(d, members[i]), state_row, before, next);
        }
        continue;
      }
      mj::with_rows(count, [&](auto size) {
        for (int64_t p = 0; p < panels(hidden); p++) {
          group.template columns<decltype(size)::value>(rows, p, before, state_row, next);
        }
      });
    }
  });
}

/* One step of `live` utterances; their recurrent sums are there already. */
template <class Step>
void one_step(int64_t directions, const int64_t *offsets, const int64_t *sorted, int64_t hidden, int64_t step,
              int64_t live, bool flipped, const float *x, const float *other, const float *sums, float *state,
              float *out) {
  mj::parallel(directions * live, [&](int64_t task) {
    const int64_t d = task / live, u = sorted[task % live];
    const bool reversed = (d % 2 == 1) != flipped;
    const int64_t row = reversed ? offsets[u + 1] - 1 - step : offsets[u] + step;
    const int64_t at = (row * directions + d) * hidden;
    for (int64_t j = 0; j < hidden; j += MJ_LANES) {
      const int64_t count = hidden - j;
      const mj_vf a = load_some(x + at + j, count), b = load_some(other + at + j, count);
      const mj_vf y = step ? Step::step(a, load_some(sums + task * hidden + j, count), b) : Step::first(a, b);
      store_some(out + at + j, y, count);
      store_some(state + task * hidden + j, y, count);
    }
  });
}

}  // namespace

void mj_rnn_forward_step(int64_t directions, int64_t, const int64_t *offsets, const int64_t *sorted, int64_t hidden,
                         int64_t step, int64_t live, const float *x, const float *sums, float *state, float *h) {
  one_step<Forward>(directions, offsets, sorted, hidden, step, live, false, x, x, sums, state, h);
}

void mj_rnn_backward_step(int64_t directions, int64_t, const int64_t *offsets, const int64_t *sorted, int64_t hidden,
                          int64_t step, int64_t live, const float *dy, const float *h, const float *sums, float *state,
                          float *dx) {
  one_step<Backward>(directions, offsets, sorted, hidden, step, live, true, dy, h, sums, state, dx);
}

void mj_rnn_forward_rows(int64_t first, int64_t directions, int64_t utterances, const int64_t *offsets, int64_t hidden,
                         int64_t parts, const float *x, const float *weight, const int64_t *carried,
                         const float *initial, float *h) {
  const Sequences all(first, directions, utterances, offsets, hidden, parts, carried, initial);
  run<Forward>(all, x, x, weight, false, false, h);
}

void mj_rnn_backward_rows(int64_t first, int64_t directions, int64_t utterances, const int64_t *offsets, int64_t hidden,
                          int64_t parts, const float *dy, const float *weight, const float *h, const int64_t *carried,
                          const float *initial, float *dx) {
  const Sequences all(first, directions, utterances, offsets, hidden, parts, carried, initial);
  run<Backward>(all, dy, h, weight, true, true, dx);
}

void mj_rnn_previous_rows(int64_t first, int64_t directions, int64_t utterances, const int64_t *offsets, int64_t hidden,
                          const float *h, const int64_t *carried, const float *initial, float *out) {
  const int64_t stride = directions * hidden;
  mj::parallel(utterances, [&](int64_t u) {
    for (int64_t row = offsets[u]; row < offsets[u + 1]; row++) {
      for (int64_t d = 0; d < directions; d++) {
        const int64_t before = (first + d) % 2 == 1 ? row + 1 : row - 1;
        float *to = out + row * stride + d * hidden;
        if (before >= offsets[u] && before < offsets[u + 1]) {
          memcpy(to, h + before * stride + d * hidden, hidden * sizeof(float));
        } else if (carried && carried[u]) {
          memcpy(to, initial + (d * utterances + u) * hidden, hidden * sizeof(float));
        } else {
          memset(to, 0, hidden * sizeof(float));
        }
      }
    }
  });
}
