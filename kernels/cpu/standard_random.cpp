/* Drivers of the array library: random numbers by key.
 *
 * Policy. Blocks of Philox are the tasks; a block's numbers lie beside each other.
 */
#include "../entry_points.h"
#include "../standard_random.h"
#include "threads.h"

#include <algorithm>

namespace {

constexpr int64_t GRAIN = 1 << 10; /* blocks of a task */

/* body(block, at, live): block number `block`, whose numbers lie from `at` on, `live` of them. */
template <class Body> void blocks(int64_t count, int64_t numbers, Body &&body) {
  mj::parallel_blocks((count + numbers - 1) / numbers, GRAIN, [&](int64_t start, int64_t stop) {
    for (int64_t b = start; b < stop; b++) body((mj_u64)b, b * numbers, std::min(numbers, count - b * numbers));
  });
}

}  // namespace

extern "C" {

void mj_random_keys(int64_t count, int64_t key, int64_t stream, int64_t first, uint64_t *out) {
  for (int64_t i = 0; i < count; i++) {
    const mj_wide_block child = mj_child_key((mj_u64)key, (mj_u64)stream, (mj_u64)first + (mj_u64)i);
    for (int w = 0; w < 2; w++) out[2 * i + w] = child.v[w];
  }
}

void mj_random_bits(int64_t count, int64_t key, int64_t stream, uint64_t *out) {
  blocks(count, 2, [=](mj_u64 b, int64_t at, int64_t live) {
    const mj_wide_block block = mj_random_block((mj_u64)key, (mj_u64)stream, b);
    for (int64_t w = 0; w < live; w++) out[at + w] = block.v[w];
  });
}

void mj_random_uniform(int64_t type, int64_t count, int64_t key, int64_t stream, const void *ends, void *out) {
  if (type == 0) {
    const float *end = static_cast<const float *>(ends);
    float *to = static_cast<float *>(out);
    blocks(count, 4, [=](mj_u64 b, int64_t at, int64_t live) {
      const mj_philox_block block = mj_philox((mj_u64)key, b, (mj_u64)stream);
      for (int64_t w = 0; w < live; w++) to[at + w] = mj_between(mj_unit(block.v[w]), end[0], end[1]);
    });
  } else {
    const mj_f64 *end = static_cast<const mj_f64 *>(ends);
    mj_f64 *to = static_cast<mj_f64 *>(out);
    blocks(count, 2, [=](mj_u64 b, int64_t at, int64_t live) {
      const mj_wide_block block = mj_random_block((mj_u64)key, (mj_u64)stream, b);
      for (int64_t w = 0; w < live; w++) to[at + w] = mj_between(mj_unit(block.v[w]), end[0], end[1]);
    });
  }
}

void mj_random_normal(int64_t type, int64_t count, int64_t key, int64_t stream, void *out) {
  if (type == 0) {
    float *to = static_cast<float *>(out);
    blocks(count, 4, [=](mj_u64 b, int64_t at, int64_t live) {
      const mj_normals normals = mj_normal(mj_philox((mj_u64)key, b, (mj_u64)stream));
      for (int64_t w = 0; w < live; w++) to[at + w] = normals.v[w];
    });
  } else {
    mj_f64 *to = static_cast<mj_f64 *>(out);
    blocks(count, 2, [=](mj_u64 b, int64_t at, int64_t live) {
      const mj_wide_normals normals = mj_normal(mj_random_block((mj_u64)key, (mj_u64)stream, b));
      for (int64_t w = 0; w < live; w++) to[at + w] = normals.v[w];
    });
  }
}

void mj_random_integers(int64_t count, int64_t key, int64_t stream, int64_t low, int64_t span, int64_t *out) {
  blocks(count, 1, [=](mj_u64 b, int64_t at, int64_t) {
    out[at] = (int64_t)((mj_u64)low + mj_below(mj_random_block((mj_u64)key, (mj_u64)stream, b), (mj_u64)span));
  });
}

void mj_random_coins(int64_t count, int64_t key, int64_t stream, int64_t heads, uint8_t *out) {
  blocks(count, 2, [=](mj_u64 b, int64_t at, int64_t live) {
    const mj_wide_block block = mj_random_block((mj_u64)key, (mj_u64)stream, b);
    for (int64_t w = 0; w < live; w++) out[at + w] = mj_coin(block.v[w], (mj_u64)heads);
  });
}
}
