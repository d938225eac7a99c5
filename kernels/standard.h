/* Arithmetic of the array library on float32 and float64: elementwise, conversions, sums.
 *
 * Policy. Templates on the number type T. Sums and products along an axis follow mj_sum.h; a product
 * of two float64 is rounded before it is added (no fused multiply-add), of two float32 it is
 * fused. A cumulative sum adds the running sum of its chunk to the total of the chunks before,
 * so that its last value has the bits of the sum.
 */
#pragma once
#include "mj_sum.h"
#include "standard_order.h"
#include "standard_trig.h"

template <class T> MJ_BODY T mj_narrow(mj_f64 x) { return (T)x; }

/* Nearest integers, exact for any x; the sign of zero is that of x. */
MJ_BODY mj_f64 mj_round(mj_f64 x) {
  const mj_f64 m = mj_magnitude(x);
  return m < 4503599627370496.0 ? mj_with_sign((m + 4503599627370496.0) - 4503599627370496.0, x) : x; /* 2^52 */
}
MJ_BODY mj_f64 mj_floor(mj_f64 x) {
  const mj_f64 r = mj_round(x);
  return r > x ? mj_with_sign(r - 1.0, x) : r;
}
MJ_BODY mj_f64 mj_ceil(mj_f64 x) {
  const mj_f64 r = mj_round(x);
  return r < x ? mj_with_sign(r + 1.0, x) : r;
}
MJ_BODY mj_f64 mj_trunc(mj_f64 x) { return mj_negative(x) ? mj_ceil(x) : mj_floor(x); }

template <class T> MJ_BODY T mj_square(T x) { return x * x; }
template <class T> MJ_BODY T mj_reciprocal(T x) { return T(1) / x; }
template <class T> MJ_BODY T mj_least(T a, T b) { T m = b < a ? b : a; return b != b ? b : m; }

/* A positive, finite number as m * 2^(e - 52), 2^52 <= m < 2^53. */
struct mj_parts { mj_i64 m; int e; };
MJ_BODY mj_parts mj_parts_of(mj_f64 x) {
  const bool tiny = x < 2.2250738585072014e-308;
  const mj_f64 normal = tiny ? x * 18014398509481984.0 : x; /* 2^54 */
  return {(mj_bits(normal) & 0xFFFFFFFFFFFFFLL) | 0x10000000000000LL, mj_exponent(normal) - (tiny ? 54 : 0)};
}
/* x modulo y with the sign of x, exact: long division in binary. y is neither 0 nor NaN. */
MJ_BODY mj_f64 mj_fraction_of(mj_f64 x, mj_f64 y) {
  const mj_f64 a = mj_magnitude(x), b = mj_magnitude(y);
  if (!(a < MJ_INFINITY64)) return MJ_NAN64;
  if (a < b) return x;
  mj_parts p = mj_parts_of(a);
  const mj_parts q = mj_parts_of(b);
  for (; p.e > q.e; p.e--) p.m = (p.m >= q.m ? p.m - q.m : p.m) << 1;
  if (p.m >= q.m) p.m -= q.m;
  return mj_with_sign(mj_times_power((mj_f64)p.m, q.e - 52), x);
}
/* Remainder with the sign of the divisor, as Python has it, and the floor of the quotient; of an infinite
 * operand the floor of x / y (Python pairs it with the remainder: NaN, or -1 where this is -0). */
template <class T> MJ_BODY T mj_remainder(T x, T y) {
  if (x != x || y != y || y == T(0)) return mj_narrow<T>(MJ_NAN64);
  const T r = mj_narrow<T>(mj_fraction_of(x, y));
  if (r == T(0)) return mj_narrow<T>(mj_with_sign(0.0, y));
  return (r < T(0)) != (y < T(0)) ? r + y : r;
}
template <class T> MJ_BODY T mj_floor_divide(T x, T y) {
  if (!mj_is_finite(x) || !mj_is_finite(y) || y == T(0)) return x / y;
  const T r = mj_narrow<T>(mj_fraction_of(x, y));
  T q = (x - r) / y;
  if (r != T(0) && (r < T(0)) != (y < T(0))) q = q - T(1);
  if (q == T(0)) return mj_narrow<T>(mj_with_sign(0.0, x / y));
  const T whole = mj_narrow<T>(mj_floor(q));
  return q - whole > T(0.5) ? whole + T(1) : whole;
}

/* Terms of sums; the accumulated product starts at 1. */
MJ_BODY float mj_product_term(float acc, float a, float b) { return mj_term_product(acc, a, b); }
MJ_BODY mj_f64 mj_product_term(mj_f64 acc, mj_f64 a, mj_f64 b) { return acc + a * b; }
template <class T> MJ_BODY T mj_factor_total(bool first_chunk, T total, T chunk) {
  return first_chunk ? chunk : total * chunk;
}
template <class T> MJ_BODY T mj_square_from(T x, T mean) { return (x - mean) * (x - mean); }

/* A number of 16 bits from a float64, rounded once to nearest even; E exponent bits. */
template <int E> MJ_BODY mj_u32 mj_to_16(mj_f64 x) {
  const int fraction = 15 - E, bias = (1 << (E - 1)) - 1;
  const mj_u32 sign = mj_negative(x) ? 0x8000u : 0u, infinity = ((1u << E) - 1) << fraction;
  const mj_f64 m = mj_magnitude(x);
  if (x != x) return sign | infinity | 1u << (fraction - 1);
  if (m == 0.0) return sign;
  int e = m < 2.2250738585072014e-308 ? -1023 : mj_exponent(m);
  if (e < 1 - bias) e = 1 - bias;
  if (e > bias) return sign | infinity;
  /* whole multiples of the last place; a carry goes on into the exponent */
  const mj_u32 steps = (mj_u32)mj_round(mj_times_power(m, fraction - e));
  return sign | (steps + ((mj_u32)(e + bias - 1) << fraction));
}
template <int E> MJ_BODY mj_f64 mj_from_16(mj_u32 b) {
  const int fraction = 15 - E, bias = (1 << (E - 1)) - 1, e = (int)(b >> fraction & ((1u << E) - 1));
  const mj_u32 part = b & ((1u << fraction) - 1);
  mj_f64 m = mj_times_power((mj_f64)(e ? part | 1u << fraction : part), (e ? e : 1) - bias - fraction);
  if (e == (1 << E) - 1) m = part ? MJ_NAN64 : MJ_INFINITY64;
  return b & 0x8000u ? -m : m;
}

/* A float64 as an integer: cut off towards 0, held at the ends of the range, NaN becomes 0. */
template <class I> MJ_BODY I mj_to_integer(mj_f64 x, I lowest, I highest) {
  if (x != x) return I(0);
  if (x <= (mj_f64)lowest) return lowest;
  return x >= (mj_f64)highest ? highest : (I)x;
}
