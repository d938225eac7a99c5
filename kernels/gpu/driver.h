/* What all GPU drivers share: index types, loops over a grid, waiting.
 *
 * Policy. A driver says which thread computes which output and when; every floating-point
 * operation is a body's (kernels/). Kernel arguments are 64-bit integers, pointers and
 * floats only. All shared memory is dynamic: mj_shared, whose size the launch names
 * (majelpy/gpu/), so the emulation of blocks on a CPU (tests/helpers/gpu_emulation/) needs one hook.
 */
#pragma once
#include "../mj_base.h"

typedef long long mj_i64;

#define MJ_KERNEL extern "C" __global__ void
#define MJ_DEVICE static __device__ __forceinline__
#define MJ_DEVICE_MEMBER __device__ __forceinline__

#ifndef MJ_EMULATION
extern __shared__ __align__(16) float mj_shared[];
/* One turn of a loop that waits for another block. */
MJ_DEVICE void mj_wait() {}
/* x, which the compiler then cannot calculate again and again from what it was made of. */
MJ_DEVICE unsigned long long mj_kept_in_register(unsigned long long x) {
  asm volatile("" : "+l"(x));
  return x;
}
#endif

struct alignas(16) mj_four { float at[4]; };

MJ_DEVICE mj_i64 mj_least(mj_i64 a, mj_i64 b) { return a < b ? a : b; }

/* body(i) for 0..count, over a one-dimensional grid. */
template <class Body> MJ_DEVICE void mj_elements(mj_i64 count, Body body) {
  const mj_i64 stride = (mj_i64)gridDim.x * blockDim.x;
  for (mj_i64 i = (mj_i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) body(i);
}

/* body(row, column) over a grid of blocks (x: columns, y: rows). */
template <class Body> MJ_DEVICE void mj_matrix(mj_i64 rows, mj_i64 columns, Body body) {
  for (mj_i64 i = (mj_i64)blockIdx.y * blockDim.y + threadIdx.y; i < rows; i += (mj_i64)gridDim.y * blockDim.y) {
    for (mj_i64 j = (mj_i64)blockIdx.x * blockDim.x + threadIdx.x; j < columns; j += (mj_i64)gridDim.x * blockDim.x) {
      body(i, j);
    }
  }
}

/* body(utterance, row, column): blocks (x: rows of an utterance, y: utterances), threads over columns. */
template <class Body>
MJ_DEVICE void mj_utterance_rows(mj_i64 utterances, const mj_i64 *offsets, mj_i64 columns, Body body) {
  for (mj_i64 u = blockIdx.y; u < utterances; u += gridDim.y) {
    const mj_i64 stop = offsets[u + 1], step = (mj_i64)gridDim.x * blockDim.y;
    for (mj_i64 row = offsets[u] + (mj_i64)blockIdx.x * blockDim.y + threadIdx.y; row < stop; row += step) {
      for (mj_i64 j = threadIdx.x; j < columns; j += blockDim.x) body(u, row, j);
    }
  }
}
