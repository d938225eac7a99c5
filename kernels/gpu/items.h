/* Sums over the rows of items, each item by itself: chunks side by side (their totals: mj_sum_totals_kernel). */
#pragma once
#include "../mj_sum.h"
#include "driver.h"

/* add(row, column) for the rows of each chunk, which begins with place starts[chunk] of the list. */
template <class Start, class Add, class Stop>
MJ_DEVICE void mj_item_chunks(mj_i64 chunks, const mj_i64 *starts, const mj_i64 *order, mj_i64 columns, Start start, Add add, Stop stop) {
  mj_matrix(chunks, columns, [=](mj_i64 c, mj_i64 j) {
    auto acc = start();
    const mj_i64 last = starts[c + 1];
#pragma unroll 4
    for (mj_i64 i = starts[c]; i < last; i++) acc = add(acc, c, order ? order[i] : i, j);
    stop(acc, c, j);
  });
}
