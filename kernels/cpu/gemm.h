/* Matrix product on one place, for the drivers that need one inside. */
#pragma once
#include <stdint.h>

namespace mj {

struct Operand {
  const float *data;
  int64_t row, column; /* strides */
};

/* c(i, j) = canonical sum over k of a(i, k) b(k, j); c has the row stride c_row. */
void gemm(int64_t m, int64_t n, int64_t k, Operand a, Operand b, float *c, int64_t c_row);

}  // namespace mj
