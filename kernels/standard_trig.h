/* Circular and hyperbolic functions of the array library, in float64, with hypot.
 *
 * Policy. An angle is reduced in integers: x is m * 2^e, and m times a window of the bits of 2/pi
 * gives quadrant and fraction for any finite x (Payne and Hanek 1983). Inverse functions are all
 * mj_angle of two legs. Calculated as pairs; each function here is right to 0.6 ulp (results that
 * are denormal to 1.1); float32 results are the float64 ones rounded.
 */
#pragma once
#include "standard_exp.h"

/* 64 zero bits, then the bits of 2/pi behind the point. */
MJ_TABLE mj_u32 mj_two_over_pi[42] = {
    0x0u, 0x0u, 0xA2F9836Eu, 0x4E441529u, 0xFC2757D1u, 0xF534DDC0u, 0xDB629599u,
    0x3C439041u, 0xFE5163ABu, 0xDEBBC561u, 0xB7246E3Au, 0x424DD2E0u, 0x06492EEAu, 0x09D1921Cu,
    0xFE1DEB1Cu, 0xB129A73Eu, 0xE88235F5u, 0x2EBB4484u, 0xE99C7026u, 0xB45F7E41u, 0x3991D639u,
    0x835339F4u, 0x9C845F8Bu, 0xBDF9283Bu, 0x1FF897FFu, 0xDE05980Fu, 0xEF2F118Bu, 0x5A0A6D1Fu,
    0x6D367ECFu, 0x27CB09B7u, 0x4F463F66u, 0x9E5FEA2Du, 0x7527BAC7u, 0xEBE5F17Bu, 0x3D0739F7u,
    0x8A5292EAu, 0x6BFB5FB1u, 0x1F8D5D08u, 0x56033046u, 0xFC7B6BABu, 0xF0CFBC20u, 0x9AF4361Du,
};

/* |x| = quadrant * pi/2 + r with |r| <= pi/4; the quadrant modulo 4. */
struct mj_reduced { mj_pair r; int quadrant; };
MJ_BODY mj_reduced mj_reduce(mj_f64 x) {
  const mj_f64 magnitude = mj_magnitude(x);
  if (magnitude <= 0.7853981633974483) return {mj_pair_of(magnitude), 0};
  const mj_u64 m = ((mj_u64)mj_bits(magnitude) & 0xFFFFFFFFFFFFFULL) | 0x10000000000000ULL;
  const int start = mj_exponent(magnitude) + 10, word = start / 32, shift = start % 32;
  const mj_u64 m_low = m & 0xFFFFFFFFu, m_high = m >> 32;
  /* product[0..7]: m times 8 words of the window, modulo 2^256; the first word is the highest */
  mj_u32 product[8];
  mj_u64 carry = 0, before = 0;
  for (int i = 7; i >= 0; i--) {
    const mj_u64 both = (mj_u64)mj_two_over_pi[word + i] << 32 | (word + i + 1 < 42 ? mj_two_over_pi[word + i + 1] : 0u);
    const mj_u64 bits = both << shift >> 32;
    const mj_u64 low = bits * m_low, high = before * m_high;
    const mj_u64 sum = carry + (low & 0xFFFFFFFFu) + (high & 0xFFFFFFFFu);
    product[i] = (mj_u32)sum;
    carry = (sum >> 32) + (low >> 32) + (high >> 32);
    before = bits;
  }
  int quadrant = (int)(product[0] >> 30);
  mj_u32 flip = 0;
  if (product[0] & 0x20000000u) { /* the fraction is 1/2 or more: one quadrant on, and below 0 */
    quadrant++;
    flip = 0xFFFFFFFFu;
  }
  mj_pair fraction = {0.0, 0.0};
  mj_f64 unit = 2.3283064365386963e-10; /* 2^-32 */
  for (int i = 0; i < 7; i++) {
    const mj_u32 part = (product[i] << 2 | product[i + 1] >> 30) ^ flip;
    const mj_pair s = mj_exact_sum(fraction.hi, (mj_f64)part * unit);
    fraction = mj_quick(s.hi, s.lo + fraction.lo);
    unit *= 2.3283064365386963e-10;
  }
  const mj_pair r = mj_times(fraction, mj_pair{1.5707963267948966, 6.123233995736766e-17});
  return {flip ? mj_minus(r) : r, quadrant & 3};
}

/* sin and cos of |r| <= pi/4 (coefficients of fdlibm's kernels, the leading terms as pairs). */
MJ_BODY mj_pair mj_sin_near(mj_pair r) {
  const mj_f64 z = r.hi * r.hi;
  mj_f64 p = 1.58969099521155010221e-10;
  p = p * z - 2.50507602534068634195e-08;
  p = p * z + 2.75573137070700676789e-06;
  p = p * z - 1.98412698298579493134e-04;
  p = p * z + 8.33333333332248946124e-03;
  p = p * z - 1.66666666666666324348e-01;
  return mj_plus(r, r.hi * z * p - 0.5 * z * r.lo);
}
MJ_BODY mj_pair mj_cos_near(mj_pair r) {
  const mj_pair square = mj_times(r, r);
  const mj_f64 z = square.hi;
  mj_f64 p = -1.13596475577881948265e-11;
  p = p * z + 2.08757232129817482790e-09;
  p = p * z - 2.75573143513906633035e-07;
  p = p * z + 2.48015872894767294178e-05;
  p = p * z - 1.38888888888741095749e-03;
  p = p * z + 4.16666666666666019037e-02;
  return mj_plus(mj_plus(mj_minus(mj_halved(square)), 1.0), z * z * p);
}
MJ_BODY mj_f64 mj_sin(mj_f64 x) {
  if (!(mj_magnitude(x) < MJ_INFINITY64)) return MJ_NAN64;
  if (mj_magnitude(x) < 1e-9) return x;
  const mj_reduced a = mj_reduce(x);
  const mj_f64 y = a.quadrant & 1 ? mj_cos_near(a.r).hi : mj_sin_near(a.r).hi;
  return (a.quadrant >= 2) != mj_negative(x) ? -y : y;
}
MJ_BODY mj_f64 mj_cos(mj_f64 x) {
  if (!(mj_magnitude(x) < MJ_INFINITY64)) return MJ_NAN64;
  const mj_reduced a = mj_reduce(x);
  const mj_f64 y = a.quadrant & 1 ? mj_sin_near(a.r).hi : mj_cos_near(a.r).hi;
  return a.quadrant == 1 || a.quadrant == 2 ? -y : y;
}
MJ_BODY mj_f64 mj_tan(mj_f64 x) {
  if (!(mj_magnitude(x) < MJ_INFINITY64)) return MJ_NAN64;
  if (mj_magnitude(x) < 1e-9) return x;
  const mj_reduced a = mj_reduce(x);
  const mj_pair s = mj_sin_near(a.r), c = mj_cos_near(a.r);
  const mj_f64 y = a.quadrant & 1 ? mj_over(mj_minus(c), s).hi : mj_over(s, c).hi;
  return mj_negative(x) ? -y : y;
}

/* atan(k / 8). */
MJ_TABLE mj_pair mj_atan_eighths[9] = {
    {0.0, 0.0},
    {0.12435499454676144, -3.1253241424539383e-18},
    {0.24497866312686414, 1.0698755618734451e-17},
    {0.35877067027057225, -2.4623815582638635e-17},
    {0.4636476090008061, 2.2698777452961687e-17},
    {0.5585993153435624, -5.4556305485916264e-18},
    {0.6435011087932844, 1.5834785051444286e-17},
    {0.7188299996216245, -2.1478388444456983e-17},
    {0.7853981633974483, 3.061616997868383e-17},
};
#define MJ_PI (mj_pair{3.141592653589793, 1.2246467991473532e-16})
#define MJ_HALF_PI (mj_pair{1.5707963267948966, 6.123233995736766e-17})

/* The angle in [0, pi/2] whose tangent is a / b; neither is negative, the larger one near 1. */
MJ_BODY mj_pair mj_angle(mj_pair a, mj_pair b) {
  const bool steep = a.hi > b.hi;
  const mj_pair low = steep ? b : a, high = steep ? a : b;
  const int k = (int)(low.hi / high.hi * 8.0 + 0.5);
  const mj_f64 c = 0.125 * k;
  const mj_pair t = mj_over(mj_plus(low, mj_minus(mj_times(high, c))), mj_plus(high, mj_times(low, c)));
  const mj_f64 z = t.hi * t.hi;
  mj_f64 p = -1.0 / 15;
  p = p * z + 1.0 / 13;
  p = p * z - 1.0 / 11;
  p = p * z + 1.0 / 9;
  p = p * z - 1.0 / 7;
  p = p * z + 1.0 / 5;
  p = p * z - 1.0 / 3;
  const mj_pair angle = mj_plus(mj_atan_eighths[k], mj_plus(t, t.hi * z * p));
  return steep ? mj_plus(MJ_HALF_PI, mj_minus(angle)) : angle;
}
MJ_BODY mj_f64 mj_atan2(mj_f64 y, mj_f64 x) {
  if (x != x || y != y) return x + y;
  mj_f64 a = mj_magnitude(y), b = mj_magnitude(x);
  if (a == MJ_INFINITY64 && b == MJ_INFINITY64) a = b = 1.0;
  const bool back = mj_negative(x);
  if (a == 0.0 || b == MJ_INFINITY64) return mj_with_sign(back ? MJ_PI.hi : 0.0, y);
  if (b == 0.0 || a == MJ_INFINITY64) return mj_with_sign(MJ_HALF_PI.hi, y);
  const mj_f64 large = a > b ? a : b, ratio = (a > b ? b : a) / large;
  if (ratio < 1e-21) return mj_with_sign(a > b ? MJ_HALF_PI.hi : back ? MJ_PI.hi : ratio, y);
  /* |exponent| is at most 1023, and of a denormal -1023: near enough to 1 after scaling twice */
  const int e = mj_exponent(large);
  mj_f64 up = mj_times_power(large, -e), low = mj_times_power(a > b ? b : a, -e);
  if (e == -1023) {
    const int again = mj_exponent(up);
    up = mj_times_power(up, -again);
    low = mj_times_power(low, -again);
  }
  const mj_pair angle = mj_angle(mj_pair_of(a > b ? up : low), mj_pair_of(a > b ? low : up));
  return mj_with_sign((back ? mj_plus(MJ_PI, mj_minus(angle)) : angle).hi, y);
}
MJ_BODY mj_f64 mj_atan(mj_f64 x) { return mj_magnitude(x) < 1e-9 ? x : mj_atan2(x, 1.0); }

/* sqrt((1 - x)(1 + x)): the other leg. */
MJ_BODY mj_pair mj_leg(mj_f64 x) { return mj_root(mj_times(mj_exact_sum(1.0, -x), mj_exact_sum(1.0, x))); }
MJ_BODY mj_f64 mj_asin(mj_f64 x) {
  const mj_f64 m = mj_magnitude(x);
  if (!(m <= 1.0)) return MJ_NAN64;
  return m < 1e-9 ? x : mj_with_sign(mj_angle(mj_pair_of(m), mj_leg(m)).hi, x);
}
MJ_BODY mj_f64 mj_acos(mj_f64 x) {
  const mj_f64 m = mj_magnitude(x);
  if (!(m <= 1.0)) return MJ_NAN64;
  const mj_pair angle = mj_angle(mj_leg(m), mj_pair_of(m));
  return (x < 0.0 ? mj_plus(MJ_PI, mj_minus(angle)) : angle).hi;
}

MJ_BODY mj_f64 mj_sinh(mj_f64 x) {
  const mj_f64 m = mj_magnitude(x);
  if (!(m < MJ_INFINITY64) || m < 1e-9) return x;
  if (m > 40.0) {
    const mj_exp_split e = mj_exp_pair(mj_pair_of(m > 800.0 ? 800.0 : m));
    return mj_with_sign(mj_times_power(mj_plus(e.m, 1.0).hi, e.k - 1), x);
  }
  const mj_pair e = mj_expm1_pair(m);
  return mj_with_sign(mj_halved(mj_plus(e, mj_over(e, mj_plus(e, 1.0)))).hi, x);
}
MJ_BODY mj_f64 mj_cosh(mj_f64 x) {
  const mj_f64 m = mj_magnitude(x);
  if (!(m < MJ_INFINITY64)) return m;
  const mj_exp_split e = mj_exp_pair(mj_pair_of(m > 800.0 ? 800.0 : m));
  const mj_pair y = mj_plus(e.m, 1.0);
  if (m > 40.0) return mj_times_power(y.hi, e.k - 1);
  const mj_pair whole = {mj_times_power(y.hi, e.k), mj_times_power(y.lo, e.k)};
  return mj_halved(mj_plus(whole, mj_over(mj_pair_of(1.0), whole))).hi;
}
MJ_BODY mj_f64 mj_tanh(mj_f64 x) {
  const mj_f64 m = mj_magnitude(x);
  if (x != x || m < 1e-9) return x;
  if (m > 20.0) return mj_with_sign(1.0, x);
  const mj_pair e = mj_expm1_pair(m + m);
  return mj_with_sign(mj_over(e, mj_plus(e, 2.0)).hi, x);
}
MJ_BODY mj_f64 mj_asinh(mj_f64 x) {
  const mj_f64 m = mj_magnitude(x);
  if (!(m < MJ_INFINITY64) || m < 1e-9) return x;
  if (m > 1e10) return mj_with_sign(mj_plus(mj_log_pair(m), mj_pair MJ_LN2).hi, x);
  const mj_pair square = mj_exact_product(m, m);
  const mj_pair f = mj_plus(mj_over(square, mj_plus(mj_root(mj_plus(square, 1.0)), 1.0)), m);
  return mj_with_sign(mj_log1p_pair(f).hi, x);
}
MJ_BODY mj_f64 mj_acosh(mj_f64 x) {
  if (!(x >= 1.0)) return MJ_NAN64;
  if (x == MJ_INFINITY64) return x;
  if (x > 1e10) return mj_plus(mj_log_pair(x), mj_pair MJ_LN2).hi;
  const mj_pair t = mj_exact_sum(x, -1.0);
  return mj_log1p_pair(mj_plus(t, mj_root(mj_times(t, mj_plus(t, 2.0))))).hi;
}
MJ_BODY mj_f64 mj_atanh(mj_f64 x) {
  const mj_f64 m = mj_magnitude(x);
  if (!(m <= 1.0)) return MJ_NAN64;
  if (m == 1.0) return mj_with_sign(MJ_INFINITY64, x);
  if (m < 1e-9) return x;
  return mj_with_sign(mj_halved(mj_log1p_pair(mj_over(mj_pair_of(m + m), mj_exact_sum(1.0, -m)))).hi, x);
}

MJ_BODY mj_f64 mj_hypot(mj_f64 x, mj_f64 y) {
  mj_f64 a = mj_magnitude(x), b = mj_magnitude(y);
  if (a == MJ_INFINITY64 || b == MJ_INFINITY64) return MJ_INFINITY64;
  if (a != a || b != b) return a + b;
  if (a < b) {
    const mj_f64 t = a;
    a = b;
    b = t;
  }
  if (b < a * 1e-20) return a;
  const int scale = a > 1e150 ? -700 : a < 1e-150 ? 700 : 0;
  a = mj_times_power(a, scale);
  b = mj_times_power(b, scale);
  return mj_times_power(mj_root(mj_plus(mj_exact_product(a, a), mj_exact_product(b, b))).hi, -scale);
}
