/* Conversions between all types of numbers in memory.
 *
 * Policy. mj_converted(v, To()) is v as a To. Integers wrap around among themselves and are rounded
 * once to a float; floats become integers by mj_to_integer. 16-bit floats go through float64, which
 * holds them exactly.
 */
#pragma once
#include "standard.h"

struct mj_half { unsigned short bits; };
struct mj_brain { unsigned short bits; };

template <class T> struct mj_is_integer { static const bool VALUE = true; };
template <> struct mj_is_integer<float> { static const bool VALUE = false; };
template <> struct mj_is_integer<mj_f64> { static const bool VALUE = false; };
template <> struct mj_is_integer<mj_half> { static const bool VALUE = false; };
template <> struct mj_is_integer<mj_brain> { static const bool VALUE = false; };

template <class T> MJ_BODY mj_f64 mj_widened(T v) { return (mj_f64)v; }
MJ_BODY mj_f64 mj_widened(mj_half v) { return mj_from_16<5>(v.bits); }
MJ_BODY mj_f64 mj_widened(mj_brain v) { return mj_from_16<8>(v.bits); }

/* v itself, or the float64 that a 16-bit float is. */
template <class T> MJ_BODY T mj_plain(T v) { return v; }
MJ_BODY mj_f64 mj_plain(mj_half v) { return mj_widened(v); }
MJ_BODY mj_f64 mj_plain(mj_brain v) { return mj_widened(v); }

template <class From> MJ_BODY mj_half mj_converted(From v, mj_half) { return {(unsigned short)mj_to_16<5>(mj_widened(v))}; }
template <class From> MJ_BODY mj_brain mj_converted(From v, mj_brain) { return {(unsigned short)mj_to_16<8>(mj_widened(v))}; }
template <class From, class To> MJ_BODY To mj_converted(From v, To) {
  if constexpr (mj_is_integer<From>::VALUE || !mj_is_integer<To>::VALUE) {
    return (To)mj_plain(v);
  } else {
    const bool has_sign = To(-1) < To(0);
    const To lowest = has_sign ? (To)(1ULL << (8 * sizeof(To) - 1)) : To(0), highest = (To)~lowest;
    return mj_to_integer<To>(mj_widened(v), lowest, highest);
  }
}
