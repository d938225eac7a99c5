/* Random numbers of the array library, by key: words, uniform and normal numbers, integers, coins.
 *
 * Policy. A key is 128 bits: the key of Philox and the high half of its counter, whose low half counts
 * the blocks. Number i of an array is a function of the key and of i alone, so neither its shape nor
 * its place enters. Children of a key are blocks of another Philox key, so they are none of its
 * numbers; of one parent all differ, for Philox maps counters one to one.
 */
#pragma once
#include "mj_random.h"
#include "standard_order.h"
#include "standard_trig.h"

/* 128 random bits, two words of 64. */
struct mj_wide_block { mj_u64 v[2]; };
MJ_BODY mj_wide_block mj_random_block(mj_u64 key, mj_u64 stream, mj_u64 index) {
  const mj_philox_block block = mj_philox(key, index, stream);
  return {{(mj_u64)block.v[1] << 32 | block.v[0], (mj_u64)block.v[3] << 32 | block.v[2]}};
}
/* Child number `index`; the constant is the fraction of the square root of 2. */
MJ_BODY mj_wide_block mj_child_key(mj_u64 key, mj_u64 stream, mj_u64 index) {
  return mj_random_block(key ^ 0x6A09E667F3BCC908ULL, stream, index);
}

/* Random bits as a multiple of 2^-24, or 2^-53, in [0, 1): exact. */
MJ_BODY float mj_unit(mj_u32 bits) { return mj_convert((mj_i32)(bits >> 8)) * 5.9604645e-8f; }
MJ_BODY mj_f64 mj_unit(mj_u64 bits) { return (mj_f64)(mj_i64)(bits >> 11) * 1.1102230246251565e-16; }

/* A number of [0, 1) as one of [low, high); where rounding leads to high, the one before it. */
template <class T> MJ_BODY T mj_between(T unit, T low, T high) {
  const T x = low + unit * (high - low);
  return x < high ? x : mj_nextafter(high, low);
}

/* Two standard normal numbers of a block, by Box and Muller (1958): one word gives the radius
 * sqrt(-2 log u), u a multiple of 2^-53 in (0, 1], the other the angle in steps of pi / 2^52. */
struct mj_wide_normals { mj_f64 v[2]; };
MJ_BODY mj_wide_normals mj_normal(mj_wide_block block) {
  const mj_f64 u = (mj_f64)(mj_i64)((block.v[0] >> 11) + 1) * 1.1102230246251565e-16; /* exact */
  const mj_f64 radius = mj_sqrt(-2.0 * mj_log(u)), angle = 6.283185307179586 * mj_unit(block.v[1]);
  return {{radius * mj_cos(angle), radius * mj_sin(angle)}};
}

/* The upper 64 bits of a product. */
MJ_BODY mj_u64 mj_upper_product(mj_u64 a, mj_u64 b) {
  const mj_u64 a_low = a & 0xFFFFFFFFu, a_high = a >> 32, b_low = b & 0xFFFFFFFFu, b_high = b >> 32;
  const mj_u64 one = a_low * b_high, other = a_high * b_low;
  const mj_u64 middle = (a_low * b_low >> 32) + (one & 0xFFFFFFFFu) + (other & 0xFFFFFFFFu);
  return a_high * b_high + (one >> 32) + (other >> 32) + (middle >> 32);
}
/* An integer of 0..span - 1, span 0 being 2^64: the block's 128 bits times the span, over 2^128. No
 * integer is likelier than another by more than 2^-64 of its probability. */
MJ_BODY mj_u64 mj_below(mj_wide_block block, mj_u64 span) {
  if (span == 0) return block.v[1];
  const mj_u64 carried = mj_upper_product(block.v[0], span), rest = block.v[1] * span;
  return mj_upper_product(block.v[1], span) + (rest + carried < rest ? 1 : 0);
}

/* A coin that shows heads for `heads` of 2^53 values. */
MJ_BODY bool mj_coin(mj_u64 bits, mj_u64 heads) { return bits >> 11 < heads; }
