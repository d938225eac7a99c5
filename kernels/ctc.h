/* Connectionist temporal classification (Graves et al. 2006, sections 4.1 and 4.2).
 *
 * Policy. Logarithms, with each frame's forward and backward variables shifted so that their
 * largest is 0: values that matter stay small, so float32 keeps its precision over any number
 * of frames. The shifts are summed canonically into the loss. The gradient normalises the
 * posteriors of each frame by their own sum, so every row of it sums to nearly 0 by
 * construction. States are held as blanks b_0..b_L and labels l_0..l_{L-1} (s = 2i and 2i+1).
 */
#pragma once
#include "mj_math.h"
#include "mj_sum.h"

/* log(exp a + exp b) and log((exp a + exp b) + exp c); -infinity is the logarithm of 0. */
template <class F> MJ_BODY F mj_log_add(F a, F b) {
  const F m = mj_max(a, b);
  const F z = m == -MJ_INFINITY ? mj_splat<F>(0.0f) : m;
  return z + mj_log(mj_exp(a - z) + mj_exp(b - z));
}
template <class F> MJ_BODY F mj_log_add(F a, F b, F c) {
  const F m = mj_max(mj_max(a, b), c);
  const F z = m == -MJ_INFINITY ? mj_splat<F>(0.0f) : m;
  return z + mj_log((mj_exp(a - z) + mj_exp(b - z)) + mj_exp(c - z));
}

/* Forward variables of one frame from those of the frame before (eq. 6 and 7). */
template <class F> MJ_BODY F mj_ctc_blank(F same, F label_before, F log_prob) {
  return mj_log_add(same, label_before) + log_prob;
}
template <class F> MJ_BODY F mj_ctc_label(F same, F blank_before, F label_before, F log_prob) {
  return mj_log_add(same, blank_before, label_before) + log_prob;
}

/* Shift of a frame; a frame without any live state is left alone. */
template <class F> MJ_BODY F mj_ctc_shift(F x, F max) {
  return max == -MJ_INFINITY ? x : x - max;
}
/* The shift's own term in the logarithm of the likelihood. */
MJ_BODY float mj_ctc_shift_term(float max) { return max; }

/* Unnormalised posterior of a state: forward times backward over the emission that both hold. */
template <class F> MJ_BODY F mj_ctc_posterior_log(F forward, F backward, F log_prob) {
  return (forward + backward) - log_prob;
}
template <class F> MJ_BODY F mj_ctc_posterior(F log_posterior, F max) { return mj_exp(log_posterior - max); }

/* Loss of an utterance: minus (the shifts' sum plus the two final states). */
MJ_BODY float mj_ctc_loss(float shift_sum, float last_blank, float last_label) {
  return -(shift_sum + mj_log_add(last_blank, last_label));
}

/* Gradient by a logit: (softmax - posterior of its label) * scale. */
template <class F> MJ_BODY F mj_ctc_gradient(F log_prob, F posterior, F posterior_sum, F scale) {
  return (mj_exp(log_prob) - posterior / posterior_sum) * scale;
}
