/* Drivers of the array library: elementwise functions, comparisons, conversions.
 *
 * Policy. One thread an output, in loops over the grid; short functions of float32 are maps (quads.h).
 * A kernel a function, so that a short one has the registers of a short one; the type of numbers (0
 * float32, 1 float64) is an argument. Functions of float64 alone serve float32 by widening and
 * narrowing, so each is compiled once.
 */
#include "../standard_cast.h"
#include "../standard_order.h"
#include "quads.h"

MJ_DEVICE mj_f64 mj_load_wide(mj_i64 type, const void *x, mj_i64 i) {
  return type == 0 ? mj_widened(((const float *)x)[i]) : ((const mj_f64 *)x)[i];
}
MJ_DEVICE void mj_store_narrow(mj_i64 type, void *out, mj_i64 i, mj_f64 v) {
  if (type == 0) {
    ((float *)out)[i] = mj_narrow<float>(v);
  } else {
    ((mj_f64 *)out)[i] = v;
  }
}

/* Functions of float64 alone. */
#define MJ_WIDE_UNARY(name, body)                                                                                      \
  MJ_KERNEL name(mj_i64 type, mj_i64 count, const void *x, void *out) {                                                \
    mj_elements(count, [=](mj_i64 i) { mj_store_narrow(type, out, i, body(mj_load_wide(type, x, i))); });              \
  }
#define MJ_WIDE_BINARY(name, body)                                                                                     \
  MJ_KERNEL name(mj_i64 type, mj_i64 count, const void *a, mj_i64 a_step, const void *b, mj_i64 b_step, void *out) {   \
    mj_elements(count, [=](mj_i64 i) {                                                                                 \
      mj_store_narrow(type, out, i, body(mj_load_wide(type, a, i * a_step), mj_load_wide(type, b, i * b_step)));       \
    });                                                                                                                \
  }

/* Functions of either type. Result is the type of results: T itself, the bits of T, or 1 and 0. */
template <class T> using mj_same = T;
template <class T> using mj_flag = unsigned char;
#define MJ_UNARY(name, Result, body)                                                                                   \
  template <class T> MJ_DEVICE void name##_of(mj_i64 count, const void *x, void *out) {                                \
    mj_elements(count, [=](mj_i64 i) { ((Result<T> *)out)[i] = body(((const T *)x)[i]); });                            \
  }                                                                                                                    \
  MJ_KERNEL name(mj_i64 type, mj_i64 count, const void *x, void *out) {                                                \
    type == 0 ? name##_of<float>(count, x, out) : name##_of<mj_f64>(count, x, out);                                    \
  }
#define MJ_BINARY(name, Result, body)                                                                                  \
  template <class T>                                                                                                   \
  MJ_DEVICE void name##_of(mj_i64 count, const void *a, mj_i64 a_step, const void *b, mj_i64 b_step, void *out) {      \
    mj_elements(count, [=](mj_i64 i) {                                                                                 \
      ((Result<T> *)out)[i] = body(((const T *)a)[i * a_step], ((const T *)b)[i * b_step]);                            \
    });                                                                                                                \
  }                                                                                                                    \
  MJ_KERNEL name(mj_i64 type, mj_i64 count, const void *a, mj_i64 a_step, const void *b, mj_i64 b_step, void *out) {   \
    type == 0 ? name##_of<float>(count, a, a_step, b, b_step, out)                                                     \
              : name##_of<mj_f64>(count, a, a_step, b, b_step, out);                                                   \
  }

/* Functions of either type whose float32 goes four numbers a turn. */
#define MJ_MAP_UNARY(name, body)                                                                                       \
  MJ_KERNEL name(mj_i64 type, mj_i64 count, const void *x, void *out) {                                                \
    if (type == 0) {                                                                                                   \
      mj_quads(count, [](float v, float &o) { o = body(v); }, mj_in{(const float *)x}, mj_out{(float *)out});          \
    } else {                                                                                                           \
      mj_elements(count, [=](mj_i64 i) { ((mj_f64 *)out)[i] = body(((const mj_f64 *)x)[i]); });                        \
    }                                                                                                                  \
  }
#define MJ_MAP_BINARY(name, body)                                                                                      \
  MJ_KERNEL name(mj_i64 type, mj_i64 count, const void *a, mj_i64 a_step, const void *b, mj_i64 b_step, void *out) {   \
    if (type == 0) {                                                                                                   \
      mj_quads(                                                                                                        \
          count, [](float l, float r, float &o) { o = body(l, r); }, mj_stepped{(const float *)a, a_step},             \
          mj_stepped{(const float *)b, b_step}, mj_out{(float *)out});                                                 \
    } else {                                                                                                           \
      mj_elements(count, [=](mj_i64 i) {                                                                               \
        ((mj_f64 *)out)[i] = body(((const mj_f64 *)a)[i * a_step], ((const mj_f64 *)b)[i * b_step]);                   \
      });                                                                                                              \
    }                                                                                                                  \
  }

MJ_WIDE_UNARY(mj_unary_acos_kernel, mj_acos)
MJ_WIDE_UNARY(mj_unary_acosh_kernel, mj_acosh)
MJ_WIDE_UNARY(mj_unary_asin_kernel, mj_asin)
MJ_WIDE_UNARY(mj_unary_asinh_kernel, mj_asinh)
MJ_WIDE_UNARY(mj_unary_atan_kernel, mj_atan)
MJ_WIDE_UNARY(mj_unary_atanh_kernel, mj_atanh)
MJ_WIDE_UNARY(mj_unary_ceil_kernel, mj_ceil)
MJ_WIDE_UNARY(mj_unary_cos_kernel, mj_cos)
MJ_WIDE_UNARY(mj_unary_cosh_kernel, mj_cosh)
MJ_WIDE_UNARY(mj_unary_exp_kernel, mj_exp)
MJ_WIDE_UNARY(mj_unary_expm1_kernel, mj_expm1)
MJ_WIDE_UNARY(mj_unary_floor_kernel, mj_floor)
MJ_WIDE_UNARY(mj_unary_log_kernel, mj_log)
MJ_WIDE_UNARY(mj_unary_log1p_kernel, mj_log1p)
MJ_WIDE_UNARY(mj_unary_log2_kernel, mj_log2)
MJ_WIDE_UNARY(mj_unary_log10_kernel, mj_log10)
MJ_WIDE_UNARY(mj_unary_round_kernel, mj_round)
MJ_WIDE_UNARY(mj_unary_sin_kernel, mj_sin)
MJ_WIDE_UNARY(mj_unary_sinh_kernel, mj_sinh)
MJ_WIDE_UNARY(mj_unary_tan_kernel, mj_tan)
MJ_WIDE_UNARY(mj_unary_tanh_kernel, mj_tanh)
MJ_WIDE_UNARY(mj_unary_trunc_kernel, mj_trunc)
MJ_MAP_UNARY(mj_unary_sqrt_kernel, mj_sqrt)
MJ_MAP_UNARY(mj_unary_square_kernel, mj_square)
MJ_MAP_UNARY(mj_unary_reciprocal_kernel, mj_reciprocal)
MJ_MAP_UNARY(mj_unary_negative_kernel, mj_negated)
MJ_MAP_UNARY(mj_unary_abs_kernel, mj_absolute)
MJ_MAP_UNARY(mj_unary_sign_kernel, mj_sign)

MJ_MAP_BINARY(mj_binary_add_kernel, mj_add)
MJ_MAP_BINARY(mj_binary_subtract_kernel, mj_sub)
MJ_MAP_BINARY(mj_binary_multiply_kernel, mj_mul)
MJ_MAP_BINARY(mj_binary_divide_kernel, mj_div)
MJ_BINARY(mj_binary_floor_divide_kernel, mj_same, mj_floor_divide)
MJ_BINARY(mj_binary_remainder_kernel, mj_same, mj_remainder)
MJ_MAP_BINARY(mj_binary_maximum_kernel, mj_max)
MJ_MAP_BINARY(mj_binary_minimum_kernel, mj_least)
MJ_WIDE_BINARY(mj_binary_atan2_kernel, mj_atan2)
MJ_WIDE_BINARY(mj_binary_hypot_kernel, mj_hypot)
MJ_WIDE_BINARY(mj_binary_logaddexp_kernel, mj_logaddexp)
MJ_WIDE_BINARY(mj_binary_pow_kernel, mj_power)
MJ_MAP_BINARY(mj_binary_copysign_kernel, mj_copysign)
MJ_MAP_BINARY(mj_binary_nextafter_kernel, mj_nextafter)

MJ_BINARY(mj_compare_equal_kernel, mj_flag, mj_equal)
MJ_BINARY(mj_compare_not_equal_kernel, mj_flag, mj_not_equal)
MJ_BINARY(mj_compare_less_kernel, mj_flag, mj_less)
MJ_BINARY(mj_compare_less_equal_kernel, mj_flag, mj_less_equal)
MJ_BINARY(mj_compare_greater_kernel, mj_flag, mj_greater)
MJ_BINARY(mj_compare_greater_equal_kernel, mj_flag, mj_greater_equal)

MJ_UNARY(mj_classify_isnan_kernel, mj_flag, mj_is_nan)
MJ_UNARY(mj_classify_isinf_kernel, mj_flag, mj_is_infinite)
MJ_UNARY(mj_classify_isfinite_kernel, mj_flag, mj_is_finite)
MJ_UNARY(mj_classify_signbit_kernel, mj_flag, mj_has_sign)

MJ_UNARY(mj_order_key_kernel, mj_bits_of, mj_order_key_of)

/* A number goes to its target as the widest of its kind: float64, and integers of 64 bits. */
template <class From> MJ_DEVICE void mj_store_as(mj_i64 type, void *out, mj_i64 i, From v) {
  switch (type) {
    case 0: ((float *)out)[i] = mj_converted(v, float()); return;
    case 1: ((mj_f64 *)out)[i] = mj_converted(v, mj_f64()); return;
    case 2: ((mj_half *)out)[i] = mj_converted(v, mj_half()); return;
    case 3: ((mj_brain *)out)[i] = mj_converted(v, mj_brain()); return;
    case 4: ((signed char *)out)[i] = mj_converted(v, (signed char)0); return;
    case 5: ((short *)out)[i] = mj_converted(v, (short)0); return;
    case 6: ((mj_i32 *)out)[i] = mj_converted(v, mj_i32()); return;
    case 7: ((mj_i64 *)out)[i] = mj_converted(v, mj_i64()); return;
    case 8: ((unsigned char *)out)[i] = mj_converted(v, (unsigned char)0); return;
    case 9: ((unsigned short *)out)[i] = mj_converted(v, (unsigned short)0); return;
    case 10: ((mj_u32 *)out)[i] = mj_converted(v, mj_u32()); return;
    default: ((mj_u64 *)out)[i] = mj_converted(v, mj_u64());
  }
}
MJ_DEVICE void mj_cast(mj_i64 from, mj_i64 to, const void *x, void *out, mj_i64 i) {
  switch (from) {
    case 0: return mj_store_as(to, out, i, mj_widened(((const float *)x)[i]));
    case 1: return mj_store_as(to, out, i, ((const mj_f64 *)x)[i]);
    case 2: return mj_store_as(to, out, i, mj_widened(((const mj_half *)x)[i]));
    case 3: return mj_store_as(to, out, i, mj_widened(((const mj_brain *)x)[i]));
    case 4: return mj_store_as(to, out, i, (mj_i64)((const signed char *)x)[i]);
    case 5: return mj_store_as(to, out, i, (mj_i64)((const short *)x)[i]);
    case 6: return mj_store_as(to, out, i, (mj_i64)((const mj_i32 *)x)[i]);
    case 7: return mj_store_as(to, out, i, ((const mj_i64 *)x)[i]);
    case 8: return mj_store_as(to, out, i, (mj_u64)((const unsigned char *)x)[i]);
    case 9: return mj_store_as(to, out, i, (mj_u64)((const unsigned short *)x)[i]);
    case 10: return mj_store_as(to, out, i, (mj_u64)((const mj_u32 *)x)[i]);
    default: return mj_store_as(to, out, i, ((const mj_u64 *)x)[i]);
  }
}

/* Types as in majelpy/memory/numbering.py. */
MJ_KERNEL mj_cast_kernel(mj_i64 from, mj_i64 to, mj_i64 count, const void *x, void *out) {
  mj_elements(count, [=](mj_i64 i) { mj_cast(from, to, x, out, i); });
}
