/* Sums over the rows of items, each item by itself.
 *
 * Policy. Item i has the rows offsets[i]..offsets[i + 1] of the list `order`, or without a list these
 * rows themselves. Chunks of the canonical sum are the tasks: one runs through its rows from the
 * first column to the last, so memory is read in order; then each item's chunks are added up.
 */
#pragma once
#include <algorithm>
#include <vector>

#include "../mj_sum.h"
#include "lanes.h"
#include "threads.h"

namespace mj {

/* out[item] = `width` sums; add(sums, item, place in the list, row) adds the terms of a row to a
 * chunk's. */
template <class Add>
void sum_items(int64_t items, const int64_t *offsets, const int64_t *order, int64_t width, float *out, Add add) {
  std::vector<int64_t> first(items + 1, 0); /* chunk of each item */
  for (int64_t i = 0; i < items; i++) first[i + 1] = first[i] + (offsets[i + 1] - offsets[i] + MJ_CHUNK - 1) / MJ_CHUNK;
  float *sums = workspace_of<float>(LATTICE, first[items] * width);
  parallel(first[items], [&](int64_t chunk) {
    const int64_t item = std::upper_bound(first.begin(), first.end(), chunk) - first.begin() - 1;
    const int64_t start = offsets[item] + (chunk - first[item]) * MJ_CHUNK;
    const int64_t stop = std::min<int64_t>(start + MJ_CHUNK, offsets[item + 1]);
    float *at = sums + chunk * width;
    memset(at, 0, width * sizeof(float));
    for (int64_t i = start; i < stop; i++) add(at, item, i, order == nullptr ? i : order[i]);
  });
  parallel(items, [&](int64_t item) {
    float *to = out + item * width;
    if (first[item] == first[item + 1]) memset(to, 0, width * sizeof(float));
    for (int64_t chunk = first[item]; chunk < first[item + 1]; chunk++) {
      const float *from = sums + chunk * width;
      each(0, width, [&](int64_t j, auto as) {
        using F = decltype(as);
        store_as(to + j, mj_total(chunk == first[item], load_as<F>(to + j), load_as<F>(from + j)));
      });
    }
  });
}

}  // namespace mj
