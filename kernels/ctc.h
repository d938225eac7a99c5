/* Connectionist temporal classification (Graves et al. 2006, sections 4.1 and 4.2).
 *
 * Policy. Logarithms of the forward and backward variables, each frame's including that frame's
 * emission. Every MJ_CTC_SHIFT frames of a pass its variables are shifted so that their largest is
 * 0: they stay small, and float32 keeps its precision over any number of frames. The shifts of
 * the forward pass are summed canonically into the loss. The gradient normalises the posteriors of
 * each frame by their own sum, so every row of it sums to nearly 0 by construction. States are
 * held as blanks b_0..b_L and labels l_0..l_{L-1} (s = 2i and 2i+1). The logarithm of 0 is
 * MJ_CTC_DEAD, a number, so that no infinity minus infinity can arise.
 */
#pragma once
#include "mj_math.h"
#include "mj_sum.h"

/* Logarithm of the softmax of a row: y_v = x_v - max - log(sum over v of exp(x_v - max)); the sum is canonical. */
template <class F> MJ_BODY F mj_softmax_term(F x, F max) { return mj_exp(x - max); }
template <class F> MJ_BODY F mj_softmax_log_sum(F sum) { return mj_log(sum); }
template <class F> MJ_BODY F mj_log_softmax(F x, F max, F log_sum) { return (x - max) - log_sum; }

#define MJ_CTC_DEAD (-1e30f)
#define MJ_CTC_SHIFT 16

/* log(exp a + exp b) and log(exp a + exp b + exp c), the smaller ones added to the largest in
 * descending order. Sorting by pairs carries a NaN through. */
template <class F> MJ_BODY F mj_log_add(F a, F b) {
  const F high = mj_larger(a, b), low = mj_smaller(a, b);
  return high + mj_log_normal(1.0f + mj_exp_negative(low - high), mj_splat<F>(0.0f));
}
template <class F> MJ_BODY F mj_log_add(F a, F b, F c) {
  const F large = mj_larger(a, b), small = mj_smaller(a, b);
  const F high = mj_larger(large, c), rest = mj_smaller(large, c);
  const F middle = mj_larger(small, rest), low = mj_smaller(small, rest);
  const F sum = (1.0f + mj_exp_negative(middle - high)) + mj_exp_negative(low - high);
  return high + mj_log_normal(sum, mj_splat<F>(0.0f));
}

/* Forward variables of one frame from those of the frame before (eq. 6 and 7); the backward ones
 * alike, from the frame after. */
template <class F> MJ_BODY F mj_ctc_blank(F same, F label_beside, F log_prob) {
  return mj_log_add(same, label_beside) + log_prob;
}
template <class F> MJ_BODY F mj_ctc_label(F same, F blank_beside, F label_beside, F log_prob) {
  return mj_log_add(same, blank_beside, label_beside) + log_prob;
}
template <class F> MJ_BODY F mj_ctc_shift(F x, F max) { return x - max; }

/* Unnormalised posterior of a state: forward times backward, over the emission that both hold. */
template <class F> MJ_BODY F mj_ctc_posterior_log(F forward, F backward, F log_prob) {
  return (forward + backward) - log_prob;
}
template <class F> MJ_BODY F mj_ctc_posterior(F log_posterior, F max) {
  return mj_exp_negative(log_posterior - max);
}

/* Loss of an utterance: minus (the shifts' sum plus the two final states). */
MJ_BODY float mj_ctc_loss(float shift_sum, float last_blank, float last_label) {
  return -(shift_sum + mj_log_add(last_blank, last_label));
}

/* Gradient by a logit: (softmax - posterior of its label) * scale. */
template <class F> MJ_BODY F mj_ctc_gradient(F log_prob, F posterior, F posterior_sum, F scale) {
  return (mj_exp(log_prob) - posterior / posterior_sum) * scale;
}

/* The smallest log-probability of a frame that counts where paths are searched. */
#define MJ_CTC_FLOOR (-1e20f)
MJ_BODY float mj_ctc_floor(float log_prob) { return mj_larger(log_prob, MJ_CTC_FLOOR); }
