/* Driver of the recurrent layer: one call runs whole sequences of all directions.
 *
 * Policy. Rows of a batch do not see one another, so a task is (direction, group of utterances)
 * and runs all time steps alone, without any barrier; there are as many groups as threads need. All
 * utterances of a group start together, each at its own first frame in its direction; sorted by
 * length, those still running are always the first rows of the group. Back-propagation is the same
 * recurrence in the opposite direction with the transposed weight, so both share this one loop.
 *
 * The weight is packed once per call: panel p of chunk c holds COLUMNS columns of each gate, so that a
 * step reads it in order, all tiles of rows after one another. The state of the step before is kept
 * in a small row-major buffer whose rows are one vector longer than the layer, lest all rows fall
 * into the same cache set; what a unit carries for itself alone (kernels/rnn.h) lies beside it.
 *
 * A sum over the hidden units may be cut in parts; then the packed weight has more, shorter chunks.
 * An utterance that is carried on has a recurrent term at its first step too, of a state given.
 */
#include <algorithm>
#include <numeric>
#include <vector>

#include "../entry_points.h"
#include "../rnn.h"
#include "maps.h"
#include "tile.h"

namespace {

using mj::COLUMNS;
using mj::load_some;
using mj::store_some;
using mj::TILE_ROWS;

/* body(cell) with the cell of that number. */
template <class Body> void with_cell(int64_t cell, Body &&body) {
  if (cell == 0) body(mj_rnn{});
  if (cell == 1) body(mj_gru{});
  if (cell == 2) body(mj_lstm{});
}

/* A vector of units, from unit j on, of a row and a direction; `live` units are left, and `start` is
 * (row * directions + direction) * hidden. */
struct Place {
  int64_t start, hidden, j, live;

  /* Where column c of so many a unit lies in a matrix of rows. */
  int64_t at(int64_t columns, int64_t c) const { return start * columns + c * hidden + j; }
};

/* N columns of a unit of a matrix. */
template <int N> void load_columns(const float *matrix, const Place &place, mj_vf *out) {
  const float *at = matrix + place.at(N, 0);
  for (int c = 0; c < N; c++, at += place.hidden) out[c] = load_some(at, place.live);
}

/* What a step makes of its input and the sums of the gates, null at an utterance's first step. The
 * state has STATE columns a unit, `hidden` apart; CARRIED with what else is carried, own at OWN. */
template <class Cell> struct Forward {
  static constexpr int GATES = Cell::gates, STATE = 1, CARRIED = Cell::carried, OWN = CARRIED - 1;
  static constexpr bool HAS_OWN = Cell::own, BACKWARD = false;
  bool rounded;
  const float *x;
  float *h, *kept;

  void fetch(const Place &place) const {
    for (int g = 0; g < GATES; g++) __builtin_prefetch(x + place.at(GATES, g));
  }
  void step(const Place &place, const mj_vf *sums, float *own, float *state) const {
    const int64_t live = place.live;
    mj_vf in[GATES], keep[Cell::kept], mine = mj_splat<mj_vf>(0.0f);
    load_columns<GATES>(x, place, in);
    if (HAS_OWN && sums) mine = load_some(own, live);
    const mj_vf y = sums ? Cell::forward(in, sums, mine, keep) : Cell::forward_first(in, mine, keep);
    store_some(h + place.at(1, 0), y, live);
    store_some(state, mj_kept(rounded, y), live);
    if (!HAS_OWN) return;
    store_some(own, mine, live);
    for (int k = 0; k < Cell::kept; k++) store_some(kept + place.at(Cell::kept, k), keep[k], live);
  }
};

template <class Cell> struct Backward {
  static constexpr int GATES = Cell::gates, STATE = GATES, CARRIED = GATES + Cell::own, OWN = GATES;
  static constexpr bool HAS_OWN = Cell::own, BACKWARD = true;
  bool rounded;
  const float *dy, *kept;
  float *dx, *ds;

  void fetch(const Place &place) const {
    __builtin_prefetch(dy + place.at(1, 0));
    for (int k = 0; k < Cell::kept; k++) __builtin_prefetch(kept + place.at(Cell::kept, k));
  }
  void step(const Place &place, const mj_vf *sums, float *own, float *state) const {
    const int64_t live = place.live;
    mj_vf keep[Cell::kept], by_x[GATES], by_sums[GATES], mine = mj_splat<mj_vf>(0.0f);
    const mj_vf by_h = load_some(dy + place.at(1, 0), live);
    load_columns<Cell::kept>(kept, place, keep);
    if (HAS_OWN && sums) mine = load_some(own, live);
    if (sums) {
      Cell::backward(by_h, sums, mine, keep, by_x, by_sums);
    } else {
      Cell::backward_first(by_h, mine, keep, by_x, by_sums);
    }
    for (int g = 0; g < GATES; g++) {
      store_some(dx + place.at(GATES, g), by_x[g], live);
      if (Cell::apart) store_some(ds + place.at(GATES, g), by_sums[g], live);
      store_some(state + g * place.hidden, mj_kept(rounded, Cell::apart ? by_sums[g] : by_x[g]), live);
    }
    if (HAS_OWN) store_some(own, mine, live);
  }
};

struct Sequences {
  int64_t first, directions, utterances, hidden, parts;
  const int64_t *offsets, *carried;
  const float *initial;
  float *last;
  std::vector<int64_t> sorted; /* utterances, longest first, equal ones in order */

  Sequences(int64_t first, int64_t directions, int64_t utterances, const int64_t *offsets, int64_t hidden, int64_t parts,
            const int64_t *carried, const float *initial, float *last)
      : first(first), directions(directions), utterances(utterances), hidden(hidden), parts(parts), offsets(offsets),
        carried(carried), initial(initial), last(last), sorted(utterances) {
    std::iota(sorted.begin(), sorted.end(), int64_t{0});
    std::stable_sort(sorted.begin(), sorted.end(), [&](int64_t a, int64_t b) { return length(a) > length(b); });
  }
  int64_t length(int64_t utterance) const { return offsets[utterance + 1] - offsets[utterance]; }
  bool goes_on(int64_t utterance) const { return carried && carried[utterance]; }
  int64_t panels() const { return (hidden + COLUMNS - 1) / COLUMNS; }
  /* Shares of the utterances of a direction: whole tiles, and no more than keep all threads busy. */
  int64_t groups() const {
    const int64_t tiles = (utterances + TILE_ROWS - 1) / TILE_ROWS;
    return std::min(tiles, (mj::threads() + directions - 1) / directions);
  }
};

/* All panels of w(k, j) of each gate of a direction, chunk after chunk. */
void pack_weight(const Sequences &all, int gates, const float *weight, bool transposed, float *packed) {
  const int64_t hidden = all.hidden, k_stride = transposed ? hidden : 1, j_stride = transposed ? 1 : hidden;
  mj::parallel(all.panels() * gates, [&](int64_t task) {
    const int64_t p = task / gates;
    const float *w = weight + task % gates * hidden * hidden + p * COLUMNS * j_stride;
    for (int64_t part = 0; part < all.parts; part++) {
      const int64_t stop = mj_part_start(hidden, all.parts, part + 1);
      for (int64_t k0 = mj_part_start(hidden, all.parts, part); k0 < stop; k0 += MJ_CHUNK) {
        const int64_t depth = std::min<int64_t>(MJ_CHUNK, stop - k0);
        mj::pack_panel(depth, std::min(COLUMNS, hidden - p * COLUMNS), w + k0 * k_stride, k_stride, j_stride,
                       packed + (k0 * all.panels() * gates + task * depth) * COLUMNS);
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

/* Sums of ROWS rows of the state and the columns of one panel, of all `width` panels of a chunk, two
 * vectors a row. */
template <int ROWS>
void panel_sums(const Sequences &all, const float *packed, int64_t panel, int64_t width, const float *state,
                int64_t state_row, mj_vf *out, int64_t out_step) {
  const auto chunk_sums = [&](int64_t k0, int64_t depth) {
    return mj::multiply_chunk<ROWS>(depth, state + k0, state_row, 1, packed + (k0 * width + panel * depth) * COLUMNS);
  };
  mj::Tile<ROWS> stack[MJ_MOST_OPEN];
  const auto open = [&](int height) -> mj::Tile<ROWS> & { return stack[height]; };
  const mj::Tile<ROWS> total =
      mj_sum_in_parts<mj::Tile<ROWS>>(all.hidden, all.parts, chunk_sums, open, add_tiles<ROWS>);
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; i++) {
    for (int v = 0; v < 2; v++) out[(2 * i + v) * out_step] = total.at[i][v];
  }
}

/* One direction of a group of the utterances, the `count` ones from `members` on. */
template <class Step> struct Share {
  const Sequences &all;
  const Step &step;
  int64_t direction;
  const int64_t *members;
  int64_t count;
  const float *packed;
  float *memory; /* count * floats(hidden): the state before and after a step, and own */

  static int64_t own_row(int64_t hidden) { return (hidden + MJ_LANES - 1) / MJ_LANES * MJ_LANES; }
  static int64_t state_row(int64_t hidden) { return own_row(hidden) * Step::STATE + MJ_LANES; }
  static int64_t floats(int64_t hidden) { return 2 * state_row(hidden) + own_row(hidden); }
  float *state(int64_t s, int64_t i) const { return memory + (s % 2 * count + i) * state_row(all.hidden); }
  float *own(int64_t i) const { return memory + 2 * count * state_row(all.hidden) + i * own_row(all.hidden); }

  /* Copy between an utterance's carried columns and its state before step s. */
  template <class Copy> void carry(int64_t i, int64_t s, Copy copy) const {
    const int64_t at = (direction * all.utterances + members[i]) * Step::CARRIED * all.hidden;
    copy(at, state(s, i), Step::STATE * all.hidden);
    if (Step::HAS_OWN) copy(at + Step::OWN * all.hidden, own(i), all.hidden);
  }

  /* Rows start..stop of the group, which begin at `rows`, and the columns of one panel in step s. */
  void columns(const int64_t *rows, int64_t start, int64_t stop, int64_t panel, int64_t s, bool summed) const {
    const int64_t hidden = all.hidden, j0 = panel * COLUMNS;
    for (int64_t i = start; i < stop; i++) {
      for (int v = 0; v < 2; v++) step.fetch({rows[i], hidden, j0 + v * MJ_LANES, 0}); /* while the sums are made */
    }
    mj_vf sums[TILE_ROWS][2][Step::GATES];
    if (summed) {
      mj::with_rows(stop - start, [&](auto size) {
        for (int g = 0; g < Step::GATES; g++) {
          const float *before = state(s, start) + (Step::BACKWARD ? g * hidden : 0);
          panel_sums<decltype(size)::value>(all, packed, panel * Step::GATES + g, all.panels() * Step::GATES, before,
                                            state_row(hidden), &sums[0][0][g], Step::GATES);
        }
      });
    }
    if (hidden - j0 >= COLUMNS) {
      finish<true>(rows, start, stop, j0, s, sums);
    } else {
      finish<false>(rows, start, stop, j0, s, sums);
    }
  }

  /* `WHOLE`: both vectors of the panel are. */
  template <bool WHOLE>
  void finish(const int64_t *rows, int64_t start, int64_t stop, int64_t j0, int64_t s,
              const mj_vf (*sums)[2][Step::GATES]) const {
    const int64_t hidden = all.hidden, row_of_state = state_row(hidden), row_of_own = own_row(hidden);
    float *after = state(s + 1, start) + j0, *mine = own(start) + j0;
    for (int64_t i = start; i < stop; i++) {
      const bool recurrent = s > 0 || all.goes_on(members[i]);
      for (int v = 0; v < 2; v++) {
        const int64_t at = v * MJ_LANES, live = WHOLE ? MJ_LANES : hidden - j0 - at;
        if (live <= 0) continue;
        step.step({rows[i], hidden, j0 + at, live}, recurrent ? sums[i - start][v] : nullptr, mine + at, after + at);
      }
      after += row_of_state;
      mine += row_of_own;
    }
  }

  void run() const {
    const bool reversed = ((all.first + direction) % 2 == 1) != Step::BACKWARD;
    bool goes_on = false;
    for (int64_t i = 0; i < count; i++) {
      const bool carried = all.goes_on(members[i]);
      goes_on = goes_on || carried;
      carry(i, 0, [&](int64_t at, float *to, int64_t floats) {
        if (carried) {
          memcpy(to, all.initial + at, floats * sizeof(float));
        } else {
          memset(to, 0, floats * sizeof(float));
        }
      });
      float *before = state(0, i);
      for (int64_t j = 0; j < Step::STATE * all.hidden; j++) before[j] = mj_kept(step.rounded, before[j]);
    }
    std::vector<int64_t> rows(count);
    int64_t live = count;
    for (int64_t s = 0;; s++) {
      for (; live > 0 && all.length(members[live - 1]) <= s; live--) {
        carry(live - 1, s, [&](int64_t at, const float *from, int64_t floats) {
          memcpy(all.last + at, from, floats * sizeof(float));
        });
      }
      if (live == 0) break;
      for (int64_t i = 0; i < live; i++) {
        const int64_t u = members[i];
        const int64_t row = reversed ? all.offsets[u + 1] - 1 - s : all.offsets[u] + s;
        rows[i] = (row * all.directions + direction) * all.hidden;
      }
      const int64_t tiles = (live + TILE_ROWS - 1) / TILE_ROWS;
      for (int64_t p = 0; p < all.panels(); p++) {
        for (int64_t t = 0; t < tiles; t++) {
          columns(rows.data(), live * t / tiles, live * (t + 1) / tiles, p, s, s > 0 || goes_on);
        }
      }
    }
  }
};

template <class Step> void run(const Sequences &all, const Step &step, const float *weight) {
  const int64_t block = Step::GATES * all.hidden, packed_size = block * all.panels() * COLUMNS;
  float *packed = mj::workspace_of<float>(mj::PACKED_B, all.directions * packed_size);
  for (int64_t d = 0; d < all.directions; d++) {
    pack_weight(all, Step::GATES, weight + d * block * all.hidden, Step::BACKWARD, packed + d * packed_size);
  }
  const int64_t groups = all.groups();
  mj::parallel(all.directions * groups, [&](int64_t task) {
    const int64_t d = task % all.directions, g = task / all.directions;
    const int64_t first = all.utterances * g / groups, count = all.utterances * (g + 1) / groups - first;
    float *memory = mj::workspace_of<float>(mj::STATE, count * Share<Step>::floats(all.hidden));
    Share<Step>{all, step, d, all.sorted.data() + first, count, packed + d * packed_size, memory}.run();
  });
}

/* One step of `live` utterances; their recurrent sums are there already. */
template <class Step>
void one_step(const Step &step, int64_t directions, int64_t utterances, const int64_t *offsets, const int64_t *sorted,
              int64_t hidden, int64_t s, int64_t live, const float *sums, float *own, float *state) {
  mj::parallel(directions * live, [&](int64_t task) {
    const int64_t d = task / live, of = task % live, u = sorted[of];
    const bool reversed = (d % 2 == 1) != Step::BACKWARD;
    const int64_t row = reversed ? offsets[u + 1] - 1 - s : offsets[u] + s;
    for (int64_t j = 0; j < hidden; j += MJ_LANES) {
      const Place place{(row * directions + d) * hidden, hidden, j, hidden - j};
      mj_vf of_gates[Step::GATES];
      for (int g = 0; s > 0 && g < Step::GATES; g++) {
        of_gates[g] = load_some(sums + (task * Step::GATES + g) * hidden + j, place.live);
      }
      step.step(place, s > 0 ? of_gates : nullptr, own + (d * utterances + of) * hidden + j,
                state + task * Step::STATE * hidden + j);
    }
  });
}

}  // namespace

void mj_rnn_forward_step(int64_t cell, int64_t directions, int64_t utterances, const int64_t *offsets,
                         const int64_t *sorted, int64_t hidden, int64_t step, int64_t live,
                         int64_t rounded, const float *x, const float *sums, float *own, float *state, float *h,
                         float *kept) {
  with_cell(cell, [&](auto of) {
    const Forward<decltype(of)> forward{rounded != 0, x, h, kept};
    one_step(forward, directions, utterances, offsets, sorted, hidden, step, live, sums, own, state);
  });
}

void mj_rnn_backward_step(int64_t cell, int64_t directions, int64_t utterances, const int64_t *offsets,
                          const int64_t *sorted, int64_t hidden, int64_t step, int64_t live,
                          int64_t rounded, const float *dy, const float *kept, const float *sums, float *own, float *state, float *dx,
                          float *ds) {
  with_cell(cell, [&](auto of) {
    const Backward<decltype(of)> backward{rounded != 0, dy, kept, dx, ds};
    one_step(backward, directions, utterances, offsets, sorted, hidden, step, live, sums, own, state);
  });
}

void mj_rnn_forward_rows(int64_t cell, int64_t first, int64_t directions, int64_t utterances, const int64_t *offsets,
                         int64_t hidden, int64_t parts, int64_t rounded, const float *x, const float *weight,
                         const int64_t *carried, const float *initial, float *h, float *kept, float *last) {
  const Sequences all(first, directions, utterances, offsets, hidden, parts, carried, initial, last);
  with_cell(cell, [&](auto of) { run(all, Forward<decltype(of)>{rounded != 0, x, h, kept}, weight); });
}

void mj_rnn_backward_rows(int64_t cell, int64_t first, int64_t directions, int64_t utterances, const int64_t *offsets,
                          int64_t hidden, int64_t parts, int64_t rounded, const float *dy, const float *weight,
                          const float *kept, const int64_t *carried, const float *initial, float *dx, float *ds, float *last) {
  const Sequences all(first, directions, utterances, offsets, hidden, parts, carried, initial, last);
  with_cell(cell, [&](auto of) { run(all, Backward<decltype(of)>{rounded != 0, dy, kept, dx, ds}, weight); });
}

void mj_rnn_previous_rows(int64_t first, int64_t directions, int64_t utterances, const int64_t *offsets, int64_t hidden,
                          const float *h, const int64_t *carried, const float *initial, int64_t initial_row, float *out) {
  const int64_t stride = directions * hidden;
  mj::parallel(utterances, [&](int64_t u) {
    for (int64_t row = offsets[u]; row < offsets[u + 1]; row++) {
      for (int64_t d = 0; d < directions; d++) {
        const int64_t before = (first + d) % 2 == 1 ? row + 1 : row - 1;
        float *to = out + row * stride + d * hidden;
        if (before >= offsets[u] && before < offsets[u + 1]) {
          memcpy(to, h + before * stride + d * hidden, hidden * sizeof(float));
        } else if (carried && carried[u]) {
          memcpy(to, initial + (d * utterances + u) * initial_row, hidden * sizeof(float));
        } else {
          memset(to, 0, hidden * sizeof(float));
        }
      }
    }
  });
}

void mj_sum_directions(int64_t rows, int64_t directions, int64_t hidden, const float *h, float *out) {
  mj::matrix(rows, hidden, [=](int64_t i, int64_t j, auto as) {
    using F = decltype(as);
    const float *from = h + (i - j) * directions + j;
    F sum = mj::load_as<F>(from);
    for (int64_t d = 1; d < directions; d++) sum = mj_add(sum, mj::load_as<F>(from + d * hidden));
    mj::store_as(out + i, sum);
  });
}

void mj_repeat_directions(int64_t rows, int64_t directions, int64_t hidden, const float *dy, float *out) {
  mj::matrix(rows, hidden, [=](int64_t i, int64_t j, auto as) {
    using F = decltype(as);
    for (int64_t d = 0; d < directions; d++) mj::store_as(out + (i - j) * directions + d * hidden + j, mj::load_as<F>(dy + i));
  });
}
