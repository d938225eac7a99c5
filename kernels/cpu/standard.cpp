/* Drivers of the array library: elementwise functions and conversions.
 *
 * Policy. Blocks of elements are the tasks. The order of names in the tables below is that of
 * majelpy/memory/numbering.py.
 */
#include "../entry_points.h"
#include "../standard_cast.h"
#include "../standard_order.h"
#include "pairs.h"
#include "threads.h"

namespace {

constexpr int64_t GRAIN = 1 << 12; /* elements of a task: some of the functions take 100 ns each */

template <class T> using Unary = void (*)(int64_t count, const T *x, T *out);
template <class T> using Binary = void (*)(int64_t count, const T *a, int64_t a_step, const T *b, int64_t b_step, T *out);

template <class T, T (*F)(T)> void unary(int64_t count, const T *x, T *out) {
  for (int64_t i = 0; i < count; i++) out[i] = F(x[i]);
}
template <class T, mj_f64 (*F)(mj_f64)> void wide(int64_t count, const T *x, T *out) {
  for (int64_t i = 0; i < count; i++) out[i] = mj_narrow<T>(F(x[i]));
}
template <class T, T (*F)(T, T)>
void binary(int64_t count, const T *a, int64_t a_step, const T *b, int64_t b_step, T *out) {
  mj::pairs(count, a, a_step, b, b_step, out, F);
}
template <class T, mj_f64 (*F)(mj_f64, mj_f64)>
void wide(int64_t count, const T *a, int64_t a_step, const T *b, int64_t b_step, T *out) {
  for (int64_t i = 0; i < count; i++) out[i] = mj_narrow<T>(F(a[i * a_step], b[i * b_step]));
}

template <class T> Unary<T> unary_of(int64_t function) {
  static constexpr Unary<T> table[] = {
      wide<T, mj_acos>,  wide<T, mj_acosh>, wide<T, mj_asin>, wide<T, mj_asinh>,      wide<T, mj_atan>,
      wide<T, mj_atanh>, wide<T, mj_ceil>,  wide<T, mj_cos>,  wide<T, mj_cosh>,       wide<T, mj_exp>,
      wide<T, mj_expm1>, wide<T, mj_floor>, wide<T, mj_log>,  wide<T, mj_log1p>,      wide<T, mj_log2>,
      wide<T, mj_log10>, wide<T, mj_round>, wide<T, mj_sin>,  wide<T, mj_sinh>,       wide<T, mj_tan>,
      wide<T, mj_tanh>,  wide<T, mj_trunc>, unary<T, mj_sqrt>, unary<T, mj_square<T>>, unary<T, mj_reciprocal<T>>,
      unary<T, mj_negated<T>>, unary<T, mj_absolute<T>>, unary<T, mj_sign<T>>,
  };
  return table[function];
}
template <class T> Binary<T> binary_of(int64_t function) {
  static constexpr Binary<T> table[] = {
      binary<T, mj_add<T>>,  binary<T, mj_sub<T>>, binary<T, mj_mul<T>>,          binary<T, mj_div<T>>,
      binary<T, mj_floor_divide<T>>, binary<T, mj_remainder<T>>, binary<T, mj_max<T>>, binary<T, mj_least<T>>,
      wide<T, mj_atan2>,     wide<T, mj_hypot>,    wide<T, mj_logaddexp>,         wide<T, mj_power>,
      binary<T, mj_copysign<T>>, binary<T, mj_nextafter<T>>,
  };
  return table[function];
}

template <class T> void launch(Unary<T> body, int64_t count, const void *x, void *out) {
  const T *from = static_cast<const T *>(x);
  T *to = static_cast<T *>(out);
  mj::parallel_blocks(count, GRAIN, [&](int64_t start, int64_t stop) { body(stop - start, from + start, to + start); });
}
template <class T>
void launch(Binary<T> body, int64_t count, const void *a, int64_t a_step, const void *b, int64_t b_step, void *out) {
  const T *x = static_cast<const T *>(a), *y = static_cast<const T *>(b);
  T *to = static_cast<T *>(out);
  mj::parallel_blocks(count, GRAIN, [&](int64_t start, int64_t stop) {
    body(stop - start, x + start * a_step, a_step, y + start * b_step, b_step, to + start);
  });
}

template <class Body> void with_type(int64_t type, Body body) {
  switch (type) {
    case 0: return body(float());
    case 1: return body(mj_f64());
    case 2: return body(mj_half());
    case 3: return body(mj_brain());
    case 4: return body(int8_t());
    case 5: return body(int16_t());
    case 6: return body(int32_t());
    case 7: return body(int64_t());
    case 8: return body(uint8_t());
    case 9: return body(uint16_t());
    case 10: return body(uint32_t());
    default: return body(uint64_t());
  }
}

}  // namespace

void mj_unary(int64_t function, int64_t type, int64_t count, const void *x, void *out) {
  if (type == 0) {
    launch(unary_of<float>(function), count, x, out);
  } else {
    launch(unary_of<mj_f64>(function), count, x, out);
  }
}

void mj_binary(int64_t function, int64_t type, int64_t count, const void *a, int64_t a_step, const void *b,
               int64_t b_step, void *out) {
  if (type == 0) {
    launch(binary_of<float>(function), count, a, a_step, b, b_step, out);
  } else {
    launch(binary_of<mj_f64>(function), count, a, a_step, b, b_step, out);
  }
}

void mj_cast(int64_t from, int64_t to, int64_t count, const void *x, void *out) {
  with_type(from, [=](auto source) {
    with_type(to, [=](auto target) {
      const auto *values = static_cast<const decltype(source) *>(x);
      auto *results = static_cast<decltype(target) *>(out);
      mj::parallel_blocks(count, GRAIN, [&](int64_t start, int64_t stop) {
        for (int64_t i = start; i < stop; i++) results[i] = mj_converted(values[i], target);
      });
    });
  });
}
