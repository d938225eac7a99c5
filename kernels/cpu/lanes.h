/* Vectors at the edge of an array, and the largest of a vector's lanes. */
#pragma once
#include "../mj_base.h"

namespace mj {

/* The first `count` of MJ_LANES floats; the other lanes are +0. */
static inline mj_vf load_some(const float *p, int64_t count) {
  if (count >= MJ_LANES) return mj_load(p);
  mj_vf v = mj_splat<mj_vf>(0.0f);
  if (count > 0) memcpy(&v, p, count * sizeof(float));
  return v;
}

static inline void store_some(float *p, mj_vf v, int64_t count) {
  if (count >= MJ_LANES) {
    mj_store(p, v);
  } else if (count > 0) {
    memcpy(p, &v, count * sizeof(float));
  }
}

/* By halves; a maximum of numbers does not depend on the order. */
static inline float lane_max(mj_vf v) {
  float at[MJ_LANES];
  mj_store(at, v);
  for (int half = MJ_LANES / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; lane++) at[lane] = mj_larger(at[lane], at[lane + half]);
  }
  return at[0];
}

}  // namespace mj
