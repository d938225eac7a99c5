/* Counter-based random numbers: Philox 4x32-10 (Salmon et al., SC 2011).
 *
 * Policy. A number is a pure function of (key, counter); the key holds the recipe's seed and the
 * stream, the counter says which number. No state, no rank.
 */
#pragma once
#include "mj_math.h"

struct mj_philox_block { mj_u32 v[4]; };

MJ_BODY mj_philox_block mj_philox(mj_u64 key, mj_u64 counter_low, mj_u64 counter_high) {
  mj_u32 k0 = (mj_u32)key, k1 = (mj_u32)(key >> 32);
  mj_u32 c0 = (mj_u32)counter_low, c1 = (mj_u32)(counter_low >> 32);
  mj_u32 c2 = (mj_u32)counter_high, c3 = (mj_u32)(counter_high >> 32);
  for (int round = 0; round < 10; round++) {
    const mj_u64 p0 = (mj_u64)0xD2511F53u * c0, p1 = (mj_u64)0xCD9E8D57u * c2;
    c0 = (mj_u32)(p1 >> 32) ^ c1 ^ k0;
    c2 = (mj_u32)(p0 >> 32) ^ c3 ^ k1;
    c1 = (mj_u32)p1;
    c3 = (mj_u32)p0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

/* 32 random bits to a multiple of 2^-23 in [-1, 1): exact. */
MJ_BODY float mj_uniform_signed(mj_u32 bits) {
  return mj_fma(mj_convert((mj_i32)(bits >> 8)), 1.1920929e-7f, -1.0f);
}

/* Four standard normal numbers of a block, by Box and Muller (1958): of two words, one gives the
 * radius sqrt(-2 log u), u a multiple of 2^-24 in (0, 1], and one the angle in steps of pi / 2^23. */
struct mj_normals { float v[4]; };
MJ_BODY mj_normals mj_normal(mj_philox_block block) {
  mj_normals out;
  for (int w = 0; w < 4; w += 2) {
    const float u = mj_convert((mj_i32)(block.v[w] >> 8) + 1) * 5.9604645e-8f; /* exact */
    const float radius = mj_sqrt(-2.0f * mj_log(u));
    const mj_i32 angle = (mj_i32)(block.v[w + 1] >> 8);
    out.v[w] = radius * mj_cospi(angle, 1 << 23);
    out.v[w + 1] = radius * mj_sinpi(angle, 1 << 23);
  }
  return out;
}
