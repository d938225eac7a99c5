/* Blocks and threads of a GPU on a CPU, for the drivers of kernels/gpu.
 *
 * Policy. Each thread is a fiber that runs until it waits: at a barrier of its block, or
 * for another block. Waiting fibers are taken up again in a fixed order, an order reversed, or one
 * shuffled by a seed: a missing barrier shows as different results. Blocks run one after another,
 * or all at once where the launch says so. Shared memory starts as NaN. A barrier that some threads
 * of a block never reach ends the program with a message. Copies into shared memory arrive at once
 * (order 1), when their thread waits for them (order 0), or now so, now so (a seed), and it must wait
 * for all.
 */
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <vector>

#define __CUDACC_RTC__ 1
#define MJ_EMULATION 1
#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct mj_extent { unsigned x, y, z; };
struct mj_copy { float *to; const float *from; int floats; }; /* from null: +0 */
struct mj_fiber {
  mj_extent thread, block;
  float *shared;
  std::vector<std::vector<mj_copy>> copies; /* that are still to arrive, by their groups; the last is open */
};
extern mj_fiber *mj_now;             /* the fiber that runs */
extern mj_extent mj_grid, mj_block;  /* of the launch */
void mj_barrier();
void mj_wait();

#define threadIdx (mj_now->thread)
#define blockIdx (mj_now->block)
#define gridDim mj_grid
#define blockDim mj_block
#define mj_shared (mj_now->shared)
#define __syncthreads() mj_barrier()
#define __threadfence() ((void)0)

struct alignas(16) float4 { float x, y, z, w; };
static inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline float __fsqrt_rn(float x) { return __builtin_sqrtf(x); }
static inline int __float_as_int(float x) { int b; memcpy(&b, &x, 4); return b; }
static inline float __int_as_float(int b) { float x; memcpy(&x, &b, 4); return x; }
static inline double __dsqrt_rn(double x) { return __builtin_sqrt(x); }
static inline long long __double_as_longlong(double x) { long long b; memcpy(&b, &x, 8); return b; }
static inline double __longlong_as_double(long long b) { double x; memcpy(&x, &b, 8); return x; }
static inline float __int2float_rn(int i) { return (float)i; }
static inline float __ldcg(const float *p) { return *p; }
static inline float4 __ldcg(const float4 *p) {
  if ((uintptr_t)p % 16 != 0) __builtin_trap();
  float4 v;
  memcpy(&v, p, sizeof v);
  return v;
}
static inline float4 mj_load_four(const float *from) { return __ldcg((const float4 *)from); }
static inline void mj_store_four(float *to, float4 v) {
  if ((uintptr_t)to % 16 != 0) __builtin_trap();
  memcpy(to, &v, sizeof v);
}
static inline void mj_prefetch(const float *) {}
static inline void mj_arrive(unsigned *arrived) { ++*arrived; }
static inline unsigned mj_arrived(const unsigned *arrived) { return *arrived; }
static inline unsigned atomicAdd(unsigned *at, unsigned value) { const unsigned old = *at; *at += value; return old; }
static inline unsigned long long mj_kept_in_register(unsigned long long x) { return x; }

void mj_copy_later(float *to, const float *from, int floats);
void mj_copies_close();
void mj_copies_arrive(size_t left);
typedef float *mj_spot;
static inline mj_spot mj_spot_of(float *to) { return to; }
static inline void mj_copy_one(mj_spot to, const float *from, bool there) { mj_copy_later(to, there ? from : nullptr, 1); }
static inline void mj_copy_one(mj_spot to, const float *from) { mj_copy_later(to, from, 1); }
static inline void mj_copy_four(mj_spot to, const float *from) {
  if ((uintptr_t)to % 16 != 0 || (uintptr_t)from % 16 != 0) __builtin_trap();
  mj_copy_later(to, from, 4);
}
template <int LEFT> static inline void mj_copies_wait() { mj_copies_arrive(LEFT); }
