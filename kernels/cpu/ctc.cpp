/* Drivers of the log-softmax and of connectionist temporal classification.
 *
 * Policy. A task is a block of rows, or one utterance with all its frames. Vectors run over rows
 * (softmax) or over states (CTC): each lane is an output of its own.
 */
#include "../ctc.h"

#include <algorithm>

#include "../entry_points.h"
#include "../softmax.h"
#include "threads.h"

namespace {

/* Rows are lanes; a block at the end of the matrix repeats its last row in the spare lanes. */
void log_softmax_block(int64_t rows, int64_t columns, const float *x, float *out) {
  const auto at = [&](int64_t j) {
    mj_vf v;
    for (int lane = 0; lane < MJ_LANES; lane++) v[lane] = x[std::min<int64_t>(lane, rows - 1) * columns + j];
    return v;
  };
  mj_vf max = at(0);
  for (int64_t j = 1; j < columns; j++) max = mj_max(max, at(j));
  const mj_vf log_sum = mj_softmax_log_sum(mj_sum<mj_vf>(columns, [&](long j) { return mj_softmax_term(at(j), max); }));
  for (int64_t j = 0; j < columns; j++) {
    const mj_vf y = mj_log_softmax(at(j), max, log_sum);
    for (int64_t lane = 0; lane < rows; lane++) out[lane * columns + j] = y[lane];
  }
}

int64_t padded(int64_t count) { return (count + MJ_LANES - 1) / MJ_LANES * MJ_LANES; }

/* The lattice of one utterance. A row of states is stored with -infinity before its first place
 * and up to a whole vector after its last:   [-inf | b_0 .. b_L -inf..] and [-inf | l_0 .. l_L-1 -inf ..]. */
class Lattice {
 public:
  Lattice(int64_t frames, int64_t alphabet, const float *log_probs, int64_t labels, const int32_t *label)
      : T(frames), V(alphabet), L(labels), width(padded(labels + 1) + MJ_LANES), lp(log_probs), label(label) {
    float *memory = mj::workspace_of<float>(mj::LATTICE, (3 * T + 10) * width + T + 2 * V);
    alpha_b = memory, alpha_l = alpha_b + (T + 1) * width;
    emit_l = alpha_l + (T + 1) * width;
    beta = emit_l + T * width; /* two frames of blanks and labels */
    jump = beta + 4 * width, jump_back = jump + width, weights = jump_back + width;
    shifts = weights + 2 * width;
    posterior = shifts + T, chunk = posterior + V;
  }

  void run(float scale, float *loss, float *gradient) {
    prepare();
    forward();
    *loss = mj_ctc_loss(mj_sum<float>(T, [&](long t) { return mj_ctc_shift_term(shifts[t]); }),
                        alpha_b[T * width + MJ_LANES + L], L > 0 ? alpha_l[T * width + MJ_LANES + L - 1] : -MJ_INFINITY);
    backward(scale, gradient);
  }

 private:
  static constexpr int64_t LEAD = MJ_LANES; /* places before state 0, only the last of them is read */
  int64_t T, V, L, width;
  const float *lp;
  const int32_t *label;
  float *alpha_b, *alpha_l, *emit_l, *beta, *jump, *jump_back, *weights, *shifts, *posterior, *chunk;

  static void fill(float *p, int64_t count, float value) { std::fill(p, p + count, value); }
  bool may_jump(int64_t i) const { return i > 0 && i < L && label[i] != label[i - 1]; }
  int64_t state_vectors() const { return padded(L + 1); }

  void prepare() {
    fill(alpha_b, 2 * (T + 1) * width, -MJ_INFINITY);
    fill(beta, 4 * width, -MJ_INFINITY);
    for (int64_t i = 0; i + LEAD < width; i++) { /* 0 where label i may follow label i-1 without a blank */
      jump[LEAD + i] = may_jump(i) ? 0.0f : -MJ_INFINITY;
      jump_back[LEAD + i] = may_jump(i + 1) ? 0.0f : -MJ_INFINITY;
    }
    for (int64_t t = 0; t < T; t++) {
      float *row = emit_l + t * width;
      fill(row, width, -MJ_INFINITY);
      for (int64_t i = 0; i < L; i++) row[LEAD + i] = lp[t * V + label[i]];
    }
  }

  /* Shift a frame's two rows so that their largest value is 0; the shift comes back. */
  float shift(float *b, float *l) const {
    mj_vf most = mj_splat<mj_vf>(-MJ_INFINITY);
    for (int64_t i = LEAD; i < LEAD + state_vectors(); i += MJ_LANES) most = mj_max(most, mj_max(mj_load(b + i), mj_load(l + i)));
    float max = most[0];
    for (int lane = 1; lane < MJ_LANES; lane++) max = mj_max(max, most[lane]);
    const mj_vf by = mj_splat<mj_vf>(max);
    for (int64_t i = LEAD; i < LEAD + state_vectors(); i += MJ_LANES) {
      mj_store(b + i, mj_ctc_shift(mj_load(b + i), by));
      mj_store(l + i, mj_ctc_shift(mj_load(l + i), by));
    }
    return max;
  }

  /* A lane past the last state would come alive through its live neighbour: keep it dead. */
  void bury(float *b, float *l) const {
    fill(b + LEAD + L + 1, width - LEAD - L - 1, -MJ_INFINITY);
    fill(l + LEAD + L, width - LEAD - L, -MJ_INFINITY);
  }

  /* Row t + 1 of alpha belongs to frame t; row 0 is the state before any frame: at blank 0. */
  void forward() {
    for (int64_t t = 0; t < T; t++) {
      const float *b0 = alpha_b + t * width, *l0 = alpha_l + t * width;
      float *b = alpha_b + (t + 1) * width, *l = alpha_l + (t + 1) * width;
      if (t == 0) {
        b[LEAD] = lp[0];
        if (L > 0) l[LEAD] = emit_l[LEAD];
      } else {
        const mj_vf blank = mj_splat<mj_vf>(lp[t * V]);
        for (int64_t i = LEAD; i < LEAD + state_vectors(); i += MJ_LANES) {
          const mj_vf l_before = mj_load(l0 + i - 1);
          mj_store(b + i, mj_ctc_blank(mj_load(b0 + i), l_before, blank));
          mj_store(l + i, mj_ctc_label(mj_load(l0 + i), mj_load(b0 + i), mj_add(l_before, mj_load(jump + i)),
                                       mj_load(emit_l + t * width + i)));
        }
        bury(b, l);
      }
      shifts[t] = shift(b, l);
    }
  }

  /* Backward variables include their own frame's emission, as the forward ones do. */
  void backward(float scale, float *gradient) {
    float *b = beta, *l = beta + width, *b1 = beta + 2 * width, *l1 = beta + 3 * width; /* b1, l1: frame t + 1 */
    for (int64_t t = T - 1; t >= 0; t--) {
      const mj_vf blank = mj_splat<mj_vf>(lp[t * V]);
      if (t == T - 1) {
        b[LEAD + L] = lp[t * V];
        if (L > 0) l[LEAD + L - 1] = emit_l[t * width + LEAD + L - 1];
      } else {
        for (int64_t i = LEAD; i < LEAD + state_vectors(); i += MJ_LANES) {
          const mj_vf l_same = mj_load(l1 + i);
          mj_store(b + i, mj_ctc_blank(mj_load(b1 + i), l_same, blank));
          mj_store(l + i, mj_ctc_label(l_same, mj_load(b1 + i + 1), mj_add(mj_load(l1 + i + 1), mj_load(jump_back + i)),
                                       mj_load(emit_l + t * width + i)));
        }
        bury(b, l);
      }
      shift(b, l);
      gradient_row(t, b, l, scale, gradient + t * V);
      std::swap(b, b1);
      std::swap(l, l1);
    }
  }

  void gradient_row(int64_t t, const float *b, const float *l, float scale, float *row) {
    const float *fb = alpha_b + (t + 1) * width, *fl = alpha_l + (t + 1) * width;
    float *pb = weights, *pl = weights + width;
    const mj_vf blank = mj_splat<mj_vf>(lp[t * V]);
    mj_vf most = mj_splat<mj_vf>(-MJ_INFINITY);
    for (int64_t i = LEAD; i < LEAD + state_vectors(); i += MJ_LANES) {
      const mj_vf emitted = mj_load(emit_l + t * width + i);
      const mj_vf live = emitted == -MJ_INFINITY ? mj_splat<mj_vf>(0.0f) : emitted;
      mj_store(pb + i, mj_ctc_posterior_log(mj_load(fb + i), mj_load(b + i), blank));
      mj_store(pl + i, mj_ctc_posterior_log(mj_load(fl + i), mj_load(l + i), live));
      most = mj_max(most, mj_max(mj_load(pb + i), mj_load(pl + i)));
    }
    float max = most[0];
    for (int lane = 1; lane < MJ_LANES; lane++) max = mj_max(max, most[lane]);
    const mj_vf top = mj_splat<mj_vf>(max);
    for (int64_t i = LEAD; i < LEAD + state_vectors(); i += MJ_LANES) {
      mj_store(pb + i, mj_ctc_posterior(mj_load(pb + i), top));
      mj_store(pl + i, mj_ctc_posterior(mj_load(pl + i), top));
    }
    fill(posterior, V, 0.0f);
    posterior[0] = mj_sum<float>(L + 1, [&](long i) { return pb[LEAD + i]; });
    /* Labels, each its own canonical sum over the states in order: a chunk's sums by label, then
     * onto the totals. Posteriors are never negative, so adding +0 changes nothing. */
    for (int64_t start = 0; start < L; start += MJ_CHUNK) {
      const int64_t stop = std::min<int64_t>(start + MJ_CHUNK, L);
      for (int64_t i = start; i < stop; i++) chunk[label[i]] = 0.0f;
      for (int64_t i = start; i < stop; i++) chunk[label[i]] = mj_term(chunk[label[i]], pl[LEAD + i]);
      for (int64_t i = start; i < stop; i++) { /* a label that comes again finds +0 left to add */
        posterior[label[i]] = mj_total(false, posterior[label[i]], chunk[label[i]]);
        chunk[label[i]] = 0.0f;
      }
    }
    const float labels = mj_sum<float>(L, [&](long i) { return pl[LEAD + i]; });
    const float sum = mj_add(posterior[0], labels);
    const mj_vf sum_v = mj_splat<mj_vf>(sum), scale_v = mj_splat<mj_vf>(scale);
    int64_t v = 0;
    for (; v + MJ_LANES <= V; v += MJ_LANES) {
      mj_store(row + v, mj_ctc_gradient(mj_load(lp + t * V + v), mj_load(posterior + v), sum_v, scale_v));
    }
    for (; v < V; v++) row[v] = mj_ctc_gradient(lp[t * V + v], posterior[v], sum, scale);
  }
};

}  // namespace

void mj_log_softmax_rows(int64_t rows, int64_t columns, const float *x, float *out) {
  mj::parallel_blocks(rows, 8 * MJ_LANES, [&](int64_t start, int64_t stop) {
    for (int64_t i = start; i < stop; i += MJ_LANES) {
      log_softmax_block(std::min<int64_t>(MJ_LANES, stop - i), columns, x + i * columns, out + i * columns);
    }
  });
}

void mj_ctc(int64_t utterances, const int64_t *offsets, int64_t alphabet, const float *log_probs,
            const int64_t *label_offsets, const int32_t *labels, float scale, float *losses, float *gradient) {
  mj::parallel(utterances, [&](int64_t u) {
    Lattice lattice(offsets[u + 1] - offsets[u], alphabet, log_probs + offsets[u] * alphabet,
                    label_offsets[u + 1] - label_offsets[u], labels + label_offsets[u]);
    lattice.run(scale, losses + u, gradient + offsets[u] * alphabet);
  });
}
