/* The one list of all kernels: what Python may call.
 *
 * Policy. majelpy/native.py reads these prototypes to know each argument's type, so this file is
 * the only place where a signature is written. Sizes, strides and offsets count elements, not
 * bytes. Matrices are row-major with a row stride. Outputs never overlap inputs unless said.
 * `slots` is a stack of gradient vectors `slot_stride` apart: the result of each leaf is pushed,
 * then merges[leaf] times the top is added onto the one below it (majelpy/tree.py).
 *
 * Below, a heading is a family of kernels and its name in each room: kernels/NAME.h has the bodies,
 * kernels/cpu/NAME.cpp and kernels/gpu/NAME.cu the drivers, majelpy/gpu/NAME.py the launches that are more than
 * a line of majelpy/gpu/launches.py, majelpy/ops/NAME.py the callers. Sums and products have their bodies in
 * mj_sum.h. Beam search and samples are on the CPU alone; standard is the array library.
 */
#pragma once
#include <stdint.h>

extern "C" {

/* Number of threads that kernels use; 1 at the start. */
void mj_set_threads(int64_t threads);
/* Whether the calling thread does without them, so that others need not wait for it. */
void mj_set_alone(int64_t alone);

/* ---- elementwise ------------------------------------------------------------------------------- */
void mj_add_arrays(int64_t count, const float *a, const float *b, float *out);
void mj_multiply_arrays(int64_t count, const float *a, const float *b, float *out);
void mj_rectify_array(int64_t count, const float *x, float *out);
void mj_rectify_backward_array(int64_t count, const float *dy, const float *y, float *out);
/* x rounded to bfloat16, to nearest even; NaN stays (mj_sum.h). */
void mj_round_bfloat16_array(int64_t count, const float *x, float *out);
void mj_bias_rows(int64_t rows, int64_t columns, const float *x, const float *bias, float *out);
void mj_bias_rectify_rows(int64_t rows, int64_t columns, const float *x, const float *bias, float *out);
void mj_normalise_rows(int64_t rows, int64_t columns, const float *x, const float *mean, const float *scale, float *out);
/* Rows t-context..t+context of each utterance beside each other, +0 beyond its ends; utterance n
 * has the rows offsets[n]..offsets[n+1]. */
void mj_context_rows(int64_t utterances, const int64_t *offsets, int64_t features, int64_t context, const float *x, float *out);
/* For tests of mj_math.h: function 0 exp, 1 log, 2 sigmoid, 3 tanh. */
void mj_math_array(int64_t function, int64_t count, const float *x, float *out);
void mj_fma_array(int64_t count, const float *a, const float *b, const float *c, float *out);

/* ---- random ------------------------------------------------------------------------------------ */
void mj_philox_words(int64_t blocks, int64_t key, int64_t stream, uint32_t *out);
/* Uniform numbers of variance gain / fan_in around 0. */
void mj_uniform_array(int64_t count, int64_t key, int64_t stream, float gain, float fan_in, float *out);
/* Dropout of the fraction drop / 256; a number's fate depends on key, layer, epoch, the utterance's id,
 * the frame and the column, so on neither batch nor rank. The rows of utterance n begin with frame
 * starts[n], the columns with column `first`, a multiple of 16. */
void mj_dropout_rows(int64_t utterances, const int64_t *offsets, const int64_t *starts, const int64_t *ids, int64_t first, int64_t columns, int64_t key, int64_t layer, int64_t epoch, int64_t drop, const float *x, float *out);
/* Weights with a step's normal noise: they are the numbers from `first` on of the parameter with that
 * stream, of fewer than 2^34. */
void mj_noise_array(int64_t count, int64_t first, int64_t key, int64_t stream, int64_t step, float deviation, const float *weights, float *out);

/* ---- gemm -------------------------------------------------------------------------------------- */
/* c(i, j) = sum over k, in parts, of a(i, k) b(k, j), with any strides for a and b;
 * with more parts than one c_row is n. */
void mj_gemm(int64_t m, int64_t n, int64_t k, int64_t parts, const float *a, int64_t a_row, int64_t a_column, const float *b, int64_t b_row, int64_t b_column, float *c, int64_t c_row);
/* Per leaf: slots += a^T b over the leaf's rows offsets[leaf]..offsets[leaf+1]. Here and below the tree
 * keeps what it adds, and the sums, rounded to bfloat16 if `rounded` is 1; the nodes that mj_tree_sum is
 * given are kept ones. */
void mj_gemm_leaves(int64_t leaves, const int64_t *offsets, const int32_t *merges, int64_t m, int64_t n, const float *a, int64_t a_row, const float *b, int64_t b_row, float *slots, int64_t slot_stride, int64_t rounded);

/* ---- sums -------------------------------------------------------------------------------------- */
/* mj_sum_leaves: column sums per leaf. mj_tree_sum: the stack program over whole vectors. */
void mj_sum_leaves(int64_t leaves, const int64_t *offsets, const int32_t *merges, int64_t columns, const float *x, int64_t x_row, float *slots, int64_t slot_stride, int64_t rounded);
void mj_tree_sum(int64_t nodes, const int64_t *addresses, const int32_t *merges, int64_t outputs, const int64_t *output_addresses, int64_t count, int64_t rounded);
void mj_sum_rows(int64_t rows, int64_t columns, const float *x, float *out);
void mj_sum_deviations(int64_t rows, int64_t columns, const float *x, const float *center, float *out);
void mj_sum_square_deviations(int64_t rows, int64_t columns, const float *x, const float *center, float *out);
void mj_square_sum(int64_t count, const float *x, float *out);
void mj_mean_of(int64_t columns, const float *center, const float *sums, float count, float *out);
void mj_scale_of(int64_t columns, const float *sums, const float *square_sums, float count, float *out);
/* Column sums over the rows of items: item i has the rows offsets[i]..offsets[i+1] of the list `order`,
 * or these themselves where order is null; one row of out an item. */
void mj_sum_items(int64_t items, const int64_t *offsets, const int64_t *order, int64_t columns, const float *x, float *out);

/* ---- rnn --------------------------------------------------------------------------------------- */
/* Recurrent layer over whole sequences, of cell 0 (vanilla), 1 (GRU) or 2 (LSTM) with G = 1, 3 or 4 gates
 * (rnn.h), `directions` side by side, the first of them direction `first`. Column c of the C columns of a
 * unit j is (d * C + c) * hidden + j of a row for direction first + d: x, dx and ds have the G gates, kept
 * 5 columns (vanilla: none; backward reads h there), h and dy one. Weights are (directions, G * hidden,
 * hidden). Odd directions run from an utterance's last frame to its first. Sums over the hidden units are
 * cut in `parts`. An utterance with carried[u] != 0 goes on from the state initial[d][u] of frames that
 * are not here; last[d][u] is the state after its last step here, that given or +0 if there is none.
 * States, (directions, utterances, columns * hidden), are forward h, and an LSTM's c, backward ds of the
 * gates and, but for vanilla, the gradient that goes on beside the sums. ds is written for GRU only: that
 * of the others is dx. If `rounded` is 1, what enters the sums of the next step (h; backward ds) is rounded
 * to bfloat16 there, and so in the states of vanilla, of an LSTM and of backward; not in the rows, and
 * not what a unit carries for itself (a GRU's h). Weights are rounded by the caller. */
void mj_rnn_forward_rows(int64_t cell, int64_t first, int64_t directions, int64_t utterances, const int64_t *offsets, int64_t hidden, int64_t parts, int64_t rounded, const float *x, const float *weight, const int64_t *carried, const float *initial, float *h, float *kept, float *last);
void mj_rnn_backward_rows(int64_t cell, int64_t first, int64_t directions, int64_t utterances, const int64_t *offsets, int64_t hidden, int64_t parts, int64_t rounded, const float *dy, const float *weight, const float *kept, const int64_t *carried, const float *initial, float *dx, float *ds, float *last);
/* The sum of the directions' columns, (rows, hidden), and the same columns for every direction. */
void mj_sum_directions(int64_t rows, int64_t directions, int64_t hidden, const float *h, float *out);
void mj_repeat_directions(int64_t rows, int64_t directions, int64_t hidden, const float *dy, float *out);
/* One step of the first `live` utterances in the order `sorted`, longest first, of `hidden` units: their
 * states go to the rows and to state, (directions, live, hidden), backward (directions, live, G * hidden).
 * `sums`, (directions, live, G * hidden), are the recurrent sums of each gate; at step 0 there are none.
 * `own`, (directions, utterances, hidden) in that order (vanilla: none), goes on from step to step. */
void mj_rnn_forward_step(int64_t cell, int64_t directions, int64_t utterances, const int64_t *offsets, const int64_t *sorted, int64_t hidden, int64_t step, int64_t live, int64_t rounded, const float *x, const float *sums, float *own, float *state, float *h, float *kept);
void mj_rnn_backward_step(int64_t cell, int64_t directions, int64_t utterances, const int64_t *offsets, const int64_t *sorted, int64_t hidden, int64_t step, int64_t live, int64_t rounded, const float *dy, const float *kept, const float *sums, float *own, float *state, float *dx, float *ds);
/* Rows h of the previous step (in each direction's own order); at each utterance's first step the
 * carried state, whose rows are initial_row apart, or +0. */
void mj_rnn_previous_rows(int64_t first, int64_t directions, int64_t utterances, const int64_t *offsets, int64_t hidden, const float *h, const int64_t *carried, const float *initial, int64_t initial_row, float *out);

/* ---- norm -------------------------------------------------------------------------------------- */
/* Over items as mj_sum_items: the squares of x - mean; dy, and behind it dy * hat, where hat = (x - mean)
 * * rstd. mean and rstd are (leaves, columns), and leaves[i] is the leaf of item i. */
void mj_square_items(int64_t items, const int64_t *offsets, const int64_t *order, const int64_t *leaves, int64_t columns, const float *x, const float *mean, float *out);
void mj_norm_dot_items(int64_t items, const int64_t *offsets, const int64_t *order, const int64_t *leaves, int64_t columns, const float *dy, const float *x, const float *mean, const float *rstd, float *out);
/* Batch norm; leaf k has the rows offsets[k]..offsets[k+1]. means are (leaves, 2 columns): the means of
 * dy and of dy * hat. mj_running_array changes `running` in place. */
void mj_leaf_means(int64_t leaves, const int64_t *counts, int64_t columns, const float *sums, float *out);
void mj_rstd_array(int64_t count, const float *variance, float *out);
void mj_norm_rows(int64_t leaves, const int64_t *offsets, int64_t columns, const float *x, const float *mean, const float *rstd, const float *gain, const float *bias, int64_t clipped, float *out);
void mj_norm_backward_rows(int64_t leaves, const int64_t *offsets, int64_t columns, const float *dy, const float *x, const float *mean, const float *rstd, const float *gain, const float *means, float *out);
void mj_running_array(int64_t count, const float *sums, float number, float rate, float *running);
/* Layer norm, each row by its own columns; dy_hat is dy * hat. */
void mj_layer_norm_rows(int64_t rows, int64_t columns, const float *x, const float *gain, const float *bias, float *out, float *mean, float *rstd);
void mj_layer_norm_backward_rows(int64_t rows, int64_t columns, const float *dy, const float *x, const float *mean, const float *rstd, const float *gain, float *out, float *dy_hat);

/* ---- conv -------------------------------------------------------------------------------------- */
/* Convolution over frames. A position of the list is (row of the result, row of x of tap 0, first row of x
 * that may be read, the row after the last); what lies beyond is +0. Place p of a row's `positions` looks at
 * `width` features from p * step - before on, each of `channels` columns. The weight of output o, tap t,
 * feature w, channel c is weight[o * by_output + t * by_tap + w * by_feature + c * by_channel]; output o
 * of position p goes to out[row * out_row + p * out_position + o]. */
void mj_conv_rows(int64_t count, const int64_t *list, int64_t taps, int64_t width, int64_t features, int64_t channels, int64_t positions, int64_t step, int64_t before, const float *x, int64_t outputs, const float *weight, int64_t by_output, int64_t by_tap, int64_t by_feature, int64_t by_channel, float *out, int64_t out_row, int64_t out_position);
/* The gradient by the weight, (items, outputs, taps, width, channels), from dy, (rows, positions, outputs);
 * item i has the positions offsets[i]..offsets[i+1] of the list. */
void mj_conv_weight_items(int64_t items, const int64_t *offsets, const int64_t *list, int64_t taps, int64_t width, int64_t features, int64_t channels, int64_t positions, int64_t step, int64_t before, const float *x, int64_t outputs, const float *dy, float *out);
/* Row convolution: row i is the sum over k < terms of weight row k times x row first + k * step, where
 * (first, terms) is position i of the list; and its gradient by the weight, (items, taps, columns), where a
 * position is (row of dy, row of x of tap 0, terms), and taps beyond the terms are +0. */
void mj_row_conv_rows(int64_t rows, const int64_t *list, int64_t step, int64_t columns, const float *x, const float *weight, float *out);
void mj_row_conv_weight_items(int64_t items, const int64_t *offsets, const int64_t *list, int64_t taps, int64_t columns, const float *dy, const float *x, float *out);

/* ---- ctc --------------------------------------------------------------------------------------- */
/* Log-softmax of rows; the index of the first largest value of each. */
void mj_log_softmax_rows(int64_t rows, int64_t columns, const float *x, float *out);
void mj_argmax_rows(int64_t rows, int64_t columns, const float *x, int32_t *out);
/* Labels of utterance n are labels[label_offsets[n]..]; the gradient is by the logits and multiplied by
 * `scale`. */
void mj_ctc(int64_t utterances, const int64_t *offsets, int64_t alphabet, const float *log_probs, const int64_t *label_offsets, const int32_t *labels, float scale, float *losses, float *gradient);
/* First and last frame of each label on the best path through the rows starts[u]..stops[u]; they are
 * -1 at the call. */
void mj_ctc_align(int64_t count, const int64_t *starts, const int64_t *stops, int64_t alphabet, const float *log_probs, const int64_t *label_offsets, const int32_t *labels, int32_t *first, int32_t *last);

/* ---- beam -------------------------------------------------------------------------------------- */
/* Prefix beam search: the `best` texts of each utterance, (utterances, best, width) labels with their
 * lengths (-1: there are no more) and scores log p + alpha log p_lm + beta tokens + penalty unknown words. A frame offers the
 * fewest labels, at most `most`, of the share of its probability. Tokens are the characters where
 * these are given, and otherwise the words between labels `space`; see kernels/cpu/beam.cpp. The model is the
 * trie, or the function `ask` (float of int64_t, int32_t, int32_t *; any thread may call it), or none. */
void mj_beam_search(int64_t utterances, const int64_t *offsets, int64_t alphabet, const float *log_probs, int64_t beam, int64_t most, float share, int64_t space, float alpha, float beta, float penalty, const int32_t *characters, int64_t words, const int64_t *word_offsets, const int32_t *word_labels, const int32_t *word_tokens, int64_t entries, int64_t start, int64_t unknown, int64_t end, const int64_t *first, const int32_t *token, const int32_t *suffix, const int32_t *next, const float *log10_prob, const float *backoff, const void *ask, int64_t best, int64_t width, int32_t *lengths, int32_t *labels, float *scores);

/* ---- spectrogram ------------------------------------------------------------------------------- */
/* Frame t covers samples t*hop..t*hop+window; features = window/2 + 1. */
void mj_spectrogram(int64_t frames, int64_t window, int64_t hop, const float *samples, float *out);

/* ---- samples ----------------------------------------------------------------------------------- */
/* Samples of sound (samples.h), for loaders, which run on CPUs: no GPU has these. Speed is the ratio
 * over / under: output i is the input at i * over / under, +0 beyond its ends. Levels lie between `low`
 * and `high` decibels by the 32 bits: of a gain, or of the sound by the noise that is added, which goes on
 * from `start` and begins again at its end. */
void mj_samples_of(int64_t count, const int16_t *pcm, float *out);
void mj_pcm_of(int64_t count, const float *samples, int16_t *out);
void mj_change_speed(int64_t count, const float *samples, int64_t over, int64_t under, int64_t outputs, float *out);
void mj_change_level(int64_t count, const float *samples, float low, float high, int64_t bits, float *out);
void mj_add_noise(int64_t count, const float *samples, int64_t length, const float *noise, int64_t start, float low, float high, int64_t bits, float *out);

/* ---- optim ------------------------------------------------------------------------------------- */
/* Parameters and states are changed in place. */
void mj_norm_and_factor(const float *square_sum, float limit, float *norm, float *factor);
void mj_learning_rate_at(float rate, float anneal, int64_t epoch, int64_t hold, int64_t step, int64_t warmup, float *out);
void mj_nesterov_array(int64_t count, float *parameters, float *velocities, const float *gradients, const float *factor, const float *rate, float momentum, float decay);
/* mj_moment_weights: what the first `step` gradients weigh in Adam's two averages, for mj_adam_array. */
void mj_moment_weights(int64_t step, float beta1, float beta2, float *weights);
void mj_adam_array(int64_t count, float *parameters, float *first_moments, float *second_moments, const float *gradients, const float *factor, const float *rate, const float *weights, float beta1, float beta2, float epsilon, float decay);
void mj_adagrad_array(int64_t count, float *parameters, float *squares, const float *gradients, const float *factor, const float *rate, float epsilon, float decay);

/* ---- standard ---------------------------------------------------------------------------------- */
/* Array library (standard*.h). `type` is 0 float32, 1 float64; `function` counts the names in
 * majelpy/memory/numbering.py. A step is 1, or 0 for an operand that is one number. On a GPU each pointer
 * below is an address on the GPU, those to integers and to uint8_t too. */
void mj_unary(int64_t function, int64_t type, int64_t count, const void *x, void *out);
void mj_binary(int64_t function, int64_t type, int64_t count, const void *a, int64_t a_step, const void *b, int64_t b_step, void *out);
/* Comparisons and classes of numbers give 1 or 0. */
void mj_compare(int64_t function, int64_t type, int64_t count, const void *a, int64_t a_step, const void *b, int64_t b_step, uint8_t *out);
void mj_classify(int64_t function, int64_t type, int64_t count, const void *x, uint8_t *out);
/* Each number as an unsigned integer of its size, in whose order numbers are sorted: -0 equals +0, all
 * NaN are equal and last. */
void mj_order_key(int64_t type, int64_t count, const void *x, void *out);
/* Conversions; types as in majelpy/memory/numbering.py. */
void mj_cast(int64_t from, int64_t to, int64_t count, const void *x, void *out);
/* Along the middle axis of (outer, n, inner): sum, product, largest, smallest; the same cumulated
 * (sum, product only); sum of the squares of the deviations from (outer, inner) means. */
void mj_reduce(int64_t function, int64_t type, int64_t outer, int64_t n, int64_t inner, const void *x, void *out);
void mj_cumulate(int64_t function, int64_t type, int64_t outer, int64_t n, int64_t inner, const void *x, void *out);
void mj_reduce_squares(int64_t type, int64_t outer, int64_t n, int64_t inner, const void *x, const void *means, void *out);
/* Products of float64 matrices, and of rows with rows (one sum each). */
void mj_gemm_double(int64_t m, int64_t n, int64_t k, const void *a, const void *b, void *c);
void mj_dot_rows(int64_t type, int64_t rows, int64_t n, const void *a, const void *b, void *out);

/* Random numbers by key (standard_random.h): a key is (key, stream). Words of 64 bits; numbers in
 * [ends[0], ends[1]); standard normal numbers; integers from `low` on, `span` of them (0: 2^64); 1 for
 * `heads` of 2^53 values, else 0. The children of a key from number `first` on, two words each, are on the
 * host: no GPU makes keys. */
void mj_random_bits(int64_t count, int64_t key, int64_t stream, uint64_t *out);
void mj_random_uniform(int64_t type, int64_t count, int64_t key, int64_t stream, const void *ends, void *out);
void mj_random_normal(int64_t type, int64_t count, int64_t key, int64_t stream, void *out);
void mj_random_integers(int64_t count, int64_t key, int64_t stream, int64_t low, int64_t span, int64_t *out);
void mj_random_coins(int64_t count, int64_t key, int64_t stream, int64_t heads, uint8_t *out);
void mj_random_keys(int64_t count, int64_t key, int64_t stream, int64_t first, uint64_t *out);
}
