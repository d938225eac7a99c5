/* Drivers of the array library: reductions along an axis and float64 matrix products.
 *
 * Policy. Tasks are blocks of outputs. Outputs that lie beside each other in memory are calculated
 * side by side; where each output's terms are the contiguous ones, several of its chunks are.
 */
#include <algorithm>

#include "../entry_points.h"
#include "../standard_rules.h"
#include "threads.h"

namespace {

constexpr int64_t WIDTH = 64;  /* outputs, or 8 chunks, side by side */
constexpr int64_t CHUNKS = 8;

/* One output from n contiguous terms, term(i) the i-th. */
template <class Rule, class T, class Term> T line(int64_t n, T, Term term) {
  T total = Rule::start();
  int64_t start = 0;
  for (; start + CHUNKS * MJ_CHUNK <= n; start += CHUNKS * MJ_CHUNK) {
    T acc[CHUNKS];
    for (int64_t c = 0; c < CHUNKS; c++) acc[c] = Rule::start();
    for (int64_t i = 0; i < MJ_CHUNK; i++) {
      for (int64_t c = 0; c < CHUNKS; c++) acc[c] = Rule::term(acc[c], term(start + c * MJ_CHUNK + i));
    }
    for (int64_t c = 0; c < CHUNKS; c++) total = Rule::total(start + c == 0, total, acc[c]);
  }
  for (; start < n; start += MJ_CHUNK) {
    T acc = Rule::start();
    for (int64_t i = start; i < std::min<int64_t>(n, start + MJ_CHUNK); i++) acc = Rule::term(acc, term(i));
    total = Rule::total(start == 0, total, acc);
  }
  return total;
}

/* term(index in x, index in out) for (outer, n, inner). */
template <class Rule, class T, class Term>
void reduce(int64_t outer, int64_t n, int64_t inner, T *out, Term term) {
  if (inner == 1) {
    mj::parallel_blocks(outer, std::max<int64_t>(1, (1 << 14) / (n + 1)), [&](int64_t first, int64_t last) {
      for (int64_t o = first; o < last; o++) out[o] = line<Rule>(n, T(), [&](int64_t i) { return term(o * n + i, o); });
    });
    return;
  }
  const int64_t blocks = (inner + WIDTH - 1) / WIDTH;
  mj::parallel(outer * blocks, [&](int64_t task) {
    const int64_t o = task / blocks, j0 = task % blocks * WIDTH, width = std::min(WIDTH, inner - j0);
    T total[WIDTH], acc[WIDTH];
    for (int64_t j = 0; j < width; j++) total[j] = Rule::start();
    for (int64_t start = 0; start < n; start += MJ_CHUNK) {
      for (int64_t j = 0; j < width; j++) acc[j] = Rule::start();
      for (int64_t i = start; i < std::min<int64_t>(n, start + MJ_CHUNK); i++) {
        for (int64_t j = 0; j < width; j++) {
          acc[j] = Rule::term(acc[j], term((o * n + i) * inner + j0 + j, o * inner + j0 + j));
        }
      }
      for (int64_t j = 0; j < width; j++) total[j] = Rule::total(start == 0, total[j], acc[j]);
    }
    for (int64_t j = 0; j < width; j++) out[o * inner + j0 + j] = total[j];
  });
}

template <class Rule, class T> void cumulate(int64_t outer, int64_t n, int64_t inner, const T *x, T *out) {
  const int64_t blocks = (inner + WIDTH - 1) / WIDTH;
  mj::parallel(outer * blocks, [&](int64_t task) {
    const int64_t o = task / blocks, j0 = task % blocks * WIDTH, width = std::min(WIDTH, inner - j0);
    T total[WIDTH], acc[WIDTH];
    for (int64_t i = 0; i < n; i++) {
      const int64_t at = (o * n + i) * inner + j0;
      for (int64_t j = 0; j < width; j++) {
        if (i % MJ_CHUNK == 0) {
          total[j] = i == 0 ? Rule::start() : out[at - inner + j];
          acc[j] = Rule::start();
        }
        acc[j] = Rule::term(acc[j], x[at + j]);
        out[at + j] = Rule::total(i < MJ_CHUNK, total[j], acc[j]);
      }
    }
  });
}

template <class T>
void reduce_by(int64_t function, int64_t outer, int64_t n, int64_t inner, const void *x, void *out) {
  const T *from = static_cast<const T *>(x);
  T *to = static_cast<T *>(out);
  const auto term = [from](int64_t i, int64_t) { return from[i]; };
  switch (function) {
    case 0: return reduce<mj_sum_rule<T>>(outer, n, inner, to, term);
    case 1: return reduce<mj_product_rule<T>>(outer, n, inner, to, term);
    case 2: return reduce<mj_largest_rule<T>>(outer, n, inner, to, term);
    default: return reduce<mj_smallest_rule<T>>(outer, n, inner, to, term);
  }
}

template <class T>
void squares(int64_t outer, int64_t n, int64_t inner, const void *x, const void *means, void *out) {
  const T *from = static_cast<const T *>(x), *mean = static_cast<const T *>(means);
  reduce<mj_sum_rule<T>>(outer, n, inner, static_cast<T *>(out),
                 [=](int64_t i, int64_t o) { return mj_square_from(from[i], mean[o]); });
}

template <class T> void dot_rows(int64_t rows, int64_t n, const void *a, const void *b, void *out) {
  const T *x = static_cast<const T *>(a), *y = static_cast<const T *>(b);
  T *to = static_cast<T *>(out);
  mj::parallel_blocks(rows, std::max<int64_t>(1, (1 << 14) / (n + 1)), [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row++) {
      T total = T(0);
      for (int64_t start = 0; start < n; start += MJ_CHUNK) {
        T acc = T(0);
        for (int64_t i = start; i < std::min<int64_t>(n, start + MJ_CHUNK); i++) {
          acc = mj_product_term(acc, x[row * n + i], y[row * n + i]);
        }
        total = mj_total(start == 0, total, acc);
      }
      to[row] = total;
    }
  });
}

}  // namespace

void mj_reduce(int64_t function, int64_t type, int64_t outer, int64_t n, int64_t inner, const void *x, void *out) {
  if (type == 0) {
    reduce_by<float>(function, outer, n, inner, x, out);
  } else {
    reduce_by<mj_f64>(function, outer, n, inner, x, out);
  }
}

void mj_cumulate(int64_t function, int64_t type, int64_t outer, int64_t n, int64_t inner, const void *x, void *out) {
  const auto run = [=](auto as) {
    using T = decltype(as);
    const auto body = function == 0 ? cumulate<mj_sum_rule<T>, T> : cumulate<mj_product_rule<T>, T>;
    body(outer, n, inner, static_cast<const T *>(x), static_cast<T *>(out));
  };
  if (type == 0) {
    run(float());
  } else {
    run(mj_f64());
  }
}

void mj_reduce_squares(int64_t type, int64_t outer, int64_t n, int64_t inner, const void *x, const void *means,
                       void *out) {
  if (type == 0) {
    squares<float>(outer, n, inner, x, means, out);
  } else {
    squares<mj_f64>(outer, n, inner, x, means, out);
  }
}

void mj_gemm_double(int64_t m, int64_t n, int64_t k, const void *a, const void *b, void *c) {
  const mj_f64 *x = static_cast<const mj_f64 *>(a), *y = static_cast<const mj_f64 *>(b);
  mj_f64 *out = static_cast<mj_f64 *>(c);
  constexpr int64_t ROWS = 4;
  const int64_t blocks = (n + WIDTH - 1) / WIDTH, groups = (m + ROWS - 1) / ROWS;
  mj::parallel(groups * blocks, [&](int64_t task) {
    const int64_t i0 = task / blocks * ROWS, rows = std::min(ROWS, m - i0);
    const int64_t j0 = task % blocks * WIDTH, width = std::min(WIDTH, n - j0);
    mj_f64 total[ROWS][WIDTH], acc[ROWS][WIDTH];
    memset(total, 0, sizeof total);
    for (int64_t start = 0; start < k; start += MJ_CHUNK) {
      memset(acc, 0, sizeof acc);
      for (int64_t t = start; t < std::min<int64_t>(k, start + MJ_CHUNK); t++) {
        for (int64_t i = 0; i < rows; i++) {
          const mj_f64 factor = x[(i0 + i) * k + t];
          const mj_f64 *row = y + t * n + j0;
          for (int64_t j = 0; j < width; j++) acc[i][j] = mj_product_term(acc[i][j], factor, row[j]);
        }
      }
      for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < width; j++) total[i][j] = mj_total(start == 0, total[i][j], acc[i][j]);
      }
    }
    for (int64_t i = 0; i < rows; i++) memcpy(out + (i0 + i) * n + j0, total[i], width * sizeof(mj_f64));
  });
}

void mj_dot_rows(int64_t type, int64_t rows, int64_t n, const void *a, const void *b, void *out) {
  if (type == 0) {
    dot_rows<float>(rows, n, a, b, out);
  } else {
    dot_rows<mj_f64>(rows, n, a, b, out);
  }
}
