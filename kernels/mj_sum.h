/* The one rule for every sum whose order matters.
 *
 * Policy. Cut the index range into chunks of MJ_CHUNK terms. Within a chunk start at +0 and go
 * up, by fma for products and by add otherwise. The total starts as the first chunk's sum; add
 * the other chunk sums in ascending order. An empty sum is +0. Who computes which chunk, and
 * which outputs are computed side by side, is the driver's choice and changes nothing.
 */
#pragma once
#include "mj_base.h"

/* One term of a sum within a chunk. */
template <class F> MJ_BODY F mj_term(F acc, F x) { return acc + x; }
template <class F> MJ_BODY F mj_term_product(F acc, F a, F b) { return mj_fma(a, b, acc); }

/* A finished chunk joins the total. */
template <class F> MJ_BODY F mj_total(bool first_chunk, F total, F chunk) {
  return first_chunk ? chunk : total + chunk;
}

/* Whole sums of one output, term(i) giving the i-th term or pair of factors. */
template <class F, class Term> MJ_BODY F mj_sum(long count, Term term) {
  F total = mj_splat<F>(0.0f);
  for (long start = 0; start < count; start += MJ_CHUNK) {
    const long stop = start + MJ_CHUNK < count ? start + MJ_CHUNK : count;
    F acc = mj_splat<F>(0.0f);
    for (long i = start; i < stop; i++) acc = mj_term(acc, term(i));
    total = mj_total(start == 0, total, acc);
  }
  return total;
}
