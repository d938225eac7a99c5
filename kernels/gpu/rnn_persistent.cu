/* Drivers of the recurrent layer that run all steps in one launch.
 *
 * Policy. Rows of a batch do not see one another, so utterances are dealt to groups, and a group
 * of a direction is a team of blocks that shares nothing with other teams. A block of the team
 * owns some units, keeps their weights of all gates in shared memory over all steps, and after
 * each step waits for its team (persistent RNN, Diamos et al. 2016).
 *
 * Of a step's recurrent sums a block computes all chunks side by side. A slot is a chunk of the sum
 * over one state: forward all gates have the same, backward each gate has its own. The slots go
 * through their terms in step: a stage is the next few terms of every slot for all rows of a pass,
 * copied into a ring of stages while those before it are summed up, and every sum stays in a
 * register until its chunk ends. Then the chunk sums lie in shared memory, where each unit adds its
 * own in ascending order; parts of a sum by the tree.
 *
 * The state of a step lies in global memory, in two copies in turn, rows padded to a multiple of
 * 4; other multiprocessors write it, and mj_copy_four sees that.
 *
 * A thread computes ROWS rows x COLUMNS columns of a slot, so that a number from shared memory
 * counts often. Lanes of a warp: 4 rows x 8 tiles, in an order where neighbours (i and i ^ 1, i and
 * i ^ 2) read the same 16 bytes, which shared memory then gives to both at once.
 */
#include "copies.h"
#include "rnn_unit.h"

#define MJ_PASS 32 /* most utterances between two barriers of a block */
#define MJ_MOST_STAGES 8
#define MJ_TEAM 32 /* counters of teams are so many apart, 128 bytes */
#define MJ_LANE_ROWS 4
#define MJ_LANE_TILES 8

/* How a block works through its sums: majelpy/gpu/rnn_shape.py chooses. */
struct mj_shape {
  int chunks;  /* of a gate's sum */
  int columns; /* units of a block */
  int apart;   /* floats from the weights of a tile to those of the next, which are in other banks */
  int rows;    /* of a stage: 8, 16 or 32 */
  int quads;   /* four terms each, of a slot in a stage: a power of 2 */
  int ring;    /* stages there is room for */
  int sweep;   /* stages until the longest chunk ends */
  int sums_at; /* of the chunk sums, from the start of the ring */
};

/* A chunk of a sum in parts: where it is in a row of the state, whether a part begins with it, and,
 * where a part ends with it, how often the stack of parts is added up then (else -1). */
struct mj_slot { int from, terms, begins, merges; };

/* The slots of a gate's sum over n units, in ascending order; its state begins at `from`. */
MJ_DEVICE void mj_list_slots(mj_i64 n, mj_i64 parts, int from, mj_slot *list) {
  int height = 0;
  for (mj_i64 part = 0; part < parts; part++) {
    const mj_i64 first = mj_part_start(n, parts, part), stop = mj_part_start(n, parts, part + 1);
    const int merges = mj_merges_after(part, parts, ++height);
    height -= merges;
    for (mj_i64 start = first; start < stop; start += MJ_CHUNK) {
      const bool ends = start + MJ_CHUNK >= stop;
      *list++ = {from + (int)start, (int)mj_least(MJ_CHUNK, stop - start), start == first, ends ? merges : -1};
    }
  }
}

/* A block says that its writes are done; whoever sees its number sees them. */
#ifndef MJ_EMULATION
MJ_DEVICE void mj_arrive(mj_u32 *arrived) {
  asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(arrived), "r"(1) : "memory");
}
MJ_DEVICE mj_u32 mj_arrived(const mj_u32 *arrived) {
  mj_u32 seen;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(arrived) : "memory");
  return seen;
}
#endif

/* All threads of `blocks` blocks wait for each other, the round-th time. */
MJ_DEVICE void mj_meet(mj_u32 *arrived, mj_i64 blocks, mj_i64 round) {
  __syncthreads();
  if (threadIdx.x == 0) {
    mj_arrive(arrived);
    while (mj_arrived(arrived) < (mj_u32)(blocks * round)) mj_wait();
  }
  __syncthreads();
}

/* All but the last `left` stages have arrived. */
MJ_DEVICE void mj_stages_wait(int left) {
  switch (left) {
    case 0: return mj_copies_wait<0>();
    case 1: return mj_copies_wait<1>();
    case 2: return mj_copies_wait<2>();
    case 3: return mj_copies_wait<3>();
    case 4: return mj_copies_wait<4>();
    case 5: return mj_copies_wait<5>();
    default: return mj_copies_wait<6>();
  }
}

/* What a thread copies of each stage: of one row, some quads. A warp copies 4 neighbouring quads of 8
 * rows, whole sectors of global memory into all banks. In a stage the rows of a quad lie side by side. */
struct mj_copying {
  const float *row; /* of the state; null if there is no such utterance */
  int to, first, step;

  MJ_DEVICE_MEMBER void start(const mj_shape &shape, const mj_slot *slots, int count, int stage, mj_spot at) const {
    if (row == nullptr) return;
    int shift = 0;
    while (1 << shift < shape.quads) shift++;
    for (int q = first; q < count << shift; q += step) {
      const mj_slot slot = slots[q >> shift];
      const int term = 4 * ((stage << shift) + (q & (shape.quads - 1)));
      if (term < slot.terms) mj_copy_four(at + 4 * (q * shape.rows + to), row + slot.from + term);
    }
  }
};

/* Four terms of a tile of sums: rows of the state MJ_LANE_ROWS apart, columns of weights side by side. */
template <int ROWS, int COLUMNS>
MJ_DEVICE void mj_four_terms(const float *state, const float *weights, float (&acc)[ROWS][COLUMNS]) {
  mj_four x[ROWS], w[COLUMNS];
#pragma unroll
  for (int c = 0; c < COLUMNS; c++) w[c] = ((const mj_four *)weights)[c];
#pragma unroll
  for (int r = 0; r < ROWS; r++) x[r] = ((const mj_four *)state)[r * MJ_LANE_ROWS];
#pragma unroll
  for (int i = 0; i < 4; i++) {
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
#pragma unroll
      for (int c = 0; c < COLUMNS; c++) acc[r][c] = mj_term_product(acc[r][c], x[r].at[i], w[c].at[i]);
    }
  }
}

/* All terms of a tile that are in a stage, whose quads are `quad` floats apart. */
template <int ROWS, int COLUMNS>
MJ_DEVICE void mj_stage_terms(const float *state, int quad, const float *weights, int terms, float (&acc)[ROWS][COLUMNS]) {
#pragma unroll 1
  for (; terms >= 8; terms -= 8) {
    mj_four_terms(state, weights, acc);
    mj_four_terms(state + quad, weights + 4 * COLUMNS, acc);
    state += 2 * quad;
    weights += 8 * COLUMNS;
  }
  if (terms >= 4) {
    mj_four_terms(state, weights, acc);
    state += quad;
    weights += 4 * COLUMNS;
    terms -= 4;
  }
#pragma unroll 1
  for (int i = 0; i < terms; i++) {
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
#pragma unroll
      for (int c = 0; c < COLUMNS; c++) {
        acc[r][c] = mj_term_product(acc[r][c], state[4 * MJ_LANE_ROWS * r + i], weights[4 * c + i]);
      }
    }
  }
}

/* Sums of a row of a tile, as they lie beside each other. */
template <int COLUMNS> struct alignas(COLUMNS % 4 == 0 ? 16 : COLUMNS % 2 == 0 ? 8 : 4) mj_side_by_side { float at[COLUMNS]; };

/* The sums of all slots, (slots x rows of a stage x tiles x COLUMNS), of the first `live` rows. Slots are
 * `gates` times chunks, and `tiles` those of a gate. More tiles than the warps hold go in rounds. Where a
 * tile is larger than what is left, it computes numbers that nobody reads. */
template <int ROWS, int COLUMNS>
MJ_DEVICE void mj_recurrent_sums(const mj_shape &shape, const mj_slot *slots, int gates, int tiles, int live, const mj_copying &copying, const float *weights, float *ring, float *sums) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const int lane_row = (lane & 1) | (lane >> 1 & 2), lane_tile = (lane >> 1 & 1) | (lane >> 2 & 6);
  const int count = gates * shape.chunks, quad = 4 * shape.rows, stage = count * shape.quads * quad;
  const int row_warps = (live + ROWS * MJ_LANE_ROWS - 1) / (ROWS * MJ_LANE_ROWS);
  const int all = (count * tiles + MJ_LANE_TILES - 1) / MJ_LANE_TILES * row_warps;
  for (int begin = 0; begin < all; begin += warps) {
    const int row = (begin + warp) % row_warps * (ROWS * MJ_LANE_ROWS) + lane_row;
    const int place = (begin + warp) / row_warps * MJ_LANE_TILES + lane_tile, slot = place / tiles, tile = place - slot * tiles;
    const bool there = begin + warp < all && slot < count;
    const int gate = there ? slot / shape.chunks : 0, terms = there ? slots[slot].terms : 0;
    const float *of = weights + (gate * tiles + tile) * shape.apart;
    if (there) of += (slots[slot].from - slots[gate * shape.chunks].from) * COLUMNS;
    float acc[ROWS][COLUMNS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
#pragma unroll
      for (int c = 0; c < COLUMNS; c++) acc[r][c] = 0.0f;
    }
    for (int s = 0; s < shape.ring - 1; s++) {
      if (s < shape.sweep) copying.start(shape, slots, count, s, mj_spot_of(ring) + s * stage);
      mj_copies_close();
    }
    int full = 0, empty = shape.ring - 1; /* places in the ring */
#pragma unroll 1
    for (int s = 0; s < shape.sweep; s++) {
      mj_stages_wait(shape.ring - 2);
      __syncthreads();
      if (s + shape.ring - 1 < shape.sweep) copying.start(shape, slots, count, s + shape.ring - 1, mj_spot_of(ring) + empty * stage);
      mj_copies_close();
      const int left = terms - s * 4 * shape.quads, here = left < 4 * shape.quads ? left : 4 * shape.quads;
      mj_stage_terms(ring + full * stage + slot * shape.quads * quad + 4 * row, quad, of, here, acc);
      of += 4 * COLUMNS * shape.quads;
      empty = full;
      full = full + 1 == shape.ring ? 0 : full + 1;
    }
    __syncthreads();
    if (!there) continue;
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      mj_side_by_side<COLUMNS> out;
#pragma unroll
      for (int c = 0; c < COLUMNS; c++) out.at[c] = acc[r][c];
      *(mj_side_by_side<COLUMNS> *)(sums + ((slot * shape.rows + row + r * MJ_LANE_ROWS) * tiles + tile) * COLUMNS) = out;
    }
  }
}

/* The same with as few rows a thread as the warps of the block allow, so that all of them work. */
template <int COLUMNS, int ROWS, int... MORE>
MJ_DEVICE void mj_fitting_sums(const mj_shape &shape, const mj_slot *slots, int gates, int tiles, int live, const mj_copying &copying, const float *weights, float *ring, float *sums) {
  if constexpr (sizeof...(MORE) > 0) {
    const int row_warps = (live + ROWS * MJ_LANE_ROWS - 1) / (ROWS * MJ_LANE_ROWS);
    const int tile_warps = (gates * shape.chunks * tiles + MJ_LANE_TILES - 1) / MJ_LANE_TILES;
    if (row_warps > 1 && row_warps * tile_warps > (int)blockDim.x / 32) {
      return mj_fitting_sums<COLUMNS, MORE...>(shape, slots, gates, tiles, live, copying, weights, ring, sums);
    }
  }
  mj_recurrent_sums<ROWS, COLUMNS>(shape, slots, gates, tiles, live, copying, weights, ring, sums);
}

/* The sum of one gate of one unit from its chunks, `apart` floats from one to the next; the stack of
 * finished parts lies where the sums of chunks are used up. */
MJ_DEVICE float mj_sum_of_chunks(const mj_slot *slots, mj_i64 parts, int chunks, float *at, int apart) {
  float total = *at, *top = at;
  if (parts == 1) { /* no step of the loop waits for the list */
#pragma unroll 4
    for (int c = 1; c < chunks; c++) total = mj_total(false, total, at[c * apart]);
    return total;
  }
  for (int c = 0; c < chunks; c++, at += apart) {
    total = mj_total(slots[c].begins, total, *at);
    if (slots[c].merges < 0) continue;
    for (int merge = 0; merge < slots[c].merges; merge++) {
      top -= apart;
      total = mj_total(false, *top, total);
    }
    *top = total;
    top += apart;
  }
  return total;
}

/* Blocks (x: `columns` units each, y: groups, z: directions from `first_direction` on) of whole times 4
 * warps, all resident. Shared memory: the weights (tiles of all gates; of a tile, four terms of a column
 * beside those of the next column), the slots, the group's utterances, the ring and the sums of chunks.
 * `state`: 2 x directions of this launch x utterances x STATE x state_gate floats, the first of the two
 * with the states that utterances are carried on from; `own`: directions of this launch x utterances x
 * hidden; `arrived`: a number every 128 bytes for each team. */
template <class Step>
MJ_DEVICE void mj_persist(const mj_sequences all, const Step what, mj_i64 first_direction, mj_i64 parts, const mj_shape shape, int tile, const float *weight, float *state, float *own, mj_u32 *arrived, float *last) {
  const int gates = Step::Cell::gates, states = Step::STATE, of_state = gates / states * shape.columns;
  const int tiles = (of_state + tile - 1) / tile, count = states * shape.chunks, width = tiles * tile;
  const mj_i64 hidden = all.hidden, groups = gridDim.y, group = blockIdx.y, direction = first_direction + blockIdx.z;
  const mj_i64 j0 = blockIdx.x * shape.columns, state_gate = all.state_gate(), state_row = states * state_gate;
  const mj_i64 half = gridDim.z * all.utterances * state_row;
  const int mine = (int)mj_least(shape.columns, hidden - j0), members = (int)((all.utterances - group + groups - 1) / groups);
  float *weights = mj_shared;
  mj_slot *slots = (mj_slot *)(weights + states * tiles * shape.apart);
  mj_utterance *utterances = (mj_utterance *)(slots + count);
  float *ring = (float *)(utterances + members + members % 2), *sums = ring + shape.sums_at;
  if (threadIdx.x < states) mj_list_slots(hidden, parts, threadIdx.x * (int)state_gate, slots + threadIdx.x * shape.chunks);
  for (int p = threadIdx.x; p < members; p += blockDim.x) utterances[p] = all.utterance(p * groups + group, direction);
  state += blockIdx.z * all.utterances * state_row;
  own += blockIdx.z * all.utterances * hidden;
  arrived += (blockIdx.z * groups + group) * MJ_TEAM;
  weight += direction * gates * hidden * hidden;
  for (int e = threadIdx.x; e < gates * (int)hidden * mine; e += blockDim.x) {
    /* Forward w(k, j) = weight[j][k] of a gate, backward weight[k][j]. */
    const int gate = e / ((int)hidden * mine), of_gate = e % ((int)hidden * mine);
    const int k = Step::BACKWARD ? of_gate / mine : of_gate % (int)hidden, j = Step::BACKWARD ? of_gate % mine : of_gate / (int)hidden;
    const mj_i64 from = Step::BACKWARD ? k * hidden + j0 + j : (j0 + j) * hidden + k;
    const int column = states == 1 ? gate * shape.columns + j : gate * width + j;
    weights[column / tile * shape.apart + (k / 4 * tile + column % tile) * 4 + k % 4] = weight[gate * hidden * hidden + from];
  }
  __syncthreads();

  const int row_eights = shape.rows / 8, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  mj_copying copying;
  copying.to = warp % row_eights * 8 + lane % 8;
  copying.first = warp / row_eights * 4 + lane / 8;
  copying.step = blockDim.x / 8 / row_eights;
  int live = members;
  for (mj_i64 s = 0;; s++) {
    while (live > 0 && utterances[live - 1].frames <= s) live--;
    if (live == 0) break;
    if (s > 0) mj_meet(arrived, gridDim.x, s);
    const float *before = state + (s % 2) * half;
    float *next = state + ((s + 1) % 2) * half;
    for (int pass = 0; pass < live; pass += MJ_PASS) {
      const int rows = live - pass < MJ_PASS ? live - pass : MJ_PASS;
      if (s > 0 || all.carried) {
        copying.row = copying.to < rows ? before + ((pass + copying.to) * groups + group) * state_row : nullptr;
        if (tile == 7) {
          mj_fitting_sums<7, 4>(shape, slots, states, tiles, rows, copying, weights, ring, sums);
        } else if (tile == 4) {
          mj_fitting_sums<4, 2, 4, 8>(shape, slots, states, tiles, rows, copying, weights, ring, sums);
        } else {
          mj_fitting_sums<2, 1, 2, 4, 8>(shape, slots, states, tiles, rows, copying, weights, ring, sums);
        }
        __syncthreads();
      }
      for (int unit = threadIdx.x; unit < rows * mine; unit += blockDim.x) {
        const int row = unit / mine, j = unit - row * mine;
        const mj_i64 place = (pass + row) * groups + group;
        const mj_utterance of = utterances[pass + row];
        const auto sum = [=](int g) {
          const int slot = states == 1 ? 0 : g * shape.chunks, column = states == 1 ? g * shape.columns + j : j;
          return mj_sum_of_chunks(slots, parts, shape.chunks, sums + (slot * shape.rows + row) * width + column, shape.rows * width);
        };
        mj_unit_step(all, what, of, s, direction, j0 + j, sum, own + place * hidden + j0 + j, next + place * state_row + j0 + j, state_gate, last);
        if (s + 1 < of.frames) what.prefetch(all.at(of, s + 1, direction), hidden, j0 + j);
      }
      __syncthreads();
    }
  }
}

#define MJ_FORWARD_PERSISTENT(name, Cell) \
  extern "C" __global__ void __launch_bounds__(512, 1) name(mj_i64 first, mj_i64 directions, mj_i64 first_direction, mj_i64 utterances, const mj_i64 *offsets, const mj_i64 *sorted, mj_i64 hidden, mj_i64 parts, mj_i64 chunks, mj_i64 columns, mj_i64 tile, mj_i64 apart, mj_i64 rows, mj_i64 quads, mj_i64 ring, mj_i64 sweep, mj_i64 sums_at, mj_i64 rounded, const mj_i64 *carried, const float *x, const float *weight, float *state, float *own, mj_u32 *arrived, float *h, float *kept, float *last) { \
    const mj_forward<Cell> what = {x, h, kept}; \
    const mj_shape shape = {(int)chunks, (int)columns, (int)apart, (int)rows, (int)quads, (int)ring, (int)sweep, (int)sums_at}; \
    mj_persist(mj_sequences{first, directions, utterances, hidden, offsets, sorted, 0, rounded, carried}, what, first_direction, parts, shape, (int)tile, weight, state, own, arrived, last); \
  }
MJ_FORWARD_PERSISTENT(mj_rnn_forward_persistent_kernel, mj_rnn)
MJ_FORWARD_PERSISTENT(mj_gru_forward_persistent_kernel, mj_gru)
MJ_FORWARD_PERSISTENT(mj_lstm_forward_persistent_kernel, mj_lstm)

#define MJ_BACKWARD_PERSISTENT(name, Cell) \
  extern "C" __global__ void __launch_bounds__(512, 1) name(mj_i64 first, mj_i64 directions, mj_i64 first_direction, mj_i64 utterances, const mj_i64 *offsets, const mj_i64 *sorted, mj_i64 hidden, mj_i64 parts, mj_i64 chunks, mj_i64 columns, mj_i64 tile, mj_i64 apart, mj_i64 rows, mj_i64 quads, mj_i64 ring, mj_i64 sweep, mj_i64 sums_at, mj_i64 rounded, const mj_i64 *carried, const float *dy, const float *weight, const float *kept, float *state, float *own, mj_u32 *arrived, float *dx, float *ds, float *last) { \
    const mj_backward<Cell> what = {dy, kept, dx, ds}; \
    const mj_shape shape = {(int)chunks, (int)columns, (int)apart, (int)rows, (int)quads, (int)ring, (int)sweep, (int)sums_at}; \
    mj_persist(mj_sequences{first, directions, utterances, hidden, offsets, sorted, 1, rounded, carried}, what, first_direction, parts, shape, (int)tile, weight, state, own, arrived, last); \
  }
MJ_BACKWARD_PERSISTENT(mj_rnn_backward_persistent_kernel, mj_rnn)
MJ_BACKWARD_PERSISTENT(mj_gru_backward_persistent_kernel, mj_gru)
MJ_BACKWARD_PERSISTENT(mj_lstm_backward_persistent_kernel, mj_lstm)
