/* One step of a unit of a recurrent layer: what it reads and writes, whichever kernel runs it.
 *
 * Policy. Utterances are sorted longest first and all start together, so those still running are
 * always the first. At the first step only utterances that are carried on have a recurrent term.
 * Back-propagation is the same recurrence in the opposite direction with the transposed weight.
 */
#pragma once
#include "../rnn.h"
#include "../mj_sum.h"
#include "driver.h"

#ifndef MJ_EMULATION
/* A number that will soon be read comes into the second-level cache. */
MJ_DEVICE void mj_prefetch(const float *of) { asm volatile("prefetch.global.L2 [%0];" ::"l"(of)); }
#endif

/* What a step makes of unit j from what it reads (In) and the sums of its gates; `start` is (row,
 * column 0) of a matrix with one column a unit. The state has STATE columns; CARRIED with what else is
 * carried, own at OWN. */
template <class Of> struct mj_forward {
  typedef Of Cell;
  static const int STATE = 1, CARRIED = Cell::carried, OWN = CARRIED - 1;
  static const bool BACKWARD = false;
  struct In { float x[Cell::gates]; };
  const float *x;
  float *h, *kept;

  MJ_DEVICE_MEMBER void prefetch(mj_i64 start, mj_i64 hidden, mj_i64 j) const {
#pragma unroll
    for (int g = 0; g < Cell::gates; g++) mj_prefetch(x + start * Cell::gates + g * hidden + j);
  }
  MJ_DEVICE_MEMBER In read(mj_i64 start, mj_i64 hidden, mj_i64 j) const {
    In in;
#pragma unroll
    for (int g = 0; g < Cell::gates; g++) in.x[g] = x[start * Cell::gates + g * hidden + j];
    return in;
  }
  MJ_DEVICE_MEMBER void step(const In &in, mj_i64 start, mj_i64 hidden, mj_i64 j, bool recurrent, const float *sums, float &own, float *state) const {
    float keep[Cell::kept];
    const float y = recurrent ? Cell::forward(in.x, sums, own, keep) : Cell::forward_first(in.x, own, keep);
    h[start + j] = state[0] = y;
#pragma unroll
    for (int k = 0; Cell::own && k < Cell::kept; k++) kept[start * Cell::kept + k * hidden + j] = keep[k];
  }
};
template <class Of> struct mj_backward {
  typedef Of Cell;
  static const int STATE = Cell::gates, CARRIED = STATE + Cell::own, OWN = STATE;
  static const bool BACKWARD = true;
  struct In { float dy, kept[Cell::kept]; };
  const float *dy, *kept;
  float *dx, *ds;

  MJ_DEVICE_MEMBER void prefetch(mj_i64 start, mj_i64 hidden, mj_i64 j) const {
    mj_prefetch(dy + start + j);
#pragma unroll
    for (int k = 0; k < Cell::kept; k++) mj_prefetch(kept + start * Cell::kept + k * hidden + j);
  }
  MJ_DEVICE_MEMBER In read(mj_i64 start, mj_i64 hidden, mj_i64 j) const {
    In in;
    in.dy = dy[start + j];
#pragma unroll
    for (int k = 0; k < Cell::kept; k++) in.kept[k] = kept[start * Cell::kept + k * hidden + j];
    return in;
  }
  MJ_DEVICE_MEMBER void step(const In &in, mj_i64 start, mj_i64 hidden, mj_i64 j, bool recurrent, const float *sums, float &own, float *state) const {
    float by_x[Cell::gates];
    if (recurrent) {
      Cell::backward(in.dy, sums, own, in.kept, by_x, state);
    } else {
      Cell::backward_first(in.dy, own, in.kept, by_x, state);
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

/* An utterance, seen from a direction. */
struct mj_utterance {
  mj_i64 first; /* its row at step 0 */
  mj_i32 frames, number, carried;
};

/* Utterances in the order of `sorted`, and where their rows are. */
struct mj_sequences {
  mj_i64 first, directions, utterances, hidden;
  const mj_i64 *offsets, *sorted;
  mj_i64 flipped; /* 1: against the direction */
  mj_i64 rounded; /* 1: states are rounded to bfloat16 */
  const mj_i64 *carried; /* null if no utterance is */

  MJ_DEVICE_MEMBER bool reversed(mj_i64 direction) const { return ((first + direction) % 2 == 1) != (flipped != 0); }
  MJ_DEVICE_MEMBER mj_utterance utterance(mj_i64 place, mj_i64 direction) const {
    const mj_i64 u = sorted[place], start = offsets[u], stop = offsets[u + 1];
    return {reversed(direction) ? stop - 1 : start, (mj_i32)(stop - start), (mj_i32)u, carried && carried[u]};
  }
  /* Index of (row of that step, column 0 of that direction) in a matrix with one column a unit. */
  MJ_DEVICE_MEMBER mj_i64 at(const mj_utterance &of, mj_i64 step, mj_i64 direction) const {
    return ((reversed(direction) ? of.first - step : of.first + step) * directions + direction) * hidden;
  }
  /* Units of a gate in the state, padded. */
  MJ_DEVICE_MEMBER mj_i64 state_gate() const { return (hidden + 3) / 4 * 4; }
};

/* Step s of unit j, whose gates' sums are sum(gate): its own state and that of its gates, `state_gate`
 * apart, go on; `last`, if given, is what remains of an utterance at its end. */
template <class Step, class Sum>
MJ_DEVICE void mj_unit_step(const mj_sequences &all, const Step &what, const mj_utterance &of, mj_i64 s, mj_i64 direction, mj_i64 j, Sum sum, float *own, float *state, mj_i64 state_gate, float *last) {
  typedef typename Step::Cell Cell;
  const bool recurrent = s > 0 || of.carried;
  const mj_i64 start = all.at(of, s, direction);
  const typename Step::In in = what.read(start, all.hidden, j); /* under way while the sums are added */
  float mine = Cell::own && recurrent ? *own : 0.0f, sums[Cell::gates], after[Step::STATE];
  if (recurrent) {
#pragma unroll
    for (int g = 0; g < Cell::gates; g++) sums[g] = sum(g);
  }
  what.step(in, start, all.hidden, j, recurrent, sums, mine, after);
#pragma unroll
  for (int g = 0; g < Step::STATE; g++) {
    after[g] = mj_kept(all.rounded != 0, after[g]);
    state[g * state_gate] = after[g];
  }
  if (Cell::own) *own = mine;
  if (!last || s + 1 < of.frames) return;
  last += (direction * all.utterances + of.number) * Step::CARRIED * all.hidden + j;
#pragma unroll
  for (int g = 0; g < Step::STATE; g++) last[g * all.hidden] = after[g];
  if (Cell::own) last[Step::OWN * all.hidden] = mine;
}
