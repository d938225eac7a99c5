/* Maps: outputs from the inputs at the same place, four numbers a turn.
 *
 * Policy. Where every array of a map lies at a whole multiple of 16 bytes, a thread loads four
 * numbers of each at once, computes all four, and only then stores, so no store holds up a load. An
 * output may be an input's memory: loads and stores of a turn are of the same places. Other arrays, and
 * the last numbers of a count, go one at a time. A body gets a reference for each array, in their order.
 */
#pragma once
#include "driver.h"

#ifndef MJ_EMULATION
MJ_DEVICE float4 mj_load_four(const float *from) { return *(const float4 *)from; }
MJ_DEVICE void mj_store_four(float *to, float4 v) { *(float4 *)to = v; }
#endif

MJ_DEVICE bool mj_aligned(const void *at) { return ((mj_u64)at & 15) == 0; }

/* The first number of a turn: its number in the array, its column, row and leaf. */
struct mj_place { mj_i64 at, column, row, leaf; };

/* Arrays of a map. Each holds the numbers of a turn, or one in x; load and store are of four. */
struct mj_in { /* read */
  const float *from;
  float4 four;
  MJ_DEVICE_MEMBER bool aligned() const { return mj_aligned(from); }
  MJ_DEVICE_MEMBER void load(mj_place p) { four = mj_load_four(from + p.at); }
  MJ_DEVICE_MEMBER void load_one(mj_place p) { four.x = from[p.at]; }
  MJ_DEVICE_MEMBER void store(mj_place) const {}
  MJ_DEVICE_MEMBER void store_one(mj_place) const {}
};

struct mj_stepped { /* read; step: 1, or 0 where one number stands for all */
  const float *from;
  mj_i64 step;
  float4 four;
  MJ_DEVICE_MEMBER bool aligned() const { return step == 0 || mj_aligned(from); }
  MJ_DEVICE_MEMBER void load(mj_place p) {
    if (step == 1) {
      four = mj_load_four(from + p.at);
    } else {
      four.x = four.y = four.z = four.w = from[0];
    }
  }
  MJ_DEVICE_MEMBER void load_one(mj_place p) { four.x = from[p.at * step]; }
  MJ_DEVICE_MEMBER void store(mj_place) const {}
  MJ_DEVICE_MEMBER void store_one(mj_place) const {}
};

struct mj_out { /* written */
  float *to;
  float4 four;
  MJ_DEVICE_MEMBER bool aligned() const { return mj_aligned(to); }
  MJ_DEVICE_MEMBER void load(mj_place) {}
  MJ_DEVICE_MEMBER void load_one(mj_place) {}
  MJ_DEVICE_MEMBER void store(mj_place p) const { mj_store_four(to + p.at, four); }
  MJ_DEVICE_MEMBER void store_one(mj_place p) const { to[p.at] = four.x; }
};

struct mj_both { /* read, then written */
  float *memory;
  float4 four;
  MJ_DEVICE_MEMBER bool aligned() const { return mj_aligned(memory); }
  MJ_DEVICE_MEMBER void load(mj_place p) { four = mj_load_four(memory + p.at); }
  MJ_DEVICE_MEMBER void load_one(mj_place p) { four.x = memory[p.at]; }
  MJ_DEVICE_MEMBER void store(mj_place p) const { mj_store_four(memory + p.at, four); }
  MJ_DEVICE_MEMBER void store_one(mj_place p) const { memory[p.at] = four.x; }
};

struct mj_per_column { /* read; a leaf's begin `leaf` numbers after those of the leaf before */
  const float *from;
  mj_i64 leaf;
  float4 four;
  MJ_DEVICE_MEMBER bool aligned() const { return mj_aligned(from) && leaf % 4 == 0; }
  MJ_DEVICE_MEMBER void load(mj_place p) { four = mj_load_four(from + p.leaf * leaf + p.column); }
  MJ_DEVICE_MEMBER void load_one(mj_place p) { four.x = from[p.leaf * leaf + p.column]; }
  MJ_DEVICE_MEMBER void store(mj_place) const {}
  MJ_DEVICE_MEMBER void store_one(mj_place) const {}
};

struct mj_per_row { /* read; rows lie `apart` numbers from one another */
  const float *from;
  mj_i64 apart;
  float4 four;
  MJ_DEVICE_MEMBER bool aligned() const { return true; }
  MJ_DEVICE_MEMBER void load(mj_place p) {
    load_one(p);
    four.y = four.z = four.w = four.x;
  }
  MJ_DEVICE_MEMBER void load_one(mj_place p) { four.x = from[p.row * apart]; }
  MJ_DEVICE_MEMBER void store(mj_place) const {}
  MJ_DEVICE_MEMBER void store_one(mj_place) const {}
};

template <class Body, class... Arrays> MJ_DEVICE void mj_turn(mj_place p, Body body, Arrays &...arrays) {
  (arrays.load(p), ...);
  body(arrays.four.x...);
  body(arrays.four.y...);
  body(arrays.four.z...);
  body(arrays.four.w...);
  (arrays.store(p), ...);
}
template <class Body, class... Arrays> MJ_DEVICE void mj_turn_of_one(mj_place p, Body body, Arrays &...arrays) {
  (arrays.load_one(p), ...);
  body(arrays.four.x...);
  (arrays.store_one(p), ...);
}

/* body(number...) for 0..count, over a one-dimensional grid. */
template <class Body, class... Arrays> MJ_DEVICE void mj_quads(mj_i64 count, Body body, Arrays... arrays) {
  const mj_i64 whole = (... && arrays.aligned()) ? count / 4 : 0;
  mj_elements(whole, [&](mj_i64 q) { mj_turn({4 * q, 4 * q, 0, 0}, body, arrays...); });
  mj_elements(count - 4 * whole, [&](mj_i64 i) { mj_turn_of_one({4 * whole + i, 4 * whole + i, 0, 0}, body, arrays...); });
}

/* The same over a grid of blocks (x: columns, y: rows). */
template <class Body, class... Arrays> MJ_DEVICE void mj_row_quads(mj_i64 rows, mj_i64 columns, Body body, Arrays... arrays) {
  if (columns % 4 == 0 && (... && arrays.aligned())) {
    mj_matrix(rows, columns / 4, [&](mj_i64 i, mj_i64 q) { mj_turn({i * columns + 4 * q, 4 * q, i, 0}, body, arrays...); });
  } else {
    mj_matrix(rows, columns, [&](mj_i64 i, mj_i64 j) { mj_turn_of_one({i * columns + j, j, i, 0}, body, arrays...); });
  }
}

/* The same over the rows of leaves, by a grid of mj_utterance_rows. */
template <class Body, class... Arrays>
MJ_DEVICE void mj_leaf_row_quads(mj_i64 leaves, const mj_i64 *offsets, mj_i64 columns, Body body, Arrays... arrays) {
  if (columns % 4 == 0 && (... && arrays.aligned())) {
    mj_utterance_rows(leaves, offsets, columns / 4, [&](mj_i64 leaf, mj_i64 row, mj_i64 q) {
      mj_turn({row * columns + 4 * q, 4 * q, row, leaf}, body, arrays...);
    });
  } else {
    mj_utterance_rows(leaves, offsets, columns, [&](mj_i64 leaf, mj_i64 row, mj_i64 j) {
      mj_turn_of_one({row * columns + j, j, row, leaf}, body, arrays...);
    });
  }
}

/* A body that is told which of four numbers it gets, the first time `which`. */
template <class Body> struct mj_counting {
  Body body;
  int which;
  template <class... Numbers> MJ_DEVICE_MEMBER void operator()(Numbers &...numbers) { body(which++, numbers...); }
};

/* Of four numbers, those from `first` up to `last`; body(which, number...). */
template <class Body, class... Arrays> MJ_DEVICE void mj_some_of_four(mj_i64 first, mj_i64 last, Body body, Arrays... arrays) {
  if (first <= 0 && last >= 4 && (... && arrays.aligned())) {
    mj_turn({0, 0, 0, 0}, mj_counting<Body>{body, 0}, arrays...);
  } else {
#pragma unroll
    for (int w = 0; w < 4; w++) {
      if (w >= first && w < last) mj_turn_of_one({w, w, 0, 0}, mj_counting<Body>{body, w}, arrays...);
    }
  }
}
