/* Drivers of the recurrent layer that run a step a launch, and what goes before and after all steps.
 *
 * Policy. Recurrent sums of a step are a product (gemm.cu); the states that utterances are carried
 * on from lie where the first step reads them. rnn_persistent.cu runs all steps in one launch.
 */
#include "rnn_unit.h"

/* One step of the first `live` utterances; the recurrent sums of (direction, utterance) begin sums_row
 * apart, those of its gates sums_gate. `state` and `own` of place p and direction d are row d * state_rows + p and d * utterances + p, with
 * STATE x hidden and hidden floats. Blocks (x: columns, y: utterances, z: directions). */
template <class Step>
MJ_DEVICE void mj_one_step(const mj_sequences all, const Step what, mj_i64 s, mj_i64 live, mj_i64 state_rows, const float *sums, mj_i64 sums_row, mj_i64 sums_gate, float *state, float *own, float *last) {
  const mj_i64 d = blockIdx.z, hidden = all.hidden;
  mj_matrix(live, hidden, [=](mj_i64 place, mj_i64 j) {
    const auto sum = [=](int g) { return sums[(d * live + place) * sums_row + g * sums_gate + j]; };
    mj_unit_step(all, what, all.utterance(place, d), s, d, j, sum, own + (d * all.utterances + place) * hidden + j, state + (d * state_rows + place) * Step::STATE * hidden + j, hidden, last);
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
