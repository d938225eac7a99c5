/* Drivers of the log-softmax, of connectionist temporal classification and of its best alignment.
 *
 * Policy. A task is a block of rows, or one utterance with all its frames. Vectors run over rows
 * (softmax) or over states (CTC): each lane is an output of its own.
 */
#include "../ctc.h"

#include <algorithm>
#include <vector>

#include "../entry_points.h"
#include "lanes.h"
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

/* The lattice of one utterance. A frame's states stand in a row, blanks and then labels, each with
 * one dead vector before its first place (only the last lane of it is read) and dead lanes behind
 * its last:   [ .. dead | b_0 .. b_L dead .. ][ .. dead | l_0 .. l_L-1 dead .. ]
 * A lane behind the last stays dead, since its emission is. */
class Lattice {
 public:
  Lattice(int64_t frames, int64_t alphabet, const float *log_probs, int64_t labels, const int32_t *label)
      : T(frames), V(alphabet), L(labels), states(padded(labels + 1)), width(states + LEAD), lp(log_probs), label(label) {
    alpha = mj::workspace_of<float>(mj::LATTICE, (5 * T + 7) * width + T + 2 * V);
    beta = alpha + 2 * T * width;
    emit = beta + 2 * T * width + MJ_LANES; /* reading past beta's last row ends before emit */
    jump = emit + T * width, jump_back = jump + width, weights = jump_back + width;
    shifts = weights + 2 * width;
    posterior = shifts + T, chunk = posterior + V;
  }

  void run(float scale, float *loss, float *gradient) {
    prepare();
    int64_t count = 0;
    for (int64_t t = 0; t < T; t++) { /* both passes at once: each waits for its own frame before */
      forward(t);
      backward(T - 1 - t);
      if (t % MJ_CTC_SHIFT == MJ_CTC_SHIFT - 1) {
        shifts[count++] = shift(alpha + 2 * t * width);
        shift(beta + 2 * (T - 1 - t) * width);
      }
    }
    const float *last = alpha + 2 * (T - 1) * width + LEAD;
    *loss = mj_ctc_loss(mj_sum<float>(count, [&](long i) { return shifts[i]; }), last[L],
                        L > 0 ? last[width + L - 1] : MJ_CTC_DEAD);
    for (int64_t t = 0; t < T; t++) gradient_row(t, scale, gradient + t * V);
  }

 private:
  static constexpr int64_t LEAD = MJ_LANES;
  int64_t T, V, L, states, width;
  const float *lp;
  const int32_t *label;
  float *alpha, *beta, *emit, *jump, *jump_back, *weights, *shifts, *posterior, *chunk;

  static void fill(float *p, int64_t count, float value) { std::fill(p, p + count, value); }
  bool may_jump(int64_t i) const { return i > 0 && i < L && label[i] != label[i - 1]; }

  void prepare() {
    for (int64_t i = 0; i < states; i++) { /* 0 where label i may follow label i-1 without a blank */
      jump[LEAD + i] = may_jump(i) ? 0.0f : MJ_CTC_DEAD;
      jump_back[LEAD + i] = may_jump(i + 1) ? 0.0f : MJ_CTC_DEAD;
    }
    for (int64_t t = 0; t < T; t++) {
      for (int64_t half = 0; half < 2; half++) {
        fill(alpha + (2 * t + half) * width, LEAD, MJ_CTC_DEAD);
        fill(beta + (2 * t + half) * width, LEAD, MJ_CTC_DEAD);
      }
      float *row = emit + t * width + LEAD;
      for (int64_t i = 0; i < L; i++) row[i] = lp[t * V + label[i]];
      fill(row + L, states - L, MJ_CTC_DEAD);
    }
    fill(beta + 2 * T * width, MJ_LANES, MJ_CTC_DEAD);
  }

  void forward(int64_t t) {
    float *b = alpha + 2 * t * width, *l = b + width;
    if (t == 0) {
      fill(b + LEAD, states, MJ_CTC_DEAD);
      fill(l + LEAD, states, MJ_CTC_DEAD);
      b[LEAD] = lp[0];
      if (L > 0) l[LEAD] = emit[LEAD];
      return;
    }
    const float *b0 = b - 2 * width, *l0 = b - width;
    const mj_vf blank = mj_splat<mj_vf>(lp[t * V]);
    for (int64_t i = LEAD; i < width; i += MJ_LANES) {
      const mj_vf b_same = mj_load(b0 + i), l_before = mj_load(l0 + i - 1);
      mj_store(b + i, mj_ctc_blank(b_same, l_before, blank));
      mj_store(l + i, mj_ctc_label(mj_load(l0 + i), b_same, mj_add(l_before, mj_load(jump + i)),
                                   mj_load(emit + t * width + i)));
    }
  }

  void backward(int64_t t) {
    float *b = beta + 2 * t * width, *l = b + width;
    if (t == T - 1) {
      fill(b + LEAD, states, MJ_CTC_DEAD);
      fill(l + LEAD, states, MJ_CTC_DEAD);
      b[LEAD + L] = lp[t * V];
      if (L > 0) l[LEAD + L - 1] = emit[t * width + LEAD + L - 1];
      return;
    }
    const float *b1 = b + 2 * width, *l1 = b + 3 * width;
    const mj_vf blank = mj_splat<mj_vf>(lp[t * V]);
    for (int64_t i = LEAD; i < width; i += MJ_LANES) {
      const mj_vf l_same = mj_load(l1 + i);
      mj_store(b + i, mj_ctc_blank(mj_load(b1 + i), l_same, blank));
      mj_store(l + i, mj_ctc_label(l_same, mj_load(b1 + i + 1), mj_add(mj_load(l1 + i + 1), mj_load(jump_back + i)),
                                   mj_load(emit + t * width + i)));
    }
  }

  /* Shift a frame's row so that its largest value is 0; the shift comes back. */
  float shift(float *row) const {
    mj_vf most = mj_splat<mj_vf>(MJ_CTC_DEAD);
    for (int64_t i = LEAD; i < width; i += MJ_LANES) {
      most = mj_larger(most, mj_larger(mj_load(row + i), mj_load(row + width + i)));
    }
    const float max = mj::lane_max(most);
    const mj_vf by = mj_splat<mj_vf>(max);
    for (int64_t i = LEAD; i < width; i += MJ_LANES) {
      mj_store(row + i, mj_ctc_shift(mj_load(row + i), by));
      mj_store(row + width + i, mj_ctc_shift(mj_load(row + width + i), by));
    }
    return max;
  }

  void gradient_row(int64_t t, float scale, float *row) {
    const float *fb = alpha + 2 * t * width, *fl = fb + width, *bb = beta + 2 * t * width, *bl = bb + width;
    float *pb = weights, *pl = weights + width;
    const mj_vf blank = mj_splat<mj_vf>(lp[t * V]);
    mj_vf most = mj_splat<mj_vf>(MJ_CTC_DEAD);
    for (int64_t i = LEAD; i < width; i += MJ_LANES) {
      const mj_vf b = mj_ctc_posterior_log(mj_load(fb + i), mj_load(bb + i), blank);
      const mj_vf l = mj_ctc_posterior_log(mj_load(fl + i), mj_load(bl + i), mj_load(emit + t * width + i));
      mj_store(pb + i, b);
      mj_store(pl + i, l);
      most = mj_larger(most, mj_larger(b, l));
    }
    const mj_vf top = mj_splat<mj_vf>(mj::lane_max(most));
    for (int64_t i = LEAD; i < width; i += MJ_LANES) {
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
    const mj_vf sum = mj_splat<mj_vf>(mj_add(posterior[0], labels)), by = mj_splat<mj_vf>(scale);
    for (int64_t v = 0; v < V; v += MJ_LANES) {
      const mj_vf log_prob = mj::load_some(lp + t * V + v, V - v), weight = mj::load_some(posterior + v, V - v);
      mj::store_some(row + v, mj_ctc_gradient(log_prob, weight, sum, by), V - v);
    }
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

void mj_argmax_rows(int64_t rows, int64_t columns, const float *x, int32_t *out) {
  mj::parallel_blocks(rows, 256, [&](int64_t start, int64_t stop) {
    for (int64_t i = start; i < stop; i++) out[i] = (int32_t)(std::max_element(x + i * columns, x + (i + 1) * columns) - (x + i * columns));
  });
}

/* A task is a text. The best path through the states blank, label, blank ..; of equal ones that which stays in a
 * state longest. */
void mj_ctc_align(int64_t count, const int64_t *starts, const int64_t *stops, int64_t alphabet, const float *log_probs,
                  const int64_t *label_offsets, const int32_t *labels, int32_t *first, int32_t *last) {
  mj::parallel(count, [&](int64_t u) {
    const int64_t T = stops[u] - starts[u], L = label_offsets[u + 1] - label_offsets[u], S = 2 * L + 1;
    const float *lp = log_probs + starts[u] * alphabet;
    const int32_t *label = labels + label_offsets[u];
    if (L == 0 || T == 0) return;
    std::vector<float> score(S, MJ_CTC_DEAD), before(S);
    std::vector<uint8_t> came(T * S, 0); /* how many states back the path was a frame before */
    const auto emission = [&](int64_t t, int64_t i) { return mj_ctc_floor(lp[t * alphabet + (i % 2 ? label[i / 2] : 0)]); };
    score[0] = emission(0, 0);
    score[1] = emission(0, 1);
    for (int64_t t = 1; t < T; t++) {
      before.swap(score);
      for (int64_t i = 0; i < S; i++) {
        float best = before[i];
        uint8_t back = 0;
        if (i > 0 && before[i - 1] > best) best = before[i - 1], back = 1;
        const bool may_jump = i > 1 && i % 2 && label[i / 2] != label[i / 2 - 1];
        if (may_jump && before[i - 2] > best) best = before[i - 2], back = 2;
        came[t * S + i] = back;
        score[i] = mj_add(best, emission(t, i));
      }
    }
    int64_t state = score[S - 2] > score[S - 1] ? S - 2 : S - 1;
    for (int64_t t = T - 1; t >= 0; t--) {
      if (state % 2) {
        const int64_t l = label_offsets[u] + state / 2;
        if (t == T - 1 || last[l] < 0) last[l] = (int32_t)t;
        first[l] = (int32_t)t;
      }
      state -= came[t * S + state];
    }
  });
}
