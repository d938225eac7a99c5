/* Loops over elements and matrices, in tasks. */
#pragma once
#include <algorithm>

#include "lanes.h"
#include "threads.h"

namespace mj {

constexpr int64_t GRAIN = 1 << 14; /* elements of a task: some microseconds of work */

/* Rows of a task. */
inline int64_t rows_of_a_task(int64_t columns) { return std::max<int64_t>(1, GRAIN / std::max<int64_t>(1, columns)); }

/* body(index, F()). */
template <class Body> void elements(int64_t count, Body body) {
  parallel_blocks(count, GRAIN, [&](int64_t start, int64_t stop) { each(start, stop, body); });
}

/* body(index in the matrix, column, F()). */
template <class Body> void matrix(int64_t rows, int64_t columns, Body body) {
  parallel_blocks(rows, rows_of_a_task(columns), [&](int64_t start, int64_t stop) {
    for (int64_t row = start; row < stop; row++) {
      each(0, columns, [&](int64_t j, auto as) { body(row * columns + j, j, as); });
    }
  });
}

}  // namespace mj
