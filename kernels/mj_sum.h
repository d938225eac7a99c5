/* The one rule for every sum whose order matters.
 *
 * Policy. Cut the index range into chunks of MJ_CHUNK terms. Within a chunk start at +0 and go
 * up, by fma for products and by add otherwise. The total starts as the first chunk's sum; add
 * the other chunk sums in ascending order. An empty sum is +0. Who computes which chunk, and
 * which outputs are computed side by side, is the driver's choice and changes nothing.
 *
 * A sum over the units of a layer may be cut in parts (a recipe's model.parts): each part is such a
 * sum, and the parts are added by the tree of majelpy/tree.py.
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

/* x rounded to bfloat16, to nearest even; a NaN becomes MJ_NAN. */
template <class F> MJ_BODY F mj_round_bfloat16(F x) {
  x = x != x ? mj_splat<F>(MJ_NAN) : x;
  const typename mj_of<F>::I bits = mj_bits(x);
  return mj_float((bits + (bits >> 16 & 1) + 0x7FFF) & ~0xFFFF);
}

/* What the tree of leaves keeps of an item or of the sum of two nodes (a recipe's data.transport). */
template <class F> MJ_BODY F mj_kept(bool rounded, F x) { return rounded ? mj_round_bfloat16(x) : x; }

/* First of the n units of a part: parts are as even as whole lines of MJ_LINE units allow. */
#define MJ_LINE 16
MJ_BODY long long mj_part_start(long long n, long long parts, long long part) {
  const long long lines = (n + MJ_LINE - 1) / MJ_LINE, start = part * lines / parts * MJ_LINE;
  return start < n ? start : n;
}

/* A stack adds parts by the tree: how often its top two are added after the part of that number. */
MJ_BODY int mj_merges_after(long long part, long long parts, int height) {
  if (part + 1 == parts) return height - 1;
  int merges = 0;
  for (long long done = part + 1; done % 2 == 0; done /= 2) merges++;
  return merges;
}

/* A sum over n units in parts: chunk(start, terms) in ascending order; open(height) is the stack,
 * of T, with log2(parts) + 1 entries; add(left, right). */
#define MJ_MOST_PARTS 64
#define MJ_MOST_OPEN 7
template <class T, class Chunk, class Open, class Add>
MJ_BODY T mj_sum_in_parts(long long n, long long parts, Chunk chunk, Open open, Add add) {
  int height = 0;
  for (long long part = 0;; part++) {
    long long start = mj_part_start(n, parts, part);
    const long long stop = mj_part_start(n, parts, part + 1);
    T total = chunk(start, stop - start < MJ_CHUNK ? stop - start : MJ_CHUNK);
    for (start += MJ_CHUNK; start < stop; start += MJ_CHUNK) {
      total = add(total, chunk(start, stop - start < MJ_CHUNK ? stop - start : MJ_CHUNK));
    }
    if (parts == 1) return total;
    for (int merges = mj_merges_after(part, parts, height + 1); merges > 0; merges--) {
      total = add(open(--height), total);
    }
    if (part + 1 == parts) return total;
    open(height++) = total;
  }
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
