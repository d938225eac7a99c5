/* Drivers of the log-softmax and of connectionist temporal classification.
 *
 * Policy. Softmax: a warp has 32 rows, brought in through shared memory; each lane sums a row of
 * its own. CTC: a block an utterance runs both passes side by side, a thread a pair of states
 * (blank i and label i, see kernels/ctc.h); then a block a frame turns its two rows into
 * posteriors and the gradient. A maximum of numbers does not depend on the order.
 */
#include "../ctc.h"
#include "driver.h"

/* visit(row within the tile, column, value) for the columns of 32 rows from `first` on, each lane
 * its own row, columns ascending. Shared memory: 32 x 33 floats at `tile`. */
template <class Visit> MJ_DEVICE void mj_by_rows(mj_i64 rows, mj_i64 columns, const float *x, mj_i64 first, float *tile, Visit visit) {
  const int lane = threadIdx.x;
  for (mj_i64 j0 = 0; j0 < columns; j0 += 32) {
    for (int r = 0; r < 32; r++) {
      if (first + r < rows && j0 + lane < columns) tile[r * 33 + lane] = x[(first + r) * columns + j0 + lane];
    }
    __syncthreads();
    if (first + lane < rows) {
      for (mj_i64 j = j0; j < mj_least(j0 + 32, columns); j++) visit(j, tile[lane * 33 + (j - j0)]);
    }
    __syncthreads();
  }
}

/* Blocks of 32 threads, one for 32 rows. Shared memory: 34 x 33 floats. */
MJ_KERNEL mj_log_softmax_rows_kernel(mj_i64 rows, mj_i64 columns, const float *x, float *out) {
  const mj_i64 first = (mj_i64)blockIdx.x * 32;
  float *tile = mj_shared, *maxima = mj_shared + 32 * 33, *log_sums = mj_shared + 33 * 33;
  const int lane = threadIdx.x;
  float max = 0.0f, total = 0.0f, acc = 0.0f;
  mj_by_rows(rows, columns, x, first, tile, [&](mj_i64 j, float v) { max = j == 0 ? v : mj_max(max, v); });
  mj_by_rows(rows, columns, x, first, tile, [&](mj_i64 j, float v) {
    acc = mj_term(acc, mj_softmax_term(v, max));
    if ((j + 1) % MJ_CHUNK == 0 || j + 1 == columns) {
      total = mj_total(j < MJ_CHUNK, total, acc);
      acc = 0.0f;
    }
  });
  maxima[lane] = max;
  log_sums[lane] = mj_softmax_log_sum(total);
  __syncthreads();
  for (int r = 0; r < 32 && first + r < rows; r++) {
    for (mj_i64 j = lane; j < columns; j += 32) {
      const mj_i64 at = (first + r) * columns + j;
      out[at] = mj_log_softmax(x[at], maxima[r], log_sums[r]);
    }
  }
}

MJ_KERNEL mj_argmax_rows_kernel(mj_i64 rows, mj_i64 columns, const float *x, mj_i32 *out) {
  mj_elements(rows, [=](mj_i64 i) {
    mj_i64 best = 0;
    for (mj_i64 j = 1; j < columns; j++) {
      if (x[i * columns + best] < x[i * columns + j]) best = j;
    }
    out[i] = (mj_i32)best;
  });
}

/* The largest over the block's threads, for all of them. Shared memory: blockDim.x floats. */
MJ_DEVICE float mj_block_max(float value) {
  const int thread = threadIdx.x;
  mj_shared[thread] = value;
  __syncthreads();
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    if (thread < half) mj_shared[thread] = mj_larger(mj_shared[thread], mj_shared[thread + half]);
    __syncthreads();
  }
  const float most = mj_shared[0];
  __syncthreads();
  return most;
}

/* One utterance's lattice. Row t of alpha and of beta: blanks b_0..b_L, then labels l_0..l_L, of
 * which l_L does not exist and is dead, as all beyond the ends. */
struct mj_lattice {
  mj_i64 T, V, L;
  const float *lp;
  const mj_i32 *label;
  float *alpha, *beta;

  MJ_DEVICE_MEMBER float *row(float *pass, mj_i64 t) const { return pass + t * 2 * (L + 1); }
  MJ_DEVICE_MEMBER float emission(mj_i64 t, mj_i64 i) const { return i < L ? lp[t * V + label[i]] : MJ_CTC_DEAD; }
  /* 0 where label i may follow label i-1 without a blank. */
  MJ_DEVICE_MEMBER float jump(mj_i64 i) const { return i > 0 && i < L && label[i] != label[i - 1] ? 0.0f : MJ_CTC_DEAD; }

  MJ_DEVICE_MEMBER void start(float *to, mj_i64 t, mj_i64 blank, mj_i64 first_label, mj_i64 i) const {
    to[i] = i == blank ? lp[t * V] : MJ_CTC_DEAD;
    to[L + 1 + i] = i == first_label && i < L ? emission(t, i) : MJ_CTC_DEAD;
  }

  MJ_DEVICE_MEMBER void forward(mj_i64 t, mj_i64 i) const {
    float *to = row(alpha, t);
    if (t == 0) {
      start(to, t, 0, 0, i);
      return;
    }
    const float *from = row(alpha, t - 1);
    const float before = i > 0 ? from[L + i] : MJ_CTC_DEAD;
    to[i] = mj_ctc_blank(from[i], before, lp[t * V]);
    to[L + 1 + i] = mj_ctc_label(from[L + 1 + i], from[i], mj_add(before, jump(i)), emission(t, i));
  }

  MJ_DEVICE_MEMBER void backward(mj_i64 t, mj_i64 i) const {
    float *to = row(beta, t);
    if (t == T - 1) {
      start(to, t, L, L - 1, i);
      return;
    }
    const float *from = row(beta, t + 1), *labels = from + L + 1;
    const float blank_after = i < L ? from[i + 1] : MJ_CTC_DEAD, label_after = i < L ? labels[i + 1] : MJ_CTC_DEAD;
    to[i] = mj_ctc_blank(from[i], labels[i], lp[t * V]);
    to[L + 1 + i] = mj_ctc_label(labels[i], blank_after, mj_add(label_after, jump(i + 1)), emission(t, i));
  }

  /* Shift a row so that its largest value is 0; the shift comes back. For all threads. */
  MJ_DEVICE_MEMBER float shift(float *of) const {
    float most = MJ_CTC_DEAD;
    for (mj_i64 i = threadIdx.x; i < 2 * (L + 1); i += blockDim.x) most = mj_larger(most, of[i]);
    const float by = mj_block_max(most);
    for (mj_i64 i = threadIdx.x; i < 2 * (L + 1); i += blockDim.x) of[i] = mj_ctc_shift(of[i], by);
    __syncthreads();
    return by;
  }
};

/* The lattice of utterance u: its alpha starts at lattices[u] of `memory`, then beta. */
MJ_DEVICE mj_lattice mj_lattice_of(mj_i64 u, const mj_i64 *offsets, mj_i64 alphabet, const float *log_probs, const mj_i64 *label_offsets, const mj_i32 *labels, const mj_i64 *lattices, float *memory) {
  mj_lattice lattice;
  lattice.T = offsets[u + 1] - offsets[u];
  lattice.V = alphabet;
  lattice.L = label_offsets[u + 1] - label_offsets[u];
  lattice.lp = log_probs + offsets[u] * alphabet;
  lattice.label = labels + label_offsets[u];
  lattice.alpha = memory + lattices[u];
  lattice.beta = lattice.row(lattice.alpha, lattice.T);
  return lattice;
}

#define MJ_LATTICE_THREADS 1024 /* at most: so a thread has 64 registers */

/* Blocks: utterances. Shared memory: blockDim.x floats; blockDim.x is a power of two. */
extern "C" __global__ void __launch_bounds__(MJ_LATTICE_THREADS)
mj_ctc_lattice_kernel(const mj_i64 *offsets, mj_i64 alphabet, const float *log_probs, const mj_i64 *label_offsets, const mj_i32 *labels, const mj_i64 *lattices, float *memory, float *losses) {
  const mj_i64 u = blockIdx.x;
  const mj_lattice lattice = mj_lattice_of(u, offsets, alphabet, log_probs, label_offsets, labels, lattices, memory);
  const mj_i64 T = lattice.T, L = lattice.L;
  float total = 0.0f, acc = 0.0f; /* canonical sum of the shifts */
  mj_i64 shifts = 0;
  for (mj_i64 t = 0; t < T; t++) { /* both passes at once: each waits for its own frame before */
    for (mj_i64 i = threadIdx.x; i <= L; i += blockDim.x) {
      lattice.forward(t, i);
      lattice.backward(T - 1 - t, i);
    }
    __syncthreads();
    if (t % MJ_CTC_SHIFT == MJ_CTC_SHIFT - 1) {
      acc = mj_term(acc, lattice.shift(lattice.row(lattice.alpha, t)));
      lattice.shift(lattice.row(lattice.beta, T - 1 - t));
      if (++shifts % MJ_CHUNK == 0) {
        total = mj_total(shifts == MJ_CHUNK, total, acc);
        acc = 0.0f;
      }
    }
  }
  if (threadIdx.x == 0) {
    if (shifts % MJ_CHUNK != 0) total = mj_total(shifts < MJ_CHUNK, total, acc);
    const float *last = lattice.row(lattice.alpha, T - 1);
    losses[u] = mj_ctc_loss(total, last[L], L > 0 ? last[2 * L] : MJ_CTC_DEAD);
  }
}

/* The canonical sum of the posteriors of label v over the states 0..count of `weight`; every
 * label where v is 0. Posteriors are never negative, so a chunk without it changes nothing. */
MJ_DEVICE float mj_label_sum(mj_i64 count, const float *weight, const mj_i32 *label, mj_i64 v) {
  float total = 0.0f;
  for (mj_i64 start = 0; start < count; start += MJ_CHUNK) {
    float acc = 0.0f;
    for (mj_i64 i = start; i < mj_least(start + MJ_CHUNK, count); i++) {
      if (v == 0 || label[i] == v) acc = mj_term(acc, weight[i]);
    }
    total = mj_total(start == 0, total, acc);
  }
  return total;
}

/* Blocks (x: frames, y: utterances). Shared memory: blockDim.x floats, a power of two of them. The
 * posteriors replace the frame's row of alpha. */
MJ_KERNEL mj_ctc_gradient_kernel(const mj_i64 *offsets, mj_i64 alphabet, const float *log_probs, const mj_i64 *label_offsets, const mj_i32 *labels, const mj_i64 *lattices, float *memory, float scale, float *gradient) {
  const mj_lattice lattice = mj_lattice_of(blockIdx.y, offsets, alphabet, log_probs, label_offsets, labels, lattices, memory);
  const mj_i64 V = alphabet, L = lattice.L;
  for (mj_i64 t = blockIdx.x; t < lattice.T; t += gridDim.x) {
    float *weight = lattice.row(lattice.alpha, t);
    const float *beta = lattice.row(lattice.beta, t), *lp = lattice.lp + t * V;
    float *row = gradient + (offsets[blockIdx.y] + t) * V;
    float most = MJ_CTC_DEAD;
    for (mj_i64 i = threadIdx.x; i < 2 * (L + 1); i += blockDim.x) {
      const float emission = i <= L ? lp[0] : lattice.emission(t, i - (L + 1));
      weight[i] = mj_ctc_posterior_log(weight[i], beta[i], emission);
      most = mj_larger(most, weight[i]);
    }
    const float top = mj_block_max(most);
    for (mj_i64 i = threadIdx.x; i < 2 * (L + 1); i += blockDim.x) weight[i] = mj_ctc_posterior(weight[i], top);
    __syncthreads();
    /* Task 0: all blanks; task 1: all labels; then each label. */
    for (mj_i64 task = threadIdx.x; task <= V; task += blockDim.x) {
      if (task == 0) {
        row[0] = mj_label_sum(L + 1, weight, lattice.label, 0);
      } else if (task == 1) {
        mj_shared[0] = mj_label_sum(L, weight + L + 1, lattice.label, 0);
      } else {
        row[task - 1] = mj_label_sum(L, weight + L + 1, lattice.label, task - 1);
      }
    }
    __syncthreads();
    const float labels_sum = mj_shared[0], sum = mj_add(row[0], labels_sum);
    __syncthreads();
    for (mj_i64 v = threadIdx.x; v < V; v += blockDim.x) row[v] = mj_ctc_gradient(lp[v], row[v], sum, scale);
    __syncthreads();
  }
}
