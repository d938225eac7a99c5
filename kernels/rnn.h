/* One time step of one unit of a recurrent layer, in three cells: vanilla, GRU and LSTM.
 *
 * Policy. Each gate has its own canonical sum over the hidden units of the previous step (`sums`,
 * backward one sum over the units for each gate), and at an utterance's first step there is none:
 * the vanilla cell then leaves the term out, the others take +0 for the sums and for what the unit
 * carries from step to step (`own`: GRU h, LSTM c; backward the gradient that goes to the step
 * before beside the sums). x_t holds W_ih's product and the bias. Steps run forward or backward over
 * an utterance's own frames; padding does not exist.
 *
 * What enters a sum is rounded to bfloat16 if a recipe's model.precision says so (mj_kept, mj_sum.h):
 * drivers do so where a step's states are stored for the next.
 *
 * A cell's numbers: gates; what forward keeps of a unit for backward (for the vanilla cell h itself,
 * which is the output); what it carries on forward (h, and an LSTM's c), where backward it is ds of
 * the gates and `own`; whether it has `own`; whether the gradients by the sums, ds, are not those by
 * x, dx. Gates lie in PyTorch's order.
 */
#pragma once
#include "elementwise.h"
#include "mj_math.h"

/* The sum over the units of all gates is that of the gates' sums, in their order. */
template <int GATES, class F> MJ_BODY F mj_sum_of_gates(const F *sums) {
  F total = sums[0];
  for (int g = 1; g < GATES; g++) total = total + sums[g];
  return total;
}

/* The slope of a sigmoid and of a tanh, from its value. */
template <class F> MJ_BODY F mj_sigmoid_slope(F y) { return mj_fma(-y, y, y); }
template <class F> MJ_BODY F mj_tanh_slope(F y) { return mj_fma(-y, y, mj_splat<F>(1.0f)); }

/* h_t = clip(x_t + s) with a clipped rectifier (Hannun et al. 2014, eq. 2-3), s = W h_{t-1}. */
struct mj_rnn {
  static const int gates = 1, kept = 1, carried = 1;
  static const bool own = false, apart = false;
  template <class F> MJ_BODY F forward(const F *x, const F *sums, F &, F *) { return mj_rectify(x[0] + sums[0]); }
  template <class F> MJ_BODY F forward_first(const F *x, F &, F *) { return mj_rectify(x[0]); }
  /* The gradient before the rectifier: (dy_t + W^T d_{t+1}) where h_t is inside (0, 20). */
  template <class F> MJ_BODY void backward(F dy, const F *sums, F &, const F *h, F *dx, F *) {
    dx[0] = mj_rectify_backward(dy + sums[0], h[0]);
  }
  template <class F> MJ_BODY void backward_first(F dy, F &, const F *h, F *dx, F *) {
    dx[0] = mj_rectify_backward(dy, h[0]);
  }
};

/* A cell whose first step is any other with zeros. */
template <class Cell> struct mj_gated : Cell {
  template <class F> MJ_BODY F forward_first(const F *x, F &own, F *kept) {
    F sums[Cell::gates];
    for (int g = 0; g < Cell::gates; g++) sums[g] = mj_splat<F>(0.0f);
    own = mj_splat<F>(0.0f);
    return Cell::forward(x, sums, own, kept);
  }
  template <class F> MJ_BODY void backward_first(F dy, F &own, const F *kept, F *dx, F *ds) {
    F sums[Cell::gates];
    for (int g = 0; g < Cell::gates; g++) sums[g] = mj_splat<F>(0.0f);
    own = mj_splat<F>(0.0f);
    Cell::backward(dy, sums, own, kept, dx, ds);
  }
};

/* r, z = sigmoid(x + s); n = tanh(x_n + r s_n); h_t = (1 - z) n + z h_{t-1}: the reset gate acts on the
 * product, as in Amodei et al. 2016 (Deep Speech 2), cuDNN and PyTorch. Kept: r, z, n, s_n, h_{t-1}. */
struct mj_gru_cell {
  static const int gates = 3, kept = 5, carried = 1;
  static const bool own = true, apart = true;
  template <class F> MJ_BODY F forward(const F *x, const F *sums, F &h, F *keep) {
    const F r = mj_sigmoid(x[0] + sums[0]), z = mj_sigmoid(x[1] + sums[1]);
    const F n = mj_tanh(mj_fma(r, sums[2], x[2]));
    keep[0] = r, keep[1] = z, keep[2] = n, keep[3] = sums[2], keep[4] = h;
    return h = mj_fma(z, h, (1.0f - z) * n);
  }
  template <class F> MJ_BODY void backward(F dy, const F *sums, F &direct, const F *keep, F *dx, F *ds) {
    const F r = keep[0], z = keep[1], n = keep[2];
    const F dh = (dy + mj_sum_of_gates<gates>(sums)) + direct;
    dx[2] = dh * (1.0f - z) * mj_tanh_slope(n);
    dx[0] = ds[0] = dx[2] * keep[3] * mj_sigmoid_slope(r);
    dx[1] = ds[1] = dh * (keep[4] - n) * mj_sigmoid_slope(z);
    ds[2] = dx[2] * r;
    direct = dh * z;
  }
};
typedef mj_gated<mj_gru_cell> mj_gru;

/* i, f, o = sigmoid(x + s), g = tanh(x + s); c_t = f c_{t-1} + i g; h_t = o tanh(c_t), without peepholes
 * (Hochreiter and Schmidhuber 1997; Gers et al. 2000). Kept: i, f, g, o, c_{t-1}. */
struct mj_lstm_cell {
  static const int gates = 4, kept = 5, carried = 2;
  static const bool own = true, apart = false;
  template <class F> MJ_BODY F state(const F *keep) { return mj_fma(keep[1], keep[4], keep[0] * keep[2]); }
  template <class F> MJ_BODY F forward(const F *x, const F *sums, F &c, F *keep) {
    keep[0] = mj_sigmoid(x[0] + sums[0]), keep[1] = mj_sigmoid(x[1] + sums[1]);
    keep[2] = mj_tanh(x[2] + sums[2]), keep[3] = mj_sigmoid(x[3] + sums[3]), keep[4] = c;
    c = state(keep);
    return keep[3] * mj_tanh(c);
  }
  template <class F> MJ_BODY void backward(F dy, const F *sums, F &direct, const F *keep, F *dx, F *) {
    const F i = keep[0], f = keep[1], g = keep[2], o = keep[3], y = mj_tanh(state(keep));
    const F dh = dy + mj_sum_of_gates<gates>(sums);
    const F dc = mj_fma(dh * o, mj_tanh_slope(y), direct);
    dx[0] = dc * g * mj_sigmoid_slope(i);
    dx[1] = dc * keep[4] * mj_sigmoid_slope(f);
    dx[2] = dc * i * mj_tanh_slope(g);
    dx[3] = dh * y * mj_sigmoid_slope(o);
    direct = dc * f;
  }
};
typedef mj_gated<mj_lstm_cell> mj_lstm;
