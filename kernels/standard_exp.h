/* Exponentials, logarithms and powers of the array library, in float64.
 *
 * Policy. Everything follows from two functions of pairs: mj_log_near, the logarithm of 1 + f, and
 * mj_expm1_near, exp(r) - 1. Their relative errors are below 2^-63 and 2^-58, so each function
 * here is right to 0.6 ulp (denormal results to 1.1; logaddexp, where it cancels, to 0.5 ulp and
 * 2^-57); float32 results are the float64 ones rounded. Powers of two and ten and other exact results come out exact.
 */
#pragma once
#include "mj_double.h"

#define MJ_LN2 {0.6931471805599453, 2.3190468138462996e-17}

/* log(1 + f) + k log(2), f in about [-0.3, 0.42]: atanh(s) = s (1 + s^2 (1/3 + s^2 (1/5 + ...))). */
MJ_BODY mj_pair mj_log_near(mj_pair f, int k) {
  const mj_pair s = mj_over(f, mj_plus(f, 2.0)), z = mj_times(s, s);
  mj_f64 p = 1.0 / 25;
  p = p * z.hi + 1.0 / 23;
  p = p * z.hi + 1.0 / 21;
  p = p * z.hi + 1.0 / 19;
  p = p * z.hi + 1.0 / 17;
  p = p * z.hi + 1.0 / 15;
  p = p * z.hi + 1.0 / 13;
  p = p * z.hi + 1.0 / 11;
  p = p * z.hi + 1.0 / 9;
  p = p * z.hi + 1.0 / 7;
  p = p * z.hi + 1.0 / 5;
  const mj_pair third = {0.3333333333333333, 1.850371707708594e-17};
  const mj_pair w = mj_times(z, mj_plus(third, p * z.hi));
  const mj_pair half = mj_plus(s, mj_times(s, w));
  const mj_pair twice = {half.hi + half.hi, half.lo + half.lo};
  /* the first part of log(2) has 21 low zero bits, so its product with k is exact */
  return mj_plus(mj_quick(0.6931471803691238 * k, 1.9082149292705877e-10 * k), twice);
}

/* The power of two to be taken off x, so that the rest lies in [sqrt(1/2), sqrt(2)). */
MJ_BODY int mj_log_exponent(mj_f64 x) { return (int)((mj_bits(x) - 0x3FE6A09E667F3BCDLL) >> 52); }

/* log of a positive, finite number. */
MJ_BODY mj_pair mj_log_pair(mj_f64 x) {
  int k = 0;
  if (x < 2.2250738585072014e-308) {
    x *= 18014398509481984.0; /* 2^54 */
    k = -54;
  }
  const int e = mj_log_exponent(x);
  return mj_log_near(mj_pair_of(mj_times_power(x, -e) - 1.0), k + e);
}

/* log(1 + f) for f > -1. */
MJ_BODY mj_pair mj_log1p_pair(mj_pair f) {
  const mj_pair u = mj_plus(f, 1.0);
  const int e = mj_log_exponent(u.hi);
  if (e == 0) return mj_log_near(f, 0);
  return mj_log_near(mj_plus({mj_times_power(u.hi, -e), mj_times_power(u.lo, -e)}, -1.0), e);
}

/* exp(r) - 1 for |r| <= 0.36. */
MJ_BODY mj_pair mj_expm1_near(mj_pair r) {
  const mj_f64 x = r.hi;
  mj_f64 p = 7.647163731819816e-13;
  p = p * x + 1.1470745597729725e-11;
  p = p * x + 1.6059043836821613e-10;
  p = p * x + 2.08767569878681e-09;
  p = p * x + 2.505210838544172e-08;
  p = p * x + 2.755731922398589e-07;
  p = p * x + 2.7557319223985893e-06;
  p = p * x + 2.48015873015873e-05;
  p = p * x + 0.0001984126984126984;
  p = p * x + 0.001388888888888889;
  p = p * x + 0.008333333333333333;
  p = p * x + 0.041666666666666664;
  p = p * x + 0.16666666666666666;
  return mj_plus(mj_plus(r, mj_halved(mj_times(r, r))), x * x * x * p);
}

/* exp(x) = (1 + m) 2^k, |x| <= 1500. */
struct mj_exp_split { mj_pair m; int k; };
MJ_BODY mj_exp_split mj_exp_pair(mj_pair x) {
  const mj_f64 shifter = 6755399441055744.0; /* 1.5 * 2^52: adding it rounds to an integer */
  const mj_f64 k = (x.hi * 1.4426950408889634 + shifter) - shifter;
  const mj_pair low = mj_exact_product(k, -1.9082149292705877e-10);
  const mj_pair r = mj_plus(mj_plus(low, x.hi - k * 0.6931471803691238), x.lo);
  return {mj_expm1_near(r), (int)k};
}
MJ_BODY mj_f64 mj_exp_round(mj_pair x) {
  const mj_exp_split e = mj_exp_pair(x);
  return mj_times_power(mj_plus(e.m, 1.0).hi, e.k);
}
/* exp(x) - 1 for |x| <= 700. */
MJ_BODY mj_pair mj_expm1_pair(mj_f64 x) {
  const mj_exp_split e = mj_exp_pair(mj_pair_of(x));
  if (e.k == 0) return e.m;
  const mj_pair y = mj_plus(e.m, 1.0);
  return mj_plus({mj_times_power(y.hi, e.k), mj_times_power(y.lo, e.k)}, -1.0);
}

MJ_BODY mj_f64 mj_exp(mj_f64 x) {
  if (x != x) return x;
  return mj_exp_round(mj_pair_of(x > 800.0 ? 800.0 : x < -800.0 ? -800.0 : x));
}
MJ_BODY mj_f64 mj_expm1(mj_f64 x) {
  if (x != x || mj_magnitude(x) < 5.5e-17) return x;
  if (x > 600.0) return mj_exp(x);
  return mj_expm1_pair(x < -100.0 ? -100.0 : x).hi;
}

/* What every logarithm says of arguments that have no finite one; any other x gives 1. */
MJ_BODY mj_f64 mj_log_special(mj_f64 x) {
  if (x == 0.0) return -MJ_INFINITY64;
  if (x < 0.0) return MJ_NAN64;
  return x != x || x == MJ_INFINITY64 ? x : 1.0;
}
MJ_BODY bool mj_log_ordinary(mj_f64 x) { return x > 0.0 && x < MJ_INFINITY64; }

MJ_BODY mj_f64 mj_log(mj_f64 x) { return mj_log_ordinary(x) ? mj_log_pair(x).hi : mj_log_special(x); }
MJ_BODY mj_f64 mj_log1p(mj_f64 x) {
  if (mj_magnitude(x) < 5.5e-17) return x;
  if (!mj_log_ordinary(1.0 + x)) return mj_log_special(1.0 + x);
  return x > 1e30 ? mj_log_pair(x).hi : mj_log1p_pair(mj_pair_of(x)).hi;
}
MJ_BODY mj_f64 mj_log2(mj_f64 x) {
  if (!mj_log_ordinary(x)) return mj_log_special(x);
  int k = 0;
  if (x < 2.2250738585072014e-308) {
    x *= 18014398509481984.0;
    k = -54;
  }
  const int e = mj_log_exponent(x);
  const mj_pair y = mj_log_near(mj_pair_of(mj_times_power(x, -e) - 1.0), 0);
  return mj_plus(mj_times(y, mj_pair{1.4426950408889634, 2.0355273740931033e-17}), (mj_f64)(k + e)).hi;
}
MJ_BODY mj_f64 mj_log10(mj_f64 x) {
  if (!mj_log_ordinary(x)) return mj_log_special(x);
  return mj_times(mj_log_pair(x), mj_pair{0.4342944819032518, 1.098319650216765e-17}).hi;
}
/* log(exp a + exp b) = max + log(1 + exp(-|a - b|)). */
MJ_BODY mj_f64 mj_logaddexp(mj_f64 a, mj_f64 b) {
  if (a != a || b != b) return a + b;
  const mj_f64 high = a > b ? a : b, low = a > b ? b : a;
  if (high == low) return high + 0.6931471805599453;
  if (low == -MJ_INFINITY64 || high == MJ_INFINITY64 || high - low > 740.0) return high;
  const mj_exp_split e = mj_exp_pair(mj_exact_sum(low, -high));
  const mj_pair y = mj_plus(e.m, 1.0);
  return mj_plus(mj_log1p_pair({mj_times_power(y.hi, e.k), mj_times_power(y.lo, e.k)}), high).hi;
}

/* 0: y is no integer, 1: odd, 2: even. */
MJ_BODY int mj_parity(mj_f64 y) {
  const mj_f64 m = mj_magnitude(y);
  if (m >= 9007199254740992.0) return 2; /* 2^53 */
  const mj_i64 n = (mj_i64)m;
  return (mj_f64)n != m ? 0 : n & 1 ? 1 : 2;
}
MJ_BODY mj_f64 mj_power(mj_f64 x, mj_f64 y) {
  if (y == 0.0 || x == 1.0) return 1.0;
  if (x != x || y != y) return x + y;
  const mj_f64 m = mj_magnitude(x);
  if (mj_magnitude(y) == MJ_INFINITY64) return m == 1.0 ? 1.0 : (m > 1.0) == (y > 0.0) ? MJ_INFINITY64 : 0.0;
  const int parity = mj_parity(y);
  const mj_f64 sign = mj_negative(x) && parity == 1 ? -1.0 : 1.0;
  if (m == 0.0 || m == MJ_INFINITY64) return sign * ((m == 0.0) == (y > 0.0) ? 0.0 : MJ_INFINITY64);
  if (x < 0.0 && parity == 0) return MJ_NAN64;
  const mj_pair log = mj_log_pair(m);
  const mj_f64 about = log.hi * y;
  if (about > 720.0) return sign * MJ_INFINITY64;
  if (about < -760.0) return sign * 0.0;
  if (mj_magnitude(about) < 1e-20) return sign;
  /* a large y times a tiny logarithm: scale, so that splitting does not overflow */
  const mj_f64 down = mj_magnitude(y) > 1e200 ? 1.1754943508222875e-38 : 1.0; /* 2^-126 */
  const mj_f64 up = down == 1.0 ? 1.0 : 8.507059173023462e+37;
  return sign * mj_exp_round(mj_times(mj_pair{log.hi * up, log.lo * up}, y * down));
}
