/* Driver of the best alignment of labels with frames.
 *
 * Policy. A task is a text. The best path through the states blank, label, blank ..; of equal ones
 * that which stays in a state longest.
 */
#include "../beam.h"

#include <vector>

#include "../entry_points.h"
#include "threads.h"

void mj_ctc_align(int64_t count, const int64_t *starts, const int64_t *stops, int64_t alphabet, const float *log_probs,
                  const int64_t *label_offsets, const int32_t *labels, int32_t *first, int32_t *last) {
  mj::parallel(count, [&](int64_t u) {
    const int64_t T = stops[u] - starts[u], L = label_offsets[u + 1] - label_offsets[u], S = 2 * L + 1;
    const float *lp = log_probs + starts[u] * alphabet;
    const int32_t *label = labels + label_offsets[u];
    if (L == 0 || T == 0) return;
    std::vector<float> score(S, MJ_CTC_DEAD), before(S);
    std::vector<uint8_t> came(T * S, 0); /* how many states back the path was a frame before */
    const auto emission = [&](int64_t t, int64_t i) { return mj_beam_floor(lp[t * alphabet + (i % 2 ? label[i / 2] : 0)]); };
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
