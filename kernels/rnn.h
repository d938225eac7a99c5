/* One time step of a vanilla recurrent layer with clipped rectifier (Hannun et al. 2014, eq. 2-3).
 *
 * Policy. `recurrent` is the canonical sum over the hidden units of the previous step; at the
 * first step of an utterance there is none and the term is left out. Steps run forward or
 * backward over an utterance's own frames; padding does not exist.
 */
#pragma once
#include "elementwise.h"

/* h_t = clip(x_t + W_hh h_{t-1}); x_t holds W_ih's product and the bias. */
template <class F> MJ_BODY F mj_rnn_forward(F x, F recurrent) { return mj_clip(x + recurrent); }
template <class F> MJ_BODY F mj_rnn_forward_first(F x) { return mj_clip(x); }

/* The gradient before the rectifier: (dy_t + W_hh^T d_{t+1}) where h_t is inside (0, 20). */
template <class F> MJ_BODY F mj_rnn_backward(F dy, F recurrent, F h) { return mj_clip_backward(dy + recurrent, h); }
template <class F> MJ_BODY F mj_rnn_backward_first(F dy, F h) { return mj_clip_backward(dy, h); }
