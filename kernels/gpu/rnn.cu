/* Drivers of the recurrent layer: one launch for whole sequences, or a launch a step.
 *
 * Policy. Rows of a batch do not see one another, so utterances are dealt to groups, and a group
 * of a direction is a team of blocks that shares nothing with other teams. A block of the team
 * owns some units, keeps their weights of all gates in shared memory over all steps, and after
 * each step waits for its team (persistent RNN, Diamos et al. 2016). Utterances are sorted longest
 * first and all start together, so those still running are always the first of their group.
 * Chunks of a recurrent sum are computed side by side, then added in ascending order; parts of a
 * sum by the tree. At the first step only utterances that are carried on have a recurrent term.
 * Back-propagation is the same recurrence in the opposite direction with the transposed weight.
 *
 * The state of a step lies in global memory, in two copies in turn, rows padded to a multiple of
 * 4; other multiprocessors write it, so it is read past the first-level cache (__ldcg).
 */
#include "../rnn.h"
#include "../mj_sum.h"
#include "driver.h"

#define MJ_PASS 32 /* utterances between two barriers of a block */
#define MJ_ROWS 8  /* utterances of a thread */

/* What a step makes of unit j and the sums of its gates; `start` is (row, column 0) of a matrix with one
 * column a unit. The state has STATE columns; CARRIED with what else is carried, own at OWN. */
template <class Of> struct mj_forward {
  typedef Of Cell;
  static const int STATE = 1, CARRIED = Cell::carried, OWN = CARRIED - 1;
  static const bool BACKWARD = false;
  const float *x;
  float *h, *kept;

  MJ_DEVICE_MEMBER void step(mj_i64 start, mj_i64 hidden, mj_i64 j, bool recurrent, const float *sums, float &own, float *state) const {
    float in[Cell::gates], keep[Cell::kept];
#pragma unroll
    for (int g = 0; g < Cell::gates; g++) in[g] = x[start * Cell::gates + g * hidden + j];
    const float y = recurrent ? Cell::forward(in, sums, own, keep) : Cell::forward_first(in, own, keep);
    h[start + j] = state[0] = y;
#pragma unroll
    for (int k = 0; Cell::own && k < Cell::kept; k++) kept[start * Cell::kept + k * hidden + j] = keep[k];
  }
};
template <class Of> struct mj_backward {
  typedef Of Cell;
  static const int STATE = Cell::gates, CARRIED = STATE + Cell::own, OWN = STATE;
  static const bool BACKWARD = true;
  const float *dy, *kept;
  float *dx, *ds;

  MJ_DEVICE_MEMBER void step(mj_i64 start, mj_i64 hidden, mj_i64 j, bool recurrent, const float *sums, float &own, float *state) const {
    float keep[Cell::kept], by_x[Cell::gates];
#pragma unroll
    for (int k = 0; k < Cell::kept; k++) keep[k] = kept[start * Cell::kept + k * hidden + j];
    if (recurrent) {
      Cell::backward(dy[start + j], sums, own, keep, by_x, state);
    } else {
      Cell::backward_first(dy[start + j], own, keep, by_x, state);
    }
#pragma unroll
    for (int g = 0; g < Cell::gates; g++) {
      const mj_i64 at = start * Cell::gates + g * hidden + j;
      dx[at] = by_x[g];
      if (Cell::apart) {
        ds[at] = state[g];
      } else {
        state[g] = by_x[g];
      }
    }
  }
};

/* Utterances in the order of `sorted`, and where their rows are. */
struct mj_sequences {
  mj_i64 first, directions, utterances, hidden;
  const mj_i64 *offsets, *sorted;
  mj_i64 flipped; /* 1: against the direction */
  mj_i64 rounded; /* 1: states are rounded to bfloat16 */
  const mj_i64 *carried; /* null if no utterance is */

  MJ_DEVICE_MEMBER mj_i64 length(mj_i64 place) const { return offsets[sorted[place] + 1] - offsets[sorted[place]]; }
  /* Index of (row of that step, column 0 of that direction) in a matrix with one column a unit. */
  MJ_DEVICE_MEMBER mj_i64 at(mj_i64 place, mj_i64 step, mj_i64 direction) const {
    const mj_i64 u = sorted[place];
    const bool reversed = ((first + direction) % 2 == 1) != (flipped != 0);
    const mj_i64 row = reversed ? offsets[u + 1] - 1 - step : offsets[u] + step;
    return (row * directions + direction) * hidden;
  }
  /* Whether that step has a recurrent term. */
  MJ_DEVICE_MEMBER bool recurrent(mj_i64 place, mj_i64 step) const {
    return step > 0 || (carried && carried[sorted[place]]);
  }
  /* Units of a gate in the state, padded. */
  MJ_DEVICE_MEMBER mj_i64 state_gate() const { return (hidden + 3) / 4 * 4; }
};

/* Step s of unit j: its own state and that of its gates, `state_gate` apart, go on; `last`, if given, is
 * what remains of an utterance at its end. */
template <class Step>
MJ_DEVICE void mj_unit_step(const mj_sequences &all, const Step &what, mj_i64 place, mj_i64 s, mj_i64 direction, mj_i64 j, const float *sums, float *own, float *state, mj_i64 state_gate, float *last) {
  typedef typename Step::Cell Cell;
  const bool recurrent = all.recurrent(place, s);
  float mine = Cell::own && recurrent ? *own : 0.0f, after[Step::STATE];
  what.step(all.at(place, s, direction), all.hidden, j, recurrent, sums, mine, after);
#pragma unroll
  for (int g = 0; g < Step::STATE; g++) {
    after[g] = mj_kept(all.rounded != 0, after[g]);
    state[g * state_gate] = after[g];
  }
  if (Cell::own) *own = mine;
  if (!last || s + 1 < all.length(place)) return;
  last += (direction * all.utterances + all.sorted[place]) * Step::CARRIED * all.hidden + j;
#pragma unroll
  for (int g = 0; g < Step::STATE; g++) last[g * all.hidden] = after[g];
  if (Cell::own) last[Step::OWN * all.hidden] = mine;
}

/* All threads of `blocks` blocks wait for each other, the round-th time. */
MJ_DEVICE void mj_meet(mj_u32 *arrived, mj_i64 blocks, mj_i64 round) {
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    atomicAdd(arrived, 1u);
    while (*(volatile mj_u32 *)arrived < (mj_u32)(blocks * round)) mj_wait();
    __threadfence();
  }
  __syncthreads();
}

/* Four terms of MJ_ROWS sums: h(r, 0..3) of the state times w. */
MJ_DEVICE void mj_four_terms(const float *const *h, int from, const mj_four &w, float *acc) {
#pragma unroll
  for (int r = 0; r < MJ_ROWS; r++) {
    const float4 x = __ldcg((const float4 *)(h[r] + from));
    acc[r] = mj_term_product(acc[r], x.x, w.at[0]);
    acc[r] = mj_term_product(acc[r], x.y, w.at[1]);
    acc[r] = mj_term_product(acc[r], x.z, w.at[2]);
    acc[r] = mj_term_product(acc[r], x.w, w.at[3]);
  }
}

/* Sums of one chunk of `terms` terms for MJ_ROWS rows h of the state and one column; the weights
 * of four terms lie beside each other, the next four `columns` further on. */
MJ_DEVICE void mj_recurrent_chunk(const float **h, int terms, const mj_four *weights, mj_i64 columns, float *acc) {
#pragma unroll
  for (int r = 0; r < MJ_ROWS; r++) acc[r] = 0.0f;
  for (; terms >= 16; terms -= 16) {
#pragma unroll
    for (int q = 0; q < 4; q++) {
      mj_four_terms(h, 4 * q, *weights, acc);
      weights += columns;
    }
#pragma unroll
    for (int r = 0; r < MJ_ROWS; r++) h[r] += 16;
  }
  for (; terms >= 4; terms -= 4) {
    mj_four_terms(h, 0, *weights, acc);
    weights += columns;
#pragma unroll
    for (int r = 0; r < MJ_ROWS; r++) h[r] += 4;
  }
  for (int i = 0; i < terms; i++) {
#pragma unroll
    for (int r = 0; r < MJ_ROWS; r++) acc[r] = mj_term_product(acc[r], __ldcg(h[r] + i), weights->at[i]);
  }
}

/* A chunk of a sum in parts: its units, whether a part begins with it, and, where a part ends with
 * it, how often the stack of parts is added up then (else -1). */
struct mj_chunk_of_sum { int start, terms, begins, merges; };

/* The chunks of a sum over n units, in ascending order; returns their number. */
MJ_DEVICE int mj_list_chunks(mj_i64 n, mj_i64 parts, mj_chunk_of_sum *list) {
  int chunks = 0, height = 0;
  for (mj_i64 part = 0; part < parts; part++) {
    const mj_i64 first = mj_part_start(n, parts, part), stop = mj_part_start(n, parts, part + 1);
    const int merges = mj_merges_after(part, parts, ++height);
    height -= merges;
    for (mj_i64 start = first; start < stop; start += MJ_CHUNK) {
      const bool ends = start + MJ_CHUNK >= stop;
      list[chunks++] = {(int)start, (int)mj_least(MJ_CHUNK, stop - start), start == first, ends ? merges : -1};
    }
  }
  return chunks;
}

/* Blocks (x: `columns` units each, y: groups, z: directions from `first_direction` on), all resident.
 * Shared memory: the weights of each gate (state_gate x columns), the list of a gate's chunks, then
 * the sums of all (gates x chunks x MJ_PASS x columns). `state`: 2 x directions of this launch x
 * utterances x STATE x state_gate floats, the first of the two with the states that utterances are
 * carried on from; `own`: directions of this launch x utterances x hidden. */
template <class Step>
MJ_DEVICE void mj_persist(const mj_sequences all, const Step what, mj_i64 first_direction, mj_i64 parts, int chunks, mj_i64 columns, const float *weight, float *state, float *own, mj_u32 *arrived, float *last) {
  const int gates = Step::Cell::gates;
  const mj_i64 hidden = all.hidden, groups = gridDim.y, group = blockIdx.y, direction = first_direction + blockIdx.z;
  const mj_i64 j0 = blockIdx.x * columns, state_gate = all.state_gate(), state_row = Step::STATE * state_gate;
  const mj_i64 half = gridDim.z * all.utterances * state_row;
  float *weights = mj_shared; /* w(k, j): see mj_recurrent_chunk */
  mj_chunk_of_sum *list = (mj_chunk_of_sum *)(weights + gates * state_gate * columns);
  float *sums = (float *)(list + chunks);
  if (threadIdx.x == 0) mj_list_chunks(hidden, parts, list);
  state += blockIdx.z * all.utterances * state_row;
  own += blockIdx.z * all.utterances * hidden;
  arrived += blockIdx.z * groups + group;
  weight += direction * gates * hidden * hidden;
  for (mj_i64 e = threadIdx.x; e < gates * hidden * columns; e += blockDim.x) {
    /* Forward w(k, j) = weight[j][k] of a gate, backward weight[k][j]. */
    const mj_i64 gate = e / (hidden * columns), of_gate = e % (hidden * columns);
    const mj_i64 k = Step::BACKWARD ? of_gate / columns : of_gate % hidden, j = Step::BACKWARD ? of_gate % columns : of_gate / hidden;
    if (j0 + j >= hidden) continue;
    const mj_i64 from = Step::BACKWARD ? k * hidden + j0 + j : (j0 + j) * hidden + k;
    weights[((gate * state_gate + k) / 4 * columns + j) * 4 + k % 4] = weight[gate * hidden * hidden + from];
  }
  __syncthreads();

  mj_i64 live = (all.utterances - group + groups - 1) / groups;
  for (mj_i64 s = 0;; s++) {
    while (live > 0 && all.length((live - 1) * groups + group) <= s) live--;
    if (live == 0) break;
    if (s > 0) mj_meet(arrived, gridDim.x, s);
    const float *before = state + (s % 2) * half;
    float *next = state + ((s + 1) % 2) * half;
    for (mj_i64 pass = 0; pass < live; pass += MJ_PASS) {
      const mj_i64 rows = mj_least(MJ_PASS, live - pass);
      for (mj_i64 unit = threadIdx.x; (s > 0 || all.carried) && unit < gates * chunks * (MJ_PASS / MJ_ROWS) * columns; unit += blockDim.x) {
        const mj_i64 j = unit % columns, first = unit / columns % (MJ_PASS / MJ_ROWS) * MJ_ROWS;
        const mj_i64 chunk = unit / columns / (MJ_PASS / MJ_ROWS), gate = gates == 1 ? 0 : chunk / chunks;
        if (first >= rows || j0 + j >= hidden) continue;
        const mj_chunk_of_sum of_sum = list[chunk - gate * chunks];
        const float *of[MJ_ROWS];
        float acc[MJ_ROWS];
#pragma unroll
        for (int r = 0; r < MJ_ROWS; r++) { /* a row beyond the last is the last, and dropped */
          of[r] = before + ((pass + mj_least(first + r, rows - 1)) * groups + group) * state_row + (Step::BACKWARD ? gate * state_gate : 0) + of_sum.start;
        }
        const mj_four *from = (const mj_four *)weights + (gate * state_gate + of_sum.start) / 4 * columns + j;
        mj_recurrent_chunk(of, of_sum.terms, from, columns, acc);
#pragma unroll
        for (int r = 0; r < MJ_ROWS; r++) sums[(chunk * MJ_PASS + first + r) * columns + j] = acc[r];
      }
      __syncthreads();
      for (mj_i64 unit = threadIdx.x; unit < rows * columns; unit += blockDim.x) {
        const mj_i64 row = unit / columns, j = unit % columns, place = (pass + row) * groups + group;
        if (j0 + j >= hidden) continue;
        float totals[gates];
        if (all.recurrent(place, s)) {
#pragma unroll
          for (int g = 0; g < gates; g++) {
            /* The stack of finished parts lies where the sums of chunks are used up. */
            float total = 0.0f, *at_chunk = sums + (g * chunks * MJ_PASS + row) * columns + j, *top = at_chunk;
            for (int c = 0; c < chunks; c++, at_chunk += MJ_PASS * columns) {
              total = mj_total(list[c].begins, total, *at_chunk);
              if (list[c].merges < 0) continue;
              for (int merge = 0; merge < list[c].merges; merge++) {
                top -= MJ_PASS * columns;
                total = mj_total(false, *top, total);
              }
              *top = total;
              top += MJ_PASS * columns;
            }
            totals[g] = total;
          }
        }
        mj_unit_step(all, what, place, s, direction, j0 + j, totals, own + place * hidden + j0 + j, next + place * state_row + j0 + j, state_gate, last);
      }
      __syncthreads();
    }
  }
}

/* One step of the first `live` utterances; the recurrent sums of (direction, utterance) begin sums_row
 * apart, those of its gates sums_gate. `state` and `own` of place p and direction d are row d * state_rows + p and d * utterances + p, with
 * STATE x hidden and hidden floats. Blocks (x: columns, y: utterances, z: directions). */
template <class Step>
MJ_DEVICE void mj_one_step(const mj_sequences all, const Step what, mj_i64 s, mj_i64 live, mj_i64 state_rows, const float *sums, mj_i64 sums_row, mj_i64 sums_gate, float *state, float *own, float *last) {
  const int gates = Step::Cell::gates;
  const mj_i64 d = blockIdx.z, hidden = all.hidden;
  mj_matrix(live, hidden, [=](mj_i64 place, mj_i64 j) {
    float totals[gates];
    if (all.recurrent(place, s)) {
#pragma unroll
      for (int g = 0; g < gates; g++) totals[g] = sums[(d * live + place) * sums_row + g * sums_gate + j];
    }
    mj_unit_step(all, what, place, s, d, j, totals, own + (d * all.utterances + place) * hidden + j, state + (d * state_rows + place) * Step::STATE * hidden + j, hidden, last);
  });
}

/* The states that utterances are carried on from, (directions, utterances, columns x hidden), in their
 * sorted places, `states` columns, rounded if asked, `state_gate` apart and column `own_at` in own; +0 where an utterance is
 * not. The same are the last ones of an utterance without frames. Blocks (x: columns, y: utterances, z:
 * directions). */
MJ_KERNEL mj_rnn_carried_kernel(mj_i64 utterances, const mj_i64 *sorted, mj_i64 hidden, mj_i64 columns, mj_i64 states, mj_i64 state_gate, mj_i64 own_at, mj_i64 rounded, const mj_i64 *carried, const float *initial, float *state, float *own, float *last) {
  const mj_i64 d = blockIdx.z;
  mj_matrix(utterances, hidden, [=](mj_i64 place, mj_i64 j) {
    const mj_i64 u = sorted[place];
    for (mj_i64 c = 0; c < columns; c++) {
      const mj_i64 at = ((d * utterances + u) * columns + c) * hidden + j;
      const float y = carried && carried[u] ? initial[at] : 0.0f;
      const float kept = mj_kept(rounded != 0, y);
      last[at] = c == own_at ? y : kept;
      if (c < states) state[((d * utterances + place) * states + c) * state_gate + j] = kept;
      if (c == own_at) own[(d * utterances + place) * hidden + j] = y;
    }
  });
}

#define MJ_FORWARD_PERSISTENT(name, Cell) \
  extern "C" __global__ void __launch_bounds__(512, 1) name(mj_i64 first, mj_i64 directions, mj_i64 first_direction, mj_i64 utterances, const mj_i64 *offsets, const mj_i64 *sorted, mj_i64 hidden, mj_i64 parts, mj_i64 chunks, mj_i64 columns, mj_i64 rounded, const mj_i64 *carried, const float *x, const float *weight, float *state, float *own, mj_u32 *arrived, float *h, float *kept, float *last) { \
    const mj_forward<Cell> what = {x, h, kept}; \
    mj_persist(mj_sequences{first, directions, utterances, hidden, offsets, sorted, 0, rounded, carried}, what, first_direction, parts, (int)chunks, columns, weight, state, own, arrived, last); \
  }
MJ_FORWARD_PERSISTENT(mj_rnn_forward_persistent_kernel, mj_rnn)
MJ_FORWARD_PERSISTENT(mj_gru_forward_persistent_kernel, mj_gru)
MJ_FORWARD_PERSISTENT(mj_lstm_forward_persistent_kernel, mj_lstm)

#define MJ_BACKWARD_PERSISTENT(name, Cell) \
  extern "C" __global__ void __launch_bounds__(512, 1) name(mj_i64 first, mj_i64 directions, mj_i64 first_direction, mj_i64 utterances, const mj_i64 *offsets, const mj_i64 *sorted, mj_i64 hidden, mj_i64 parts, mj_i64 chunks, mj_i64 columns, mj_i64 rounded, const mj_i64 *carried, const float *dy, const float *weight, const float *kept, float *state, float *own, mj_u32 *arrived, float *dx, float *ds, float *last) { \
    const mj_backward<Cell> what = {dy, kept, dx, ds}; \
    mj_persist(mj_sequences{first, directions, utterances, hidden, offsets, sorted, 1, rounded, carried}, what, first_direction, parts, (int)chunks, columns, weight, state, own, arrived, last); \
  }
MJ_BACKWARD_PERSISTENT(mj_rnn_backward_persistent_kernel, mj_rnn)
MJ_BACKWARD_PERSISTENT(mj_gru_backward_persistent_kernel, mj_gru)
MJ_BACKWARD_PERSISTENT(mj_lstm_backward_persistent_kernel, mj_lstm)

#define MJ_FORWARD_STEP(name, Cell) \
  MJ_KERNEL name(mj_i64 first, mj_i64 directions, mj_i64 utterances, const mj_i64 *offsets, const mj_i64 *sorted, mj_i64 hidden, mj_i64 rounded, const mj_i64 *carried, mj_i64 s, mj_i64 live, mj_i64 state_rows, const float *sums, mj_i64 sums_row, mj_i64 sums_gate, float *state, float *own, float *last, const float *x, float *h, float *kept) { \
    const mj_forward<Cell> what = {x, h, kept}; \
    mj_one_step(mj_sequences{first, directions, utterances, hidden, offsets, sorted, 0, rounded, carried}, what, s, live, state_rows, sums, sums_row, sums_gate, state, own, last); \
  }
MJ_FORWARD_STEP(mj_rnn_forward_step_kernel, mj_rnn)
MJ_FORWARD_STEP(mj_gru_forward_step_kernel, mj_gru)
MJ_FORWARD_STEP(mj_lstm_forward_step_kernel, mj_lstm)

#define MJ_BACKWARD_STEP(name, Cell) \
  MJ_KERNEL name(mj_i64 first, mj_i64 directions, mj_i64 utterances, const mj_i64 *offsets, const mj_i64 *sorted, mj_i64 hidden, mj_i64 rounded, const mj_i64 *carried, mj_i64 s, mj_i64 live, mj_i64 state_rows, const float *sums, mj_i64 sums_row, mj_i64 sums_gate, float *state, float *own, float *last, const float *dy, const float *kept, float *dx, float *ds) { \
    const mj_backward<Cell> what = {dy, kept, dx, ds}; \
    mj_one_step(mj_sequences{first, directions, utterances, hidden, offsets, sorted, 1, rounded, carried}, what, s, live, state_rows, sums, sums_row, sums_gate, state, own, last); \
  }
MJ_BACKWARD_STEP(mj_rnn_backward_step_kernel, mj_rnn)
MJ_BACKWARD_STEP(mj_gru_backward_step_kernel, mj_gru)
MJ_BACKWARD_STEP(mj_lstm_backward_step_kernel, mj_lstm)

MJ_KERNEL mj_rnn_previous_rows_kernel(mj_i64 first, mj_i64 directions, mj_i64 utterances, const mj_i64 *offsets, mj_i64 hidden, const float *h, const mj_i64 *carried, const float *initial, mj_i64 initial_row, float *out) {
  mj_utterance_rows(utterances, offsets, directions * hidden, [=](mj_i64 u, mj_i64 row, mj_i64 j) {
    const mj_i64 d = j / hidden, before = (first + d) % 2 == 1 ? row + 1 : row - 1;
    float y = 0.0f;
    if (before >= offsets[u] && before < offsets[u + 1]) {
      y = h[before * directions * hidden + j];
    } else if (carried && carried[u]) {
      y = initial[(d * utterances + u) * initial_row + j % hidden];
    }
    out[row * directions * hidden + j] = y;
  });
}

MJ_KERNEL mj_sum_directions_kernel(mj_i64 rows, mj_i64 directions, mj_i64 hidden, const float *h, float *out) {
  mj_matrix(rows, hidden, [=](mj_i64 i, mj_i64 j) {
    const float *from = h + i * directions * hidden + j;
    float sum = from[0];
    for (mj_i64 d = 1; d < directions; d++) sum = mj_add(sum, from[d * hidden]);
    out[i * hidden + j] = sum;
  });
}

MJ_KERNEL mj_repeat_directions_kernel(mj_i64 rows, mj_i64 directions, mj_i64 hidden, const float *dy, float *out) {
  mj_matrix(rows, hidden, [=](mj_i64 i, mj_i64 j) {
    for (mj_i64 d = 0; d < directions; d++) out[(i * directions + d) * hidden + j] = dy[i * hidden + j];
  });
}
