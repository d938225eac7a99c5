/* Prefix beam search: how scores are added.
 *
 * Policy. Natural logarithms in float32. A prefix holds the logarithms of its paths that end in a
 * blank and of those that end in its last label; what the language model says of it stands beside
 * them, so that the probability of its paths stays exact. As in CTC, the paths of all prefixes are
 * shifted now and then so that the largest is 0. A path of probability 0 is MJ_CTC_DEAD.
 */
#pragma once
#include "ctc.h"

/* Below this there is no path; the smallest log-probability of a frame that counts is far above. */
#define MJ_BEAM_LIVE (-1e29f)

/* What a token adds: alpha * log p + beta; the model's logarithms are decimal. */
MJ_BODY float mj_beam_token(float language, float alpha, float log10_prob, float beta) {
  return language + (alpha * (log10_prob * 2.30258509f) + beta);
}
