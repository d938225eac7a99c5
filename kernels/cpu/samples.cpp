/* Drivers of the bodies for samples of sound.
 *
 * Policy. The calling thread does all: several utterances at a time, not parts of one, keep the
 * threads of a loader busy.
 */
#include "../samples.h"

#include <algorithm>
#include <vector>

#include "../entry_points.h"

void mj_samples_of(int64_t count, const int16_t *pcm, float *out) {
  for (int64_t i = 0; i < count; i++) out[i] = mj_sample(pcm[i]);
}

void mj_pcm_of(int64_t count, const float *samples, int16_t *out) {
  for (int64_t i = 0; i < count; i++) out[i] = (int16_t)mj_pcm(samples[i]);
}

/* Outputs that are `under` apart lie in the same place between inputs that are `over` apart. So inputs are
 * dealt out to `over` rows, and lanes are such outputs: each tap is one number for all of them, and their
 * inputs are neighbours in a row. */
void mj_change_speed(int64_t count, const float *samples, int64_t over, int64_t under, int64_t outputs, float *out) {
  constexpr int64_t taps = 2 * MJ_SINC_HALF, before = MJ_SINC_HALF - 1;
  const int64_t width = (before + count + taps) / over + 2 * MJ_LANES;
  std::vector<float> rows(over * width, 0.0f);
  for (int64_t i = before; i < before + count; i++) rows[i % over * width + i / over] = samples[i - before];
  for (int64_t first = 0; first < std::min(under, outputs); first++) {
    const int64_t at = first * over / under, phase = first * over % under;
    float weight[taps];
    const float *from[taps];
    for (int64_t tap = 0; tap < taps; tap++) {
      weight[tap] = mj_sinc_tap((mj_i32)((tap - before) * under - phase), (mj_i32)over, (mj_i32)under);
      from[tap] = rows.data() + (at + tap) % over * width + (at + tap) / over;
    }
    const int64_t turns = (outputs - first + under - 1) / under;
    for (int64_t turn = 0; turn < turns; turn += MJ_LANES) {
      mj_vf acc = mj_splat<mj_vf>(0.0f);
      for (int64_t tap = 0; tap < taps; tap++) {
        acc = mj_term_product(acc, mj_load(from[tap] + turn), mj_splat<mj_vf>(weight[tap]));
      }
      for (int64_t lane = 0; lane < std::min<int64_t>(MJ_LANES, turns - turn); lane++) {
        out[first + (turn + lane) * under] = acc[lane];
      }
    }
  }
}

void mj_change_level(int64_t count, const float *samples, float low, float high, int64_t bits, float *out) {
  const float factor = mj_amplitude(mj_level(low, high, (mj_u32)bits));
  for (int64_t i = 0; i < count; i++) out[i] = mj_mul(samples[i], factor);
}

void mj_add_noise(int64_t count, const float *samples, int64_t length, const float *noise, int64_t start, float low,
                  float high, int64_t bits, float *out) {
  std::vector<float> under(count);
  for (int64_t i = 0, at = start; i < count; i++, at = at + 1 < length ? at + 1 : 0) under[i] = noise[at];
  float squares, noise_squares;
  mj_square_sum(count, samples, &squares);
  mj_square_sum(count, under.data(), &noise_squares);
  const float factor = mj_noise_factor(squares, noise_squares, mj_amplitude(mj_level(low, high, (mj_u32)bits)));
  for (int64_t i = 0; i < count; i++) out[i] = mj_noisy(samples[i], under[i], factor);
}
