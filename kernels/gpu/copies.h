/* Copies from global to shared memory that run beside the arithmetic.
 *
 * Policy. A thread starts copies, closes them as a group, and waits until all but its last LEFT
 * groups have arrived; other threads see them after the next barrier. They pass by the first-level
 * cache where that is not told of other multiprocessors' writes (mj_copy_four). Before sm_80 a copy
 * is a load and a store, and nothing is left to wait for. The emulation lets copies arrive at once,
 * or only where a thread waits for them.
 */
#pragma once
#include "driver.h"

#ifndef MJ_EMULATION
#if __CUDA_ARCH__ >= 800

/* Where a copy goes: the address of a number in shared memory, found out once by mj_spot_of. */
struct mj_spot { mj_u32 at; };
MJ_DEVICE mj_spot mj_spot_of(const float *to) { return {(mj_u32)__cvta_generic_to_shared(to)}; }
MJ_DEVICE mj_spot operator+(mj_spot spot, int floats) { return {spot.at + 4 * floats}; }

/* One number; +0, and nothing is read, where it is not there. */
MJ_DEVICE void mj_copy_one(mj_spot to, const float *from, bool there) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to.at), "l"(from), "r"(there ? 4 : 0) : "memory");
}
MJ_DEVICE void mj_copy_one(mj_spot to, const float *from) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to.at), "l"(from) : "memory");
}
/* Four numbers, both addresses whole multiples of 16 bytes; also of memory that other blocks write. */
MJ_DEVICE void mj_copy_four(mj_spot to, const float *from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to.at), "l"(from) : "memory");
}
MJ_DEVICE void mj_copies_close() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int LEFT> MJ_DEVICE void mj_copies_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory"); }

#else

typedef float *mj_spot;
MJ_DEVICE mj_spot mj_spot_of(float *to) { return to; }
MJ_DEVICE void mj_copy_one(mj_spot to, const float *from, bool there) { *to = there ? *from : 0.0f; }
MJ_DEVICE void mj_copy_one(mj_spot to, const float *from) { *to = *from; }
MJ_DEVICE void mj_copy_four(mj_spot to, const float *from) { *(float4 *)to = __ldcg((const float4 *)from); }
MJ_DEVICE void mj_copies_close() {}
template <int LEFT> MJ_DEVICE void mj_copies_wait() {}

#endif
#endif
