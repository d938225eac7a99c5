/* Rules of reductions: where a chunk starts, how a term joins it, how chunks join.
 *
 * Policy. A rule follows mj_sum.h: the total starts as the first chunk. The largest and the smallest
 * of numbers do not depend on the order; their starts are what an empty axis gives.
 */
#pragma once
#include "standard.h"

template <class T> struct mj_sum_rule {
  MJ_BODY T start() { return T(0); }
  MJ_BODY T term(T acc, T x) { return mj_term(acc, x); }
  MJ_BODY T total(bool first, T total, T chunk) { return mj_total(first, total, chunk); }
};
template <class T> struct mj_product_rule {
  MJ_BODY T start() { return T(1); }
  MJ_BODY T term(T acc, T x) { return mj_mul(acc, x); }
  MJ_BODY T total(bool first, T total, T chunk) { return mj_factor_total(first, total, chunk); }
};
template <class T> struct mj_largest_rule {
  MJ_BODY T start() { return mj_narrow<T>(-MJ_INFINITY64); }
  MJ_BODY T term(T acc, T x) { return mj_max(acc, x); }
  MJ_BODY T total(bool first, T total, T chunk) { return first ? chunk : mj_max(total, chunk); }
};
template <class T> struct mj_smallest_rule {
  MJ_BODY T start() { return mj_narrow<T>(MJ_INFINITY64); }
  MJ_BODY T term(T acc, T x) { return mj_least(acc, x); }
  MJ_BODY T total(bool first, T total, T chunk) { return first ? chunk : mj_least(total, chunk); }
};
