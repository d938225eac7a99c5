/* float64, and pairs of float64 that stand for a number of some 106 bits.
 *
 * Policy. The only place where float64 is named. The elementary functions of the array library
 * are calculated as pairs and rounded once, so no float64 body needs a fused multiply-add: the
 * error of a sum is Knuth's, that of a product Dekker's (by splitting). A pair (hi, lo) is
 * normalised: hi is hi + lo rounded.
 */
#pragma once
#include "mj_base.h"

typedef double mj_f64;
typedef long long mj_i64;

#if MJ_GPU
#define MJ_TABLE static __device__ const
MJ_BODY mj_f64 mj_sqrt(mj_f64 x) { return __dsqrt_rn(x); }
MJ_BODY mj_i64 mj_bits(mj_f64 x) { return __double_as_longlong(x); }
MJ_BODY mj_f64 mj_float(mj_i64 b) { return __longlong_as_double(b); }
#else
#define MJ_TABLE static const
MJ_BODY mj_f64 mj_sqrt(mj_f64 x) { return __builtin_sqrt(x); }
MJ_BODY mj_i64 mj_bits(mj_f64 x) { mj_i64 b; memcpy(&b, &x, 8); return b; }
MJ_BODY mj_f64 mj_float(mj_i64 b) { mj_f64 x; memcpy(&x, &b, 8); return x; }
#endif

#define MJ_INFINITY64 (mj_float(0x7FF0000000000000LL))
#define MJ_NAN64 (mj_float(0x7FF8000000000000LL))

MJ_BODY mj_f64 mj_magnitude(mj_f64 x) { return mj_float(mj_bits(x) & 0x7FFFFFFFFFFFFFFFLL); }
MJ_BODY mj_f64 mj_with_sign(mj_f64 magnitude, mj_f64 sign) {
  return mj_float((mj_bits(magnitude) & 0x7FFFFFFFFFFFFFFFLL) | (mj_bits(sign) & ~0x7FFFFFFFFFFFFFFFLL));
}
MJ_BODY bool mj_negative(mj_f64 x) { return mj_bits(x) < 0; }

/* x * 2^n for |n| <= 2040, rounded once (a denormal result too). */
MJ_BODY mj_f64 mj_times_power(mj_f64 x, int n) {
  const int half = n >> 1;
  return x * mj_float((mj_i64)(half + 1023) << 52) * mj_float((mj_i64)(n - half + 1023) << 52);
}
/* The exponent e of a positive, finite, normal x: 2^e <= x < 2^(e+1). */
MJ_BODY int mj_exponent(mj_f64 x) { return (int)(mj_bits(x) >> 52 & 0x7FF) - 1023; }

struct mj_pair { mj_f64 hi, lo; };

/* Exact sum and product of two numbers; mj_quick needs |a| >= |b| or a = 0. */
MJ_BODY mj_pair mj_quick(mj_f64 a, mj_f64 b) {
  const mj_f64 s = a + b;
  return {s, b - (s - a)};
}
MJ_BODY mj_pair mj_exact_sum(mj_f64 a, mj_f64 b) {
  const mj_f64 s = a + b, t = s - a;
  return {s, (a - (s - t)) + (b - t)};
}
MJ_BODY mj_pair mj_exact_product(mj_f64 a, mj_f64 b) {
  const mj_f64 p = a * b, x = a * 134217729.0, y = b * 134217729.0; /* 2^27 + 1 */
  const mj_f64 ah = x - (x - a), al = a - ah, bh = y - (y - b), bl = b - bh;
  return {p, ((ah * bh - p) + ah * bl + al * bh) + al * bl};
}

MJ_BODY mj_pair mj_plus(mj_pair a, mj_pair b) {
  const mj_pair s = mj_exact_sum(a.hi, b.hi), t = mj_exact_sum(a.lo, b.lo);
  const mj_pair u = mj_quick(s.hi, s.lo + t.hi);
  return mj_quick(u.hi, u.lo + t.lo);
}
MJ_BODY mj_pair mj_plus(mj_pair a, mj_f64 b) {
  const mj_pair s = mj_exact_sum(a.hi, b);
  return mj_quick(s.hi, s.lo + a.lo);
}
MJ_BODY mj_pair mj_minus(mj_pair a) { return {-a.hi, -a.lo}; }
MJ_BODY mj_pair mj_times(mj_pair a, mj_pair b) {
  const mj_pair p = mj_exact_product(a.hi, b.hi);
  return mj_quick(p.hi, p.lo + (a.hi * b.lo + a.lo * b.hi));
}
MJ_BODY mj_pair mj_times(mj_pair a, mj_f64 b) {
  const mj_pair p = mj_exact_product(a.hi, b);
  return mj_quick(p.hi, p.lo + a.lo * b);
}
MJ_BODY mj_pair mj_over(mj_pair a, mj_pair b) {
  const mj_f64 q = a.hi / b.hi;
  const mj_pair rest = mj_plus(a, mj_minus(mj_times(b, q)));
  return mj_quick(q, rest.hi / b.hi);
}
MJ_BODY mj_pair mj_root(mj_pair a) {
  if (a.hi <= 0.0) return {0.0, 0.0};
  const mj_f64 s = mj_sqrt(a.hi);
  const mj_pair rest = mj_plus(a, mj_minus(mj_exact_product(s, s)));
  return mj_quick(s, rest.hi / (s + s));
}
MJ_BODY mj_pair mj_pair_of(mj_f64 x) { return {x, 0.0}; }
MJ_BODY mj_pair mj_halved(mj_pair a) { return {a.hi * 0.5, a.lo * 0.5}; }
