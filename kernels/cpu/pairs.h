/* Loops over two operands, each an array or one number. */
#pragma once
#include <stdint.h>

namespace mj {

/* out[i] = body(a[i], b[i]); a step is 1, or 0 for one number, which stays in a register. */
template <class T, class Result, class Body>
static inline __attribute__((always_inline)) void pairs(int64_t count, const T *a, int64_t a_step, const T *b,
                                                        int64_t b_step, Result *out, Body body) {
  if (count == 0) return;
  const T left = *a, right = *b;
  if (a_step && b_step) {
    for (int64_t i = 0; i < count; i++) out[i] = body(a[i], b[i]);
  } else if (a_step) {
    for (int64_t i = 0; i < count; i++) out[i] = body(a[i], right);
  } else {
    for (int64_t i = 0; i < count; i++) out[i] = body(left, b[i * b_step]);
  }
}

}  // namespace mj
