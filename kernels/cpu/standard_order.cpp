/* Drivers of the array library: comparisons, classes of numbers, sort keys.
 *
 * Policy. Blocks of elements are the tasks, loops that the compiler turns into vectors. The order of
 * names in the tables below is that of majelpy/memory/numbering.py.
 */
#include "../standard_order.h"

#include "../entry_points.h"
#include "pairs.h"
#include "threads.h"

namespace {

constexpr int64_t GRAIN = 1 << 16; /* elements of a task: some 10 microseconds */

template <class T> using Compare = void (*)(int64_t count, const T *a, int64_t a_step, const T *b, int64_t b_step, uint8_t *out);
template <class T> using Classify = void (*)(int64_t count, const T *x, uint8_t *out);

template <class T, bool (*F)(T, T)>
void compare(int64_t count, const T *a, int64_t a_step, const T *b, int64_t b_step, uint8_t *out) {
  mj::pairs(count, a, a_step, b, b_step, out, F);
}
template <class T, bool (*F)(T)> void classify(int64_t count, const T *x, uint8_t *out) {
  for (int64_t i = 0; i < count; i++) out[i] = F(x[i]);
}

template <class T>
void run_compare(int64_t function, int64_t count, const void *a, int64_t a_step, const void *b, int64_t b_step,
                 uint8_t *out) {
  static constexpr Compare<T> table[] = {
      compare<T, mj_equal<T>>,      compare<T, mj_not_equal<T>>, compare<T, mj_less<T>>,
      compare<T, mj_less_equal<T>>, compare<T, mj_greater<T>>,   compare<T, mj_greater_equal<T>>,
  };
  const T *x = static_cast<const T *>(a), *y = static_cast<const T *>(b);
  mj::parallel_blocks(count, GRAIN, [&](int64_t start, int64_t stop) {
    table[function](stop - start, x + start * a_step, a_step, y + start * b_step, b_step, out + start);
  });
}

template <class T> void run_classify(int64_t function, int64_t count, const void *x, uint8_t *out) {
  static constexpr Classify<T> table[] = {
      classify<T, mj_is_nan<T>>,
      classify<T, mj_is_infinite<T>>,
      classify<T, mj_is_finite<T>>,
      classify<T, mj_has_sign<T>>,
  };
  const T *from = static_cast<const T *>(x);
  mj::parallel_blocks(count, GRAIN, [&](int64_t start, int64_t stop) {
    table[function](stop - start, from + start, out + start);
  });
}

template <class T> void order_key(int64_t count, const void *x, void *out) {
  const T *from = static_cast<const T *>(x);
  mj_bits_of<T> *to = static_cast<mj_bits_of<T> *>(out);
  mj::parallel_blocks(count, GRAIN, [&](int64_t start, int64_t stop) {
    for (int64_t i = start; i < stop; i++) to[i] = mj_order_key_of(from[i]);
  });
}

}  // namespace

void mj_compare(int64_t function, int64_t type, int64_t count, const void *a, int64_t a_step, const void *b,
                int64_t b_step, uint8_t *out) {
  if (type == 0) {
    run_compare<float>(function, count, a, a_step, b, b_step, out);
  } else {
    run_compare<mj_f64>(function, count, a, a_step, b, b_step, out);
  }
}

void mj_classify(int64_t function, int64_t type, int64_t count, const void *x, uint8_t *out) {
  if (type == 0) {
    run_classify<float>(function, count, x, out);
  } else {
    run_classify<mj_f64>(function, count, x, out);
  }
}

void mj_order_key(int64_t type, int64_t count, const void *x, void *out) {
  if (type == 0) {
    order_key<float>(count, x, out);
  } else {
    order_key<mj_f64>(count, x, out);
  }
}
