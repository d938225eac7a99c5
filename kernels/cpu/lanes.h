/* Loops over vectors, vectors at the edge of an array, and the largest of a vector's lanes. */
#pragma once
#include "../mj_base.h"

namespace mj {

template <class F> F load_as(const float *p) {
  F v;
  memcpy(&v, p, sizeof v);
  return v;
}
template <class F> void store_as(float *p, F v) { memcpy(p, &v, sizeof v); }

/* body(index, F()) for whole vectors of start..stop, then for the single elements that are left. */
template <class Body> void each(int64_t start, int64_t stop, Body body) {
  int64_t i = start;
  for (; i + MJ_LANES <= stop; i += MJ_LANES) body(i, mj_vf{});
  for (; i < stop; i++) body(i, 0.0f);
}

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
