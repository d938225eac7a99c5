/* Drivers of the recurrent layer: one launch for whole sequences, or a launch a step.
 *
 * Policy. Rows of a batch do not see one another, so utterances are dealt to groups, and a group
 * of a direction is a team of blocks that shares nothing with other teams. A block of the team
 * owns some columns of the state, keeps their weights in shared memory over all steps, and after
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

struct mj_forward_step {
  static MJ_DEVICE_MEMBER float step(float x, float recurrent, float) { return mj_rnn_forward(x, recurrent); }
  static MJ_DEVICE_MEMBER float first(float x, float) { return mj_rnn_forward_first(x); }
};
struct mj_backward_step {
  static MJ_DEVICE_MEMBER float step(float dy, float recurrent, float h) { return mj_rnn_backward(dy, recurrent, h); }
  static MJ_DEVICE_MEMBER float first(float dy, float h) { return mj_rnn_backward_first(dy, h); }
};

/* Utterances in the order of `sorted`, and where their rows are. */
struct mj_sequences {
  mj_i64 first, directions, utterances, hidden;
  const mj_i64 *offsets, *sorted;
  mj_i64 flipped; /* 1: against the direction */
  const mj_i64 *carried; /* null if no utterance is */

  MJ_DEVICE_MEMBER mj_i64 length(mj_i64 place) const { return offsets[sorted[place] + 1] - offsets[sorted[place]]; }
  /* Index of (row of that step, column 0 of that direction) in the matrices. */
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
  MJ_DEVICE_MEMBER mj_i64 state_row() const { return (hidden + 3) / 4 * 4; }
};

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

/* Blocks (x: `columns` of the state each, y: groups, z: directions from `first_direction` on), all
 * resident. Shared memory: the weights (state_row x columns), the list of chunks, then their sums
 * (chunks x MJ_PASS x columns). `state`: 2 x directions of this launch x utterances x state_row floats, the first of the
 * two with the states that utterances are carried on from. */
template <class Step>
MJ_DEVICE void mj_persist(const mj_sequences all, mj_i64 first_direction, mj_i64 parts, int chunks, mj_i64 columns, const float *x, const float *other, const float *weight, mj_i64 k_stride, mj_i64 j_stride, float *state, mj_u32 *arrived, float *out) {
  const mj_i64 hidden = all.hidden, groups = gridDim.y, group = blockIdx.y, direction = first_direction + blockIdx.z;
  const mj_i64 j0 = blockIdx.x * columns, state_row = all.state_row();
  const mj_i64 half = gridDim.z * all.utterances * state_row;
  float *weights = mj_shared; /* w(k, j): see mj_recurrent_chunk */
  mj_chunk_of_sum *list = (mj_chunk_of_sum *)(weights + state_row * columns);
  float *sums = (float *)(list + chunks);
  if (threadIdx.x == 0) mj_list_chunks(hidden, parts, list);
  state += blockIdx.z * all.utterances * state_row;
  arrived += blockIdx.z * groups + group;
  weight += direction * hidden * hidden;
  for (mj_i64 e = threadIdx.x; e < hidden * columns; e += blockDim.x) {
    const mj_i64 k = k_stride == 1 ? e % hidden : e / columns, j = k_stride == 1 ? e / hidden : e % columns;
    if (j0 + j < hidden) weights[(k / 4 * columns + j) * 4 + k % 4] = weight[k * k_stride + (j0 + j) * j_stride];
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
      for (mj_i64 unit = threadIdx.x; (s > 0 || all.carried) && unit < chunks * (MJ_PASS / MJ_ROWS) * columns; unit += blockDim.x) {
        const mj_i64 j = unit % columns, first = unit / columns % (MJ_PASS / MJ_ROWS) * MJ_ROWS;
        const mj_i64 chunk = unit / columns / (MJ_PASS / MJ_ROWS);
        if (first >= rows || j0 + j >= hidden) continue;
        const int start = list[chunk].start;
        const float *of[MJ_ROWS];
        float acc[MJ_ROWS];
#pragma unroll
        for (int r = 0; r < MJ_ROWS; r++) { /* a row beyond the last is the last, and dropped */
          of[r] = before + ((pass + mj_least(first + r, rows - 1)) * groups + group) * state_row + start;
        }
        const mj_four *from = (const mj_four *)weights + start / 4 * columns + j;
        mj_recurrent_chunk(of, list[chunk].terms, from, columns, acc);
#pragma unroll
        for (int r = 0; r < MJ_ROWS; r++) sums[(chunk * MJ_PASS + first + r) * columns + j] = acc[r];
      }
      __syncthreads();
      for (mj_i64 unit = threadIdx.x; unit < rows * columns; unit += blockDim.x) {
        const mj_i64 row = unit / columns, j = unit % columns, place = (pass + row) * groups + group;
        if (j0 + j >= hidden) continue;
        const mj_i64 at = all.at(place, s, direction) + j0 + j;
        float y;
        if (all.recurrent(place, s)) {
          /* The stack of finished parts lies where the sums of chunks are used up. */
          float total = 0.0f, *at_chunk = sums + row * columns + j, *top = at_chunk;
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
          y = Step::step(x[at], total, other[at]);
        } else {
          y = Step::first(x[at], other[at]);
        }
        out[at] = y;
        next[place * state_row + j0 + j] = y;
      }
      __syncthreads();
    }
  }
}

/* One step of the first `live` utterances; recurrent sums are in `sums` (directions, live, hidden).
 * The state of place p and direction d is row d * state_rows + p of state_row floats. Blocks (x: columns, y: utterances, z: directions). */
template <class Step>
MJ_DEVICE void mj_one_step(const mj_sequences all, mj_i64 s, mj_i64 live, mj_i64 state_rows, mj_i64 state_row, const float *x, const float *other, const float *sums, float *state, float *out) {
  const mj_i64 d = blockIdx.z, hidden = all.hidden;
  mj_matrix(live, hidden, [=](mj_i64 place, mj_i64 j) {
    const mj_i64 at = all.at(place, s, d) + j;
    const float y = all.recurrent(place, s) ? Step::step(x[at], sums[(d * live + place) * hidden + j], other[at]) : Step::first(x[at], other[at]);
    out[at] = y;
    state[(d * state_rows + place) * state_row + j] = y;
  });
}

/* The states that utterances are carried on from, (directions, utterances, hidden), in their sorted
 * places; +0 where an utterance is not. Blocks (x: columns, y: utterances, z: directions). */
MJ_KERNEL mj_rnn_carried_kernel(mj_i64 utterances, const mj_i64 *sorted, mj_i64 hidden, const mj_i64 *carried, const float *initial, float *state) {
  const mj_i64 d = blockIdx.z, state_row = (hidden + 3) / 4 * 4;
  mj_matrix(utterances, hidden, [=](mj_i64 place, mj_i64 j) {
    const mj_i64 u = sorted[place];
    state[(d * utterances + place) * state_row + j] = carried[u] ? initial[(d * utterances + u) * hidden + j] : 0.0f;
  });
}

/* Weights of a step: forward w(k, j) = weight[j][k], backward weight[k][j]. */
extern "C" __global__ void __launch_bounds__(512, 1) mj_rnn_forward_persistent_kernel(mj_i64 first, mj_i64 directions, mj_i64 first_direction, mj_i64 utterances, const mj_i64 *offsets, const mj_i64 *sorted, mj_i64 hidden, mj_i64 parts, mj_i64 chunks, mj_i64 columns, const float *x, const float *weight, const mj_i64 *carried, float *state, mj_u32 *arrived, float *h) {
  mj_persist<mj_forward_step>({first, directions, utterances, hidden, offsets, sorted, 0, carried}, first_direction, parts, (int)chunks, columns, x, x, weight, 1, hidden, state, arrived, h);
}

extern "C" __global__ void __launch_bounds__(512, 1) mj_rnn_backward_persistent_kernel(mj_i64 first, mj_i64 directions, mj_i64 first_direction, mj_i64 utterances, const mj_i64 *offsets, const mj_i64 *sorted, mj_i64 hidden, mj_i64 parts, mj_i64 chunks, mj_i64 columns, const float *dy, const float *weight, const float *h, const mj_i64 *carried, float *state, mj_u32 *arrived, float *dx) {
  mj_persist<mj_backward_step>({first, directions, utterances, hidden, offsets, sorted, 1, carried}, first_direction, parts, (int)chunks, columns, dy, h, weight, hidden, 1, state, arrived, dx);
}

MJ_KERNEL mj_rnn_forward_step_kernel(mj_i64 first, mj_i64 directions, mj_i64 utterances, const mj_i64 *offsets, const mj_i64 *sorted, mj_i64 hidden, const mj_i64 *carried, mj_i64 s, mj_i64 live, mj_i64 state_rows, mj_i64 state_row, const float *x, const float *sums, float *state, float *h) {
  mj_one_step<mj_forward_step>({first, directions, utterances, hidden, offsets, sorted, 0, carried}, s, live, state_rows, state_row, x, x, sums, state, h);
}

MJ_KERNEL mj_rnn_backward_step_kernel(mj_i64 first, mj_i64 directions, mj_i64 utterances, const mj_i64 *offsets, const mj_i64 *sorted, mj_i64 hidden, const mj_i64 *carried, mj_i64 s, mj_i64 live, mj_i64 state_rows, mj_i64 state_row, const float *dy, const float *h, const float *sums, float *state, float *dx) {
  mj_one_step<mj_backward_step>({first, directions, utterances, hidden, offsets, sorted, 1, carried}, s, live, state_rows, state_row, dy, h, sums, state, dx);
}

MJ_KERNEL mj_rnn_previous_rows_kernel(mj_i64 first, mj_i64 directions, mj_i64 utterances, const mj_i64 *offsets, mj_i64 hidden, const float *h, const mj_i64 *carried, const float *initial, float *out) {
  mj_utterance_rows(utterances, offsets, directions * hidden, [=](mj_i64 u, mj_i64 row, mj_i64 j) {
    const mj_i64 d = j / hidden, before = (first + d) % 2 == 1 ? row + 1 : row - 1;
    float y = 0.0f;
    if (before >= offsets[u] && before < offsets[u + 1]) {
      y = h[before * directions * hidden + j];
    } else if (carried && carried[u]) {
      y = initial[(d * utterances + u) * hidden + j % hidden];
    }
    out[row * directions * hidden + j] = y;
  });
}
