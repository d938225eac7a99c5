/* Signs, neighbours, comparisons, classes and sort keys of float32 and float64.
 *
 * Policy. Nothing here rounds. What can be said of the bits alone is: so a denormal, a zero's sign and
 * a NaN are seen as they are on any processor. Templates on the number type T.
 */
#pragma once
#include "mj_double.h"

/* The bits of T as an unsigned integer. */
template <class T> struct mj_layout;
template <> struct mj_layout<float> {
  typedef mj_u32 Bits;
  typedef mj_i32 Signed;
  static const Bits SIGN = 0x80000000u, INFINITE = 0x7F800000u, QUIET = 0x7FC00000u, ONE = 0x3F800000u;
};
template <> struct mj_layout<mj_f64> {
  typedef mj_u64 Bits;
  typedef mj_i64 Signed;
  static const Bits SIGN = 0x8000000000000000ULL, INFINITE = 0x7FF0000000000000ULL, QUIET = 0x7FF8000000000000ULL,
                    ONE = 0x3FF0000000000000ULL;
};
template <class T> using mj_bits_of = typename mj_layout<T>::Bits;

template <class T> MJ_BODY mj_bits_of<T> mj_word(T x) { return (mj_bits_of<T>)mj_bits(x); }
template <class T> MJ_BODY T mj_number(mj_bits_of<T> b) { return mj_float((typename mj_layout<T>::Signed)b); }
template <class T> MJ_BODY mj_bits_of<T> mj_word_magnitude(T x) { return mj_word(x) & ~mj_layout<T>::SIGN; }

template <class T> MJ_BODY bool mj_is_nan(T x) { return mj_word_magnitude(x) > mj_layout<T>::INFINITE; }
template <class T> MJ_BODY bool mj_is_infinite(T x) { return mj_word_magnitude(x) == mj_layout<T>::INFINITE; }
template <class T> MJ_BODY bool mj_is_finite(T x) { return mj_word_magnitude(x) < mj_layout<T>::INFINITE; }
template <class T> MJ_BODY bool mj_has_sign(T x) { return (mj_word(x) & mj_layout<T>::SIGN) != 0; }

template <class T> MJ_BODY T mj_negated(T x) { return mj_number<T>(mj_word(x) ^ mj_layout<T>::SIGN); }
template <class T> MJ_BODY T mj_absolute(T x) { return mj_number<T>(mj_word_magnitude(x)); }
template <class T> MJ_BODY T mj_copysign(T x, T y) {
  return mj_number<T>(mj_word_magnitude(x) | (mj_word(y) & mj_layout<T>::SIGN));
}
/* -1, +0 (of either zero), 1, or NaN. */
template <class T> MJ_BODY T mj_sign(T x) {
  typedef mj_layout<T> L;
  const mj_bits_of<T> m = mj_word_magnitude(x), one = L::ONE | (mj_word(x) & L::SIGN);
  return mj_number<T>(m == 0 ? 0 : m > L::INFINITE ? mj_word(x) : one);
}
/* The number next to x on the way to y; y where they are equal. */
template <class T> MJ_BODY T mj_nextafter(T x, T y) {
  typedef mj_layout<T> L;
  const mj_bits_of<T> b = mj_word(x), away = b + 1, nearer = b - 1, least = 1 | (mj_word(y) & L::SIGN);
  const bool grows = (x < y) == !mj_has_sign(x);
  const mj_bits_of<T> next = mj_word_magnitude(x) == 0 ? least : grows ? away : nearer;
  const bool no_number = (int)mj_is_nan(x) | (int)mj_is_nan(y);
  return mj_number<T>(no_number ? L::QUIET : x == y ? mj_word(y) : next);
}

template <class T> MJ_BODY bool mj_equal(T a, T b) { return a == b; }
template <class T> MJ_BODY bool mj_not_equal(T a, T b) { return a != b; }
template <class T> MJ_BODY bool mj_less(T a, T b) { return a < b; }
template <class T> MJ_BODY bool mj_less_equal(T a, T b) { return a <= b; }
template <class T> MJ_BODY bool mj_greater(T a, T b) { return a > b; }
template <class T> MJ_BODY bool mj_greater_equal(T a, T b) { return a >= b; }

/* An unsigned integer in whose order numbers are sorted: both zeros are equal, all NaN come last and
 * are equal. */
template <class T> MJ_BODY mj_bits_of<T> mj_order_key_of(T x) {
  typedef mj_layout<T> L;
  const mj_bits_of<T> m = mj_word_magnitude(x), up = L::SIGN + m, down = L::SIGN - m;
  const mj_bits_of<T> key = mj_has_sign(x) ? down : up;
  return m > L::INFINITE ? ~(mj_bits_of<T>)0 : key;
}
