/* Logarithm of the softmax of a row of logits.
 *
 * Policy. y_v = x_v - max - log(sum over v of exp(x_v - max)); the sum is canonical (mj_sum.h).
 */
#pragma once
#include "mj_math.h"
#include "mj_sum.h"

template <class F> MJ_BODY F mj_softmax_term(F x, F max) { return mj_exp(x - max); }
template <class F> MJ_BODY F mj_softmax_log_sum(F sum) { return mj_log(sum); }
template <class F> MJ_BODY F mj_log_softmax(F x, F max, F log_sum) { return (x - max) - log_sum; }
