/* Drivers of the convolutions over frames.
 *
 * Policy. Frames that a block of outputs sees are copied with their borders of +0, so that the patch of
 * a position is one run of columns a tap and neighbouring positions are a fixed number of columns apart: a
 * tile (tile.h) reads patches where they lie. A chunk of terms is cut where it passes from a frame to
 * the next; the tile's sums go on.
 *
 *   window   0 0 | frame t0     | 0 0        terms of position p, tap 0: columns p*step .. p*step + width
 *            0 0 | frame t0 + 1 | 0 0                          tap 1: the same columns of the next row
 */
#include <string.h>

#include <algorithm>
#include <vector>

#include "../entry_points.h"
#include "items.h"
#include "tile.h"

namespace {

using mj::COLUMNS;

constexpr int64_t BLOCK = 8; /* rows of outputs of a task: their frames fit a level-2 cache */

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Place {
  int64_t row, first, low, high;
};

struct Input {
  const float *x;
  int64_t taps, width, features, channels, positions, step, before;

  int64_t run() const { return width * channels; } /* terms of a tap */
  int64_t terms() const { return taps * run(); }
  int64_t apart() const { return step * channels; } /* columns from a position to the next */
};

/* Frames of a block of outputs with their borders; output i has them from at(i) on, a row a tap. */
class Window {
 public:
  const int64_t row; /* columns of a frame */

  Window(const Input &input, const Place *list, int64_t count)
      : row((input.positions - 1) * input.apart() + input.run()), starts_(count) {
    int64_t lines = 0;
    for (int64_t i = 0; i < count; i++) {
      const Place &now = list[i], &last = list[i > 0 ? i - 1 : 0];
      const int64_t ahead = now.first - last.first;
      const bool goes_on = i > 0 && now.low == last.low && now.high == last.high && ahead >= 0 && ahead < input.taps;
      starts_[i] = goes_on ? starts_[i - 1] + ahead : lines;
      lines = std::max(lines, starts_[i] + input.taps);
    }
    /* A tile may read, and not use, some columns more than there are. */
    data_ = mj::workspace_of<float>(mj::PACKED_A, lines * row + COLUMNS);
    memset(data_ + lines * row, 0, COLUMNS * sizeof(float));
    int64_t line = 0;
    for (int64_t i = 0; i < count; i++) {
      for (; line < starts_[i] + input.taps; line++) {
        const int64_t frame = list[i].first + line - starts_[i];
        const bool there = frame >= list[i].low && frame < list[i].high;
        copy(input, there ? input.x + frame * input.features * input.channels : nullptr, data_ + line * row);
      }
    }
  }

  const float *at(int64_t output) const { return data_ + starts_[output] * row; }

 private:
  void copy(const Input &input, const float *frame, float *to) const {
    const int64_t start = std::max<int64_t>(0, -input.before) * input.channels, shift = input.before * input.channels;
    const int64_t stop = std::min(input.features * input.channels, row - shift);
    memset(to, 0, row * sizeof(float));
    if (frame != nullptr && start < stop) memcpy(to + start + shift, frame + start, (stop - start) * sizeof(float));
  }

  std::vector<int64_t> starts_;
  float *data_;
};

/* Terms of a chunk that lie one after another (or `apart` apart) in both factors. */
struct Stretch {
  const float *left;
  int64_t offset, terms; /* offset: in the other factor */
};

/* body(first, size) for `count` rows of a cut into tiles as even as can be, the size a constant. */
template <class Body> void tiles_of(int64_t count, Body body) {
  const int64_t tiles = ceil_div(count, mj::TILE_ROWS);
  for (int64_t tile = 0; tile < tiles; tile++) {
    const int64_t first = count * tile / tiles;
    mj::with_rows(count * (tile + 1) / tiles - first, [&](auto size) { body(first, size); });
  }
}

}  // namespace

void mj_conv_rows(int64_t count, const int64_t *list, int64_t taps, int64_t width, int64_t features, int64_t channels,
                  int64_t positions, int64_t step, int64_t before, const float *x, int64_t outputs, const float *weight,
                  int64_t by_output, int64_t by_tap, int64_t by_feature, int64_t by_channel, float *out, int64_t out_row,
                  int64_t out_position) {
  const Input input{x, taps, width, features, channels, positions, step, before};
  const Place *all = reinterpret_cast<const Place *>(list);
  const int64_t terms = input.terms(), run = input.run(), panels = ceil_div(outputs, COLUMNS);
  if (terms == 0) {
    for (int64_t i = 0; i < count * positions; i++) {
      memset(out + all[i / positions].row * out_row + i % positions * out_position, 0, outputs * sizeof(float));
    }
    return;
  }
  float *packed = mj::workspace_of<float>(mj::PACKED_B, panels * terms * COLUMNS);
  mj::parallel(panels * taps, [&](int64_t task) {
    const int64_t tap = task % taps, first = task / taps * COLUMNS;
    float *to = packed + (task / taps * terms + tap * run) * COLUMNS;
    for (int64_t k = 0; k < run; k++) {
      const float *from = weight + tap * by_tap + k / channels * by_feature + k % channels * by_channel;
      for (int64_t j = 0; j < COLUMNS; j++) *to++ = first + j < outputs ? from[(first + j) * by_output] : 0.0f;
    }
  });
  mj::parallel_blocks(count, BLOCK, [&](int64_t start, int64_t stop) {
    const Window window(input, all + start, stop - start);
    std::vector<Stretch> stretches;
    for (int64_t k0 = 0; k0 < terms; k0 += MJ_CHUNK) {
      const int64_t k1 = std::min<int64_t>(k0 + MJ_CHUNK, terms);
      stretches.clear();
      for (int64_t k = k0, next; k < k1; k = next) {
        next = std::min(k1, (k / run + 1) * run);
        stretches.push_back({nullptr, k / run * window.row + k % run, next - k});
      }
      for (int64_t panel = 0; panel < panels; panel++) {
        const float *right = packed + (panel * terms + k0) * COLUMNS;
        const int64_t live = std::min(COLUMNS, outputs - panel * COLUMNS);
        for (int64_t i = start; i < stop; i++) {
          float *to = out + all[i].row * out_row + panel * COLUMNS;
          tiles_of(positions, [&](int64_t position, auto size) {
            constexpr int ROWS = decltype(size)::value;
            const float *left = window.at(i - start) + position * input.apart();
            const auto tile = mj::sum_chunk<ROWS>([&](mj_vf(&acc)[ROWS][2]) __attribute__((always_inline)) {
              const float *panel_at = right;
              for (const Stretch &s : stretches) {
                mj::add_terms<ROWS>(acc, s.terms, left + s.offset, input.apart(), 1, panel_at, COLUMNS);
                panel_at += s.terms * COLUMNS;
              }
            });
            mj::put<ROWS>(tile, k0 == 0, to + position * out_position, out_position, live);
          });
        }
      }
    }
  });
}

void mj_conv_weight_items(int64_t items, const int64_t *offsets, const int64_t *list, int64_t taps, int64_t width,
                          int64_t features, int64_t channels, int64_t positions, int64_t step, int64_t before, const float *x,
                          int64_t outputs, const float *dy, float *out) {
  const Input input{x, taps, width, features, channels, positions, step, before};
  const int64_t terms = input.terms(), run = input.run(), panels = ceil_div(run, COLUMNS);
  for (int64_t item = 0; item < items; item++) {
    const Place *rows = reinterpret_cast<const Place *>(list) + offsets[item];
    const int64_t count = (offsets[item + 1] - offsets[item]) * positions;
    float *to = out + item * outputs * terms;
    if (count == 0) memset(to, 0, outputs * terms * sizeof(float));
    for (int64_t q0 = 0; q0 < count; q0 += MJ_CHUNK) {
      const int64_t q1 = std::min<int64_t>(q0 + MJ_CHUNK, count), first = q0 / positions, last = ceil_div(q1, positions);
      const Window window(input, rows + first, last - first);
      std::vector<Stretch> stretches;
      for (int64_t row = first; row < last; row++) {
        const int64_t start = std::max<int64_t>(q0 - row * positions, 0), stop = std::min(q1 - row * positions, positions);
        stretches.push_back({dy + (rows[row].row * positions + start) * outputs,
                             window.at(row - first) - window.at(0) + start * input.apart(), stop - start});
      }
      mj::parallel(taps * panels, [&](int64_t task) {
        const int64_t tap = task / panels, column = task % panels * COLUMNS;
        const float *right = window.at(0) + tap * window.row + column;
        tiles_of(outputs, [&](int64_t output, auto size) {
          constexpr int ROWS = decltype(size)::value;
          const auto tile = mj::sum_chunk<ROWS>([&](mj_vf(&acc)[ROWS][2]) __attribute__((always_inline)) {
            for (const Stretch &s : stretches) {
              mj::add_terms<ROWS>(acc, s.terms, s.left + output, 1, outputs, right + s.offset, input.apart());
            }
          });
          mj::put<ROWS>(tile, q0 == 0, to + output * terms + tap * run + column, terms, std::min(COLUMNS, run - column));
        });
      });
    }
  }
}

void mj_row_conv_rows(int64_t rows, const int64_t *list, int64_t step, int64_t columns, const float *x, const float *weight,
                      float *out) {
  mj::parallel_blocks(rows, 32, [&](int64_t start, int64_t stop) {
    mj::each(0, columns, [&](int64_t j, auto as) {
      using F = decltype(as);
      for (int64_t row = start; row < stop; row++) {
        const int64_t first = list[2 * row], terms = list[2 * row + 1];
        F total = mj_splat<F>(0.0f);
        for (int64_t k0 = 0; k0 < terms; k0 += MJ_CHUNK) {
          F acc = mj_splat<F>(0.0f);
          for (int64_t k = k0; k < std::min<int64_t>(k0 + MJ_CHUNK, terms); k++) {
            acc = mj_term_product(acc, mj::load_as<F>(weight + k * columns + j),
                                  mj::load_as<F>(x + (first + k * step) * columns + j));
          }
          total = mj_total(k0 == 0, total, acc);
        }
        mj::store_as(out + row * columns + j, total);
      }
    });
  });
}

void mj_row_conv_weight_items(int64_t items, const int64_t *offsets, const int64_t *list, int64_t taps, int64_t columns,
                              const float *dy, const float *x, float *out) {
  mj::sum_items(items, offsets, nullptr, taps * columns, out, [=](float *sums, int64_t, int64_t i, int64_t) {
    const float *d = dy + list[3 * i] * columns, *from = x + list[3 * i + 1] * columns;
    for (int64_t k = 0; k < list[3 * i + 2]; k++) {
      mj::each(0, columns, [&](int64_t j, auto as) {
        using F = decltype(as);
        const int64_t at = k * columns + j;
        mj::store_as(sums + at, mj_term_product(mj::load_as<F>(sums + at), mj::load_as<F>(d + j), mj::load_as<F>(from + at)));
      });
    }
  });
}
