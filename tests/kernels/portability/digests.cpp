/* Digests of what every kernel of a built library computes, without Python and without a GPU.
 *
 *   digests LIBRARY.so      prints a line "threads name digest live" per kernel
 *
 * Policy. Inputs are made of integers only, so every compiler and processor starts from the same
 * bits: mixed signs, magnitudes 2^-20..2^20, zeros of both signs, denormals, and where a kernel
 * takes any bits, any bits. Buffers have exactly the size that a kernel may touch. A digest is
 * FNV-1a over the output's bits, every NaN counted as the same one (IEEE 754 leaves its bits
 * open); `live` says how many outputs are finite and not 0, so that a hollow case shows.
 */
#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "../../../kernels/entry_points.h"

namespace {

void *library;
int64_t threads;

void *find(const char *name) {
  void *found = dlsym(library, name);
  if (found == nullptr) {
    fprintf(stderr, "%s\n", dlerror());
    exit(2);
  }
  return found;
}
#define CALL(name) reinterpret_cast<decltype(&name)>(find(#name))

using Floats = std::vector<float>;
using Doubles = std::vector<double>;
using Longs = std::vector<int64_t>;

/* ---- inputs ---- */

std::vector<uint32_t> words(int64_t count, int64_t stream) {
  std::vector<uint32_t> out((count + 3) / 4 * 4);
  CALL(mj_philox_words)((count + 3) / 4, 2015, stream, out.data());
  out.resize(count);
  return out;
}

float from_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

double double_from_bits(uint64_t bits) {
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* `any_bits`: also infinities and NaN. */
Floats any_bits(int64_t count, int64_t stream) {
  Floats out;
  for (uint32_t w : words(count, stream)) out.push_back(from_bits(w));
  return out;
}

/* Magnitudes 2^low..2^high of both signs; of 16 numbers about one is 0 and one a denormal. */
Floats numbers(int64_t count, int64_t stream, int low = -20, int high = 20) {
  const std::vector<uint32_t> w = words(2 * count, stream);
  Floats out;
  for (int64_t i = 0; i < count; i++) {
    const uint32_t sign_and_mantissa = w[2 * i] & 0x807FFFFFu, dice = w[2 * i + 1];
    const uint32_t exponent = 127 + low + (dice >> 8) % (high - low);
    const uint32_t kind = dice % 16;
    out.push_back(from_bits(kind == 0   ? sign_and_mantissa & 0x80000000u
                            : kind == 1 ? sign_and_mantissa
                                        : sign_and_mantissa | exponent << 23));
  }
  return out;
}

/* Few mantissa bits and near exponents: products and sums fall on and next to rounding ties. */
Floats sparse(int64_t count, int64_t stream, int middle) {
  const std::vector<uint32_t> w = words(2 * count, stream);
  Floats out;
  for (int64_t i = 0; i < count; i++) {
    const uint32_t bits = 1u << w[2 * i] % 23 | 1u << (w[2 * i] >> 8) % 23, dice = w[2 * i + 1];
    const uint32_t exponent = 127 + middle + dice % 29 - 14;
    out.push_back(from_bits((w[2 * i] & 0x80000000u) | bits | exponent << 23));
  }
  return out;
}

/* The same two in float64: `numbers` with a float32's exponents, any bits with all. */
Doubles double_numbers(int64_t count, int64_t stream, int low = -20, int high = 20) {
  const Floats leading = numbers(count, stream, low, high);
  const std::vector<uint32_t> w = words(count, stream + 1000);
  Doubles out;
  for (int64_t i = 0; i < count; i++) {
    uint64_t bits;
    const double x = leading[i];
    memcpy(&bits, &x, sizeof bits);
    out.push_back(double_from_bits(x == 0 ? bits : bits | w[i] >> 3));
  }
  return out;
}
Doubles any_double_bits(int64_t count, int64_t stream) {
  const std::vector<uint32_t> w = words(2 * count, stream);
  Doubles out;
  for (int64_t i = 0; i < count; i++) out.push_back(double_from_bits(uint64_t{w[2 * i]} << 32 | w[2 * i + 1]));
  return out;
}
void fill(Floats &x, int64_t count, int64_t stream, int low, int high) { x = numbers(count, stream, low, high); }
void fill(Doubles &x, int64_t count, int64_t stream, int low, int high) { x = double_numbers(count, stream, low, high); }
void fill(Floats &x, int64_t count, int64_t stream) { x = any_bits(count, stream); }
void fill(Doubles &x, int64_t count, int64_t stream) { x = any_double_bits(count, stream); }

Longs running_sum(const Longs &lengths) {
  Longs out{0};
  for (int64_t length : lengths) out.push_back(out.back() + length);
  return out;
}

/* ---- outputs ---- */

uint64_t fnv(const void *bytes, size_t count, uint64_t hash = 0xCBF29CE484222325u) {
  for (size_t i = 0; i < count; i++) hash = (hash ^ static_cast<const unsigned char *>(bytes)[i]) * 0x100000001B3u;
  return hash;
}

void print(const std::string &name, uint64_t hash, int64_t live) {
  printf("%" PRId64 " %s %016" PRIx64 " %" PRId64 "\n", threads, name.c_str(), hash, live);
}

uint64_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
uint64_t bits_of(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
template <class T> uint64_t bits_of(T x) { return static_cast<uint64_t>(x); }

/* `infinity`: its bits in a floating type; 0 for integers. */
template <class T> void digest_bits(const std::string &name, const std::vector<T> &out, uint64_t infinity) {
  uint64_t hash = fnv(nullptr, 0);
  int64_t live = 0;
  for (T x : out) {
    uint64_t bits = bits_of(x);
    const uint64_t magnitude = infinity ? bits & ((uint64_t{1} << (8 * sizeof(T) - 1)) - 1) : bits;
    if (infinity && magnitude > infinity) bits = infinity | infinity >> 1;
    live += magnitude != 0 && (!infinity || magnitude < infinity);
    unsigned char bytes[sizeof(T)];
    for (size_t i = 0; i < sizeof(T); i++) bytes[i] = static_cast<unsigned char>(bits >> 8 * i);
    hash = fnv(bytes, sizeof bytes, hash);
  }
  print(name, hash, live);
}
void digest(const std::string &name, const Floats &out) { digest_bits(name, out, 0x7F800000u); }
void digest(const std::string &name, const Doubles &out) { digest_bits(name, out, 0x7FF0000000000000u); }

std::string with(const std::string &name, std::initializer_list<int64_t> numbers) {
  std::string out = name;
  for (int64_t n : numbers) out += "/" + std::to_string(n);
  return out;
}

/* ---- kernels ---- */

void matrix_products() {
  const int64_t sizes[][3] = {{1, 1, 1},     {7, 33, 257},  {14, 32, 256}, {29, 65, 513}, {97, 130, 300},
                              {33, 70, 1000}, {3, 2100, 270}, {200, 20, 260}, {4, 6, 0}};
  for (const auto &[m, n, k] : sizes) {
    const Floats a = numbers(m * k, 1), b = numbers(k * n, 2);
    Floats c(m * n, 7.0f);
    CALL(mj_gemm)(m, n, k, 1, a.data(), k, 1, b.data(), n, 1, c.data(), n);
    digest(with("gemm", {m, n, k}), c);
  }
  /* a and b: as they are, transposed, every second column, every second column transposed; rows of
   * c further apart than they are long, with something in between that has to stay. */
  const int64_t m = 31, n = 45, k = 300;
  for (int kind_a = 0; kind_a < 4; kind_a++) {
    for (int kind_b = 0; kind_b < 4; kind_b++) {
      const int64_t step_a = 1 + kind_a / 2, step_b = 1 + kind_b / 2, c_row = n + 3;
      const Floats a = numbers(m * k * step_a, 3), b = numbers(k * n * step_b, 4);
      Floats c((m - 1) * c_row + n, 7.0f);
      CALL(mj_gemm)(m, n, k, 1, a.data(), step_a * (kind_a % 2 ? 1 : k), step_a * (kind_a % 2 ? m : 1), b.data(),
                    step_b * (kind_b % 2 ? 1 : n), step_b * (kind_b % 2 ? k : 1), c.data(), c_row);
      digest(with("gemm_strides", {kind_a, kind_b}), c);
    }
  }
}

void leaf_sums() {
  const Longs offsets = running_sum({300, 17, 0, 600, 1});
  const int32_t merges[] = {0, 1, 0, 2, 1}; /* of 5 leaves: ((0 1) (2 3)) 4 */
  const int64_t rows = offsets.back(), m = 19, n = 37;
  const Floats a = numbers(rows * m, 10), b = numbers(rows * n, 11);
  for (int64_t rounded : {0, 1}) {
    const std::string kind = rounded ? "_bfloat16" : "";
    Floats slots(3 * m * n, 7.0f);
    CALL(mj_gemm_leaves)(5, offsets.data(), merges, m, n, a.data(), m, b.data(), n, slots.data(), m * n, rounded);
    slots.resize(m * n);
    digest("gemm_leaves" + kind, slots);
    for (int64_t columns : {1, 37, 150}) {
      const Floats x = numbers(rows * columns, 12);
      Floats sums(3 * columns, 7.0f);
      CALL(mj_sum_leaves)(5, offsets.data(), merges, columns, x.data(), columns, sums.data(), columns, rounded);
      sums.resize(columns);
      digest(with("sum_leaves" + kind, {columns}), sums);
    }
  }
}

void tree_sums() {
  for (int64_t count : {1, 5000}) {
    Floats parts[7];
    Longs inputs;
    for (int i = 0; i < 7; i++) inputs.push_back(reinterpret_cast<int64_t>((parts[i] = numbers(count, 20 + i)).data()));
    const int32_t whole[] = {0, 1, 0, 2, 0, 1, 1}, open[] = {0, 1, 0, 2, 0, 1, 0};
    Floats sum(count, 7.0f), left(count, 7.0f), middle(count, 7.0f), right(count, 7.0f);
    const Longs one{reinterpret_cast<int64_t>(sum.data())};
    CALL(mj_tree_sum)(7, inputs.data(), whole, 1, one.data(), count, 0);
    digest(with("tree_sum", {count}), sum);
    CALL(mj_tree_sum)(7, inputs.data(), whole, 1, one.data(), count, 1);
    digest(with("tree_sum_bfloat16", {count}), sum);
    const Longs three{reinterpret_cast<int64_t>(left.data()), reinterpret_cast<int64_t>(middle.data()),
                      reinterpret_cast<int64_t>(right.data())};
    CALL(mj_tree_sum)(7, inputs.data(), open, 3, three.data(), count, 0);
    left.insert(left.end(), middle.begin(), middle.end());
    left.insert(left.end(), right.begin(), right.end());
    digest(with("tree_sum_open", {count}), left);
  }
}

void statistics() {
  for (int64_t columns : {1, 161}) {
    const int64_t rows = 700;
    const Floats x = numbers(rows * columns, 30, -8, 8), center = numbers(columns, 31, -8, 8);
    Floats sums(columns), deviations(columns), squares(columns), mean(columns), scale(columns), y(rows * columns);
    CALL(mj_sum_rows)(rows, columns, x.data(), sums.data());
    digest(with("sum_rows", {columns}), sums);
    CALL(mj_sum_deviations)(rows, columns, x.data(), center.data(), deviations.data());
    digest(with("sum_deviations", {columns}), deviations);
    CALL(mj_sum_square_deviations)(rows, columns, x.data(), center.data(), squares.data());
    digest(with("sum_square_deviations", {columns}), squares);
    CALL(mj_mean_of)(columns, center.data(), deviations.data(), 700.0f, mean.data());
    digest(with("mean_of", {columns}), mean);
    CALL(mj_scale_of)(columns, deviations.data(), squares.data(), 700.0f, scale.data());
    digest(with("scale_of", {columns}), scale);
    CALL(mj_normalise_rows)(rows, columns, x.data(), mean.data(), scale.data(), y.data());
    digest(with("normalise_rows", {columns}), y);
  }
  for (int64_t count : {0, 1, 255, 256, 257, 5000, 100001}) {
    const Floats x = numbers(count, 32);
    Floats sum(1, 7.0f), factor(1), norm(1);
    CALL(mj_square_sum)(count, x.data(), sum.data());
    CALL(mj_norm_and_factor)(sum.data(), 400.0f, norm.data(), factor.data());
    digest(with("square_sum_norm_factor", {count}), Floats{sum[0], norm[0], factor[0]});
  }
}

void sums_of_items() {
  const Longs offsets = running_sum({300, 17, 0, 600, 1}), leaves{0, 0, 1, 1, 2}, counts{317, 0, 1};
  const int64_t rows = offsets.back();
  Longs listed(rows);
  for (int64_t i = 0; i < rows; i++) listed[i] = i * 7 % rows; /* 918 = 2 * 3^3 * 17 */
  for (int64_t columns : {1, 37, 150}) {
    const Floats x = numbers(rows * columns, 130), dy = numbers(rows * columns, 131);
    const Floats mean = numbers(3 * columns, 132), rstd = numbers(3 * columns, 133);
    for (const int64_t *order : {(const int64_t *)nullptr, (const int64_t *)listed.data()}) {
      const std::string kind = order == nullptr ? "" : "_listed";
      Floats out(5 * columns, 7.0f), both(10 * columns, 7.0f);
      CALL(mj_sum_items)(5, offsets.data(), order, columns, x.data(), out.data());
      digest(with("sum_items" + kind, {columns}), out);
      CALL(mj_square_items)(5, offsets.data(), order, leaves.data(), columns, x.data(), mean.data(), out.data());
      digest(with("square_items" + kind, {columns}), out);
      CALL(mj_norm_dot_items)
      (5, offsets.data(), order, leaves.data(), columns, dy.data(), x.data(), mean.data(), rstd.data(), both.data());
      digest(with("norm_dot_items" + kind, {columns}), both);
    }
    Floats means(3 * columns, 7.0f);
    CALL(mj_leaf_means)(3, counts.data(), columns, mean.data(), means.data());
    digest(with("leaf_means", {columns}), means);
  }
}

void norms() {
  const Longs offsets = running_sum({30, 0, 41});
  for (int64_t columns : {1, 37, 300}) {
    const int64_t rows = offsets.back();
    const Floats x = numbers(rows * columns, 140, -4, 4), dy = numbers(rows * columns, 141, -4, 4);
    const Floats gain = numbers(columns, 142, -2, 2), bias = numbers(columns, 143, -2, 2);
    const Floats mean = numbers(3 * columns, 144, -4, 2), means = numbers(6 * columns, 145, -4, 4);
    Floats variance = numbers(3 * columns, 146, -30, 10), rstd(3 * columns, 7.0f), out(rows * columns, 7.0f);
    for (float &v : variance) v = from_bits((uint32_t)bits_of(v) & 0x7FFFFFFFu);
    CALL(mj_rstd_array)(3 * columns, variance.data(), rstd.data());
    digest(with("rstd", {columns}), rstd);
    for (int64_t clipped : {0, 1}) {
      CALL(mj_norm_rows)
      (3, offsets.data(), columns, x.data(), mean.data(), rstd.data(), gain.data(), bias.data(), clipped, out.data());
      digest(with("norm_rows", {columns, clipped}), out);
    }
    CALL(mj_norm_backward_rows)
    (3, offsets.data(), columns, dy.data(), x.data(), mean.data(), rstd.data(), gain.data(), means.data(), out.data());
    digest(with("norm_backward_rows", {columns}), out);
    Floats running = numbers(columns, 147, -4, 4);
    CALL(mj_running_array)(columns, bias.data(), 7.0f, 0.1f, running.data());
    digest(with("running", {columns}), running);
    Floats row_mean(rows, 7.0f), row_rstd(rows, 7.0f), dy_hat(rows * columns, 7.0f);
    CALL(mj_layer_norm_rows)
    (rows, columns, x.data(), gain.data(), bias.data(), out.data(), row_mean.data(), row_rstd.data());
    digest(with("layer_norm", {columns}), out);
    digest(with("layer_norm_mean", {columns}), row_mean);
    digest(with("layer_norm_rstd", {columns}), row_rstd);
    CALL(mj_layer_norm_backward_rows)
    (rows, columns, dy.data(), x.data(), row_mean.data(), row_rstd.data(), gain.data(), out.data(), dy_hat.data());
    if (columns > 1) digest(with("layer_norm_backward", {columns}), out); /* of one column it is 0 */
    if (columns > 1) digest(with("layer_norm_gain", {columns}), dy_hat);
  }
}

void convolutions() {
  const Longs lengths{9, 1, 0, 30, 4}, offsets = running_sum(lengths);
  /* features, channels, outputs, taps, width, strides of time and frequency */
  const int64_t sizes[][7] = {{9, 3, 4, 5, 5, 2, 2}, {33, 20, 37, 3, 7, 1, 2}, {25, 1, 8, 11, 21, 2, 1}};
  for (const auto &[features, channels, outputs, taps, width, time, step] : sizes) {
    Longs list;
    for (size_t u = 0; u < lengths.size(); u++) {
      for (int64_t frame = 0; frame < lengths[u]; frame += time) {
        const int64_t row = (int64_t)list.size() / 4, low = offsets[u];
        list.insert(list.end(), {row, low + frame - (taps - 1) / 2, low, offsets[u + 1]});
      }
    }
    const int64_t rows = (int64_t)list.size() / 4, places = (features + step - 1) / step, terms = taps * width * channels;
    const Floats x = numbers(offsets.back() * features * channels, 150), weight = numbers(outputs * terms, 151);
    const Floats dy = numbers(rows * places * outputs, 152);
    Floats out(rows * places * outputs, 7.0f), by_weight(3 * outputs * terms, 7.0f);
    CALL(mj_conv_rows)
    (rows, list.data(), taps, width, features, channels, places, step, (width - 1) / 2, x.data(), outputs, weight.data(),
     terms, width * channels, channels, 1, out.data(), places * outputs, outputs);
    digest(with("conv_rows", {features, channels, outputs}), out);
    const Longs items{0, rows / 3, rows / 3, rows};
    CALL(mj_conv_weight_items)
    (3, items.data(), list.data(), taps, width, features, channels, places, step, (width - 1) / 2, x.data(), outputs,
     dy.data(), by_weight.data());
    digest(with("conv_weight_items", {features, channels, outputs}), by_weight);
  }
  for (int64_t columns : {1, 37}) {
    const int64_t rows = offsets.back(), taps = 6;
    const Floats x = numbers(rows * columns, 153), dy = numbers(rows * columns, 154), weight = numbers(taps * columns, 155);
    Longs ahead, back, both;
    for (size_t u = 0; u < lengths.size(); u++) {
      for (int64_t row = offsets[u]; row < offsets[u + 1]; row++) {
        const int64_t terms = std::min(taps, offsets[u + 1] - row);
        ahead.insert(ahead.end(), {row, terms});
        back.insert(back.end(), {row, std::min(taps, row - offsets[u] + 1)});
        both.insert(both.end(), {row, row, terms});
      }
    }
    Floats out(rows * columns, 7.0f), by_weight(5 * taps * columns, 7.0f);
    CALL(mj_row_conv_rows)(rows, ahead.data(), 1, columns, x.data(), weight.data(), out.data());
    digest(with("row_conv_rows", {columns}), out);
    CALL(mj_row_conv_rows)(rows, back.data(), -1, columns, dy.data(), weight.data(), out.data());
    digest(with("row_conv_back", {columns}), out);
    CALL(mj_row_conv_weight_items)
    (5, offsets.data(), both.data(), taps, columns, dy.data(), x.data(), by_weight.data());
    digest(with("row_conv_weight_items", {columns}), by_weight);
  }
}

void elementwise() {
  for (int64_t count : {1, 40001}) {
    const Floats a = any_bits(count, 40), b = any_bits(count, 41);
    Floats out(count);
    CALL(mj_add_arrays)(count, a.data(), b.data(), out.data());
    digest(with("add", {count}), out);
    CALL(mj_multiply_arrays)(count, a.data(), b.data(), out.data());
    digest(with("multiply", {count}), out);
    CALL(mj_rectify_array)(count, a.data(), out.data());
    digest(with("rectify", {count}), out);
    CALL(mj_round_bfloat16_array)(count, a.data(), out.data());
    digest(with("round_bfloat16", {count}), out);
    CALL(mj_rectify_backward_array)(count, b.data(), a.data(), out.data());
    digest(with("rectify_backward", {count}), out);
    const Floats signed_zeros = numbers(count, 49, -6, 6);
    CALL(mj_rectify_array)(count, signed_zeros.data(), out.data());
    digest(with("rectify_zeros", {count}), out);
    CALL(mj_rectify_backward_array)(count, b.data(), signed_zeros.data(), out.data());
    digest(with("rectify_backward_zeros", {count}), out);
    const std::string functions[] = {"exp", "log", "sigmoid", "tanh"};
    for (int64_t function : {0, 1, 2, 3}) {
      CALL(mj_math_array)(function, count, a.data(), out.data());
      digest(with(functions[function] + "_any", {count}), out);
      const Floats x = numbers(count, 42, -20, 8);
      CALL(mj_math_array)(function, count, x.data(), out.data());
      digest(with(functions[function], {count}), out);
    }
    CALL(mj_fma_array)(count, a.data(), b.data(), any_bits(count, 43).data(), out.data());
    digest(with("fma_any", {count}), out);
    /* The last cases: products down in and around the denormals, and up around infinity. */
    for (int64_t middle : {0, -67, -74, 63}) {
      CALL(mj_fma_array)(count, sparse(count, 44, middle).data(), sparse(count, 45, middle).data(),
                         sparse(count, 46, std::max<int64_t>(-112, std::min<int64_t>(112, 2 * middle))).data(), out.data());
      digest(with("fma_ties", {count, middle}), out);
    }
  }
  const int64_t rows = 70, columns = 83;
  const Floats x = numbers(rows * columns, 47, -6, 6), bias = numbers(columns, 48, -6, 6);
  Floats out(rows * columns);
  CALL(mj_bias_rows)(rows, columns, x.data(), bias.data(), out.data());
  digest("bias_rows", out);
  CALL(mj_bias_rectify_rows)(rows, columns, x.data(), bias.data(), out.data());
  digest("bias_rectify_rows", out);
  std::vector<int32_t> places(rows);
  CALL(mj_argmax_rows)(rows, columns, x.data(), places.data());
  digest("argmax_rows", Floats(places.begin(), places.end()));
  const Longs offsets = running_sum({30, 1, 0, 39});
  Floats context(rows * columns * 7, 7.0f);
  CALL(mj_context_rows)(4, offsets.data(), columns, 3, x.data(), context.data());
  digest("context_rows", context);
}

/* Pieces of 16 bits, so that no order of bytes enters. */
Floats pieces(const std::vector<uint64_t> &words) {
  Floats out;
  for (uint64_t w : words)
    for (int shift = 48; shift >= 0; shift -= 16) out.push_back(float(w >> shift & 0xFFFFu));
  return out;
}

/* Random numbers by key (kernels/standard_random.h). */
void keyed_numbers(int64_t key) {
  std::vector<uint64_t> bits(1001);
  CALL(mj_random_bits)(1001, key, 5, bits.data());
  digest(with("random_bits", {key}), pieces(bits));
  std::vector<uint64_t> keys(2 * 1001);
  CALL(mj_random_keys)(1001, key, 5, 3, keys.data());
  digest(with("random_keys", {key}), pieces(keys));
  const Floats ends{-2.0f, 3.0f};
  Floats single(1001, 7.0f);
  CALL(mj_random_uniform)(0, 1001, key, 5, ends.data(), single.data());
  digest(with("random_uniform", {0, key}), single);
  CALL(mj_random_normal)(0, 1001, key, 5, single.data());
  digest(with("random_normal", {0, key}), single);
  const Doubles wide{-2.0, 3.0};
  Doubles both(1001, 7.0);
  CALL(mj_random_uniform)(1, 1001, key, 5, wide.data(), both.data());
  digest(with("random_uniform", {1, key}), both);
  CALL(mj_random_normal)(1, 1001, key, 5, both.data());
  digest(with("random_normal", {1, key}), both);
  Longs whole(1001);
  CALL(mj_random_integers)(1001, key, 5, -7, 1000, whole.data());
  digest(with("random_integers", {key}), Floats(whole.begin(), whole.end()));
  std::vector<uint8_t> coins(1001);
  CALL(mj_random_coins)(1001, key, 5, int64_t{1} << 52, coins.data());
  digest(with("random_coins", {key}), Floats(coins.begin(), coins.end()));
}

void random_numbers() {
  for (int64_t key : {int64_t{2015}, int64_t{-3}}) {
    std::vector<uint32_t> out(4 * 1000);
    CALL(mj_philox_words)(1000, key, 9, out.data());
    Floats bytes; /* so that no order of bytes enters */
    for (uint32_t w : out) bytes.insert(bytes.end(), {float(w >> 16), float(w & 0xFFFFu)});
    digest(with("philox_words", {key}), bytes);
    Floats uniform(1001, 7.0f);
    CALL(mj_uniform_array)(1001, key, 9, 2.0f, 2048.0f, uniform.data());
    digest(with("uniform", {key}), uniform);
    keyed_numbers(key);
  }
  for (int64_t columns : {1, 16, 83}) {
    const Longs offsets = running_sum({30, 1, 0, 39}), ids{5, 3, 1 << 30, 77};
    const Floats x = numbers(70 * columns, 50);
    Floats out(70 * columns, 7.0f);
    const std::vector<int64_t> starts(4, 0);
    CALL(mj_dropout_rows)(4, offsets.data(), starts.data(), ids.data(), 0, columns, 2015, 2, 11, 77, x.data(), out.data());
    digest(with("dropout", {columns}), out);
  }
}

/* GRU (3 gates, carries 1 and 4 columns) and LSTM (4; 2 and 5), whole sequences and steps. */
void gated(int64_t cell, const Longs &carried) {
  const int64_t utterances = (int64_t)carried.size(), hidden = 77, gates = 2 + cell, goes_on = cell, comes_back = 3 + cell;
  Longs offsets = {0}, order(utterances);
  for (int64_t u = 0; u < utterances; u++) {
    offsets.push_back(offsets.back() + 9 - u % 9);
    order[u] = u;
  }
  std::stable_sort(order.begin(), order.end(), [](int64_t a, int64_t b) { return a % 9 < b % 9; });
  const int64_t rows = offsets.back(), units = 2 * hidden;
  const Floats x = numbers(rows * gates * units, 150, -10, 1), dy = numbers(rows * units, 151, -20, 1);
  const Floats weight = numbers(2 * gates * hidden * hidden, 152, -12, -2);
  const Floats initial = numbers(2 * utterances * goes_on * hidden, 153, -10, 0);
  const Floats from = numbers(2 * utterances * comes_back * hidden, 154, -20, 0);
  Floats h(rows * units, 7.0f), kept(rows * 5 * units, 7.0f), dx(x.size(), 7.0f), ds(x.size(), 7.0f);
  for (int64_t variant : {1, 4, -4}) { /* parts; negative: rounded to bfloat16 */
    const int64_t parts = variant < 0 ? -variant : variant, rounded = variant < 0;
    Floats last(initial.size(), 7.0f), first(from.size(), 7.0f);
    CALL(mj_rnn_forward_rows)
    (cell, 0, 2, utterances, offsets.data(), hidden, parts, rounded, x.data(), weight.data(), carried.data(), initial.data(),
     h.data(), kept.data(), last.data());
    digest(with("cell_forward", {cell, variant}), h);
    digest(with("cell_kept", {cell, variant}), kept);
    digest(with("cell_last", {cell, variant}), last);
    CALL(mj_rnn_backward_rows)
    (cell, 0, 2, utterances, offsets.data(), hidden, parts, rounded, dy.data(), weight.data(), kept.data(), carried.data(),
     from.data(), dx.data(), ds.data(), first.data());
    digest(with("cell_backward", {cell, variant}), dx);
    if (cell == 1) digest(with("cell_by_sums", {cell, variant}), ds);
    digest(with("cell_first", {cell, variant}), first);
  }
  int64_t live = 0;
  while (live < utterances && offsets[order[live] + 1] - offsets[order[live]] > 1) live++;
  Floats own = numbers(2 * utterances * hidden, 155, -10, 0), state(2 * live * hidden, 7.0f);
  const Floats sums = numbers(2 * live * gates * hidden, 156, -10, 1);
  CALL(mj_rnn_forward_step)
  (cell, 2, utterances, offsets.data(), order.data(), hidden, 1, live, 0, x.data(), sums.data(), own.data(), state.data(),
   h.data(), kept.data());
  digest(with("cell_forward_step", {cell}), state);
  Floats back(sums.size(), 7.0f);
  CALL(mj_rnn_backward_step)
  (cell, 2, utterances, offsets.data(), order.data(), hidden, 1, live, 0, dy.data(), kept.data(), sums.data(),
   own.data(), back.data(), dx.data(), ds.data());
  digest(with("cell_backward_step", {cell}), back);
}

void recurrent() {
  const Longs lengths{9, 4, 0, 12, 1, 9, 9, 3, 6, 2, 8, 5, 5, 7, 1, 11, 10, 4}, offsets = running_sum(lengths);
  const int64_t rows = offsets.back(), utterances = (int64_t)lengths.size();
  for (int64_t directions : {1, 2}) {
    for (int64_t hidden : {1, 5, 32, 77, 300}) {
      const int64_t count = rows * directions * hidden;
      const Floats x = numbers(count, 60, -10, 3), dy = numbers(count, 61, -20, 3);
      const Floats weight = numbers(directions * hidden * hidden, 62, -12, -3);
      Floats h(count, 7.0f), dx(count, 7.0f), out(count, 7.0f), sum(rows * hidden, 7.0f);
      Floats last(directions * utterances * hidden, 7.0f);
      CALL(mj_rnn_forward_rows)
      (0, 0, directions, utterances, offsets.data(), hidden, 1, 0, x.data(), weight.data(), nullptr, nullptr, h.data(),
       nullptr, last.data());
      digest(with("rnn_forward", {directions, hidden}), h);
      CALL(mj_rnn_backward_rows)
      (0, 0, directions, utterances, offsets.data(), hidden, 1, 0, dy.data(), weight.data(), h.data(), nullptr, nullptr,
       dx.data(), nullptr, last.data());
      digest(with("rnn_backward", {directions, hidden}), dx);
      CALL(mj_rnn_previous_rows)(0, directions, utterances, offsets.data(), hidden, h.data(), nullptr, nullptr, 0, out.data());
      digest(with("rnn_previous", {directions, hidden}), out);
      CALL(mj_sum_directions)(rows, directions, hidden, dx.data(), sum.data());
      digest(with("sum_directions", {directions, hidden}), sum);
      CALL(mj_repeat_directions)(rows, directions, hidden, sum.data(), out.data());
      digest(with("repeat_directions", {directions, hidden}), out);
    }
  }
  Longs order(utterances);
  for (int64_t u = 0; u < utterances; u++) order[u] = u;
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return lengths[a] > lengths[b]; });
  const int64_t hidden = 77, count = rows * 2 * hidden;
  const Floats x = numbers(count, 63, -10, 3), dy = numbers(count, 64, -20, 3), h = numbers(count, 65, -2, 4);
  for (int64_t step : {0, 2}) {
    int64_t live = 0;
    while (live < utterances && lengths[order[live]] > step) live++;
    const Floats sums = numbers(2 * live * hidden, 66, -10, 3);
    Floats state(2 * live * hidden, 7.0f), out(count, 7.0f);
    CALL(mj_rnn_forward_step)
    (0, 2, utterances, offsets.data(), order.data(), hidden, step, live, 0, x.data(), sums.data(), nullptr, state.data(),
     out.data(), nullptr);
    digest(with("rnn_forward_step", {step}), out);
    digest(with("rnn_forward_state", {step}), state);
    CALL(mj_rnn_backward_step)
    (0, 2, utterances, offsets.data(), order.data(), hidden, step, live, 0, dy.data(), h.data(), sums.data(), nullptr,
     state.data(), out.data(), nullptr);
    digest(with("rnn_backward_step", {step}), out);
    digest(with("rnn_backward_state", {step}), state);
  }
  const Longs carried = [&] {
    Longs found(utterances);
    for (int64_t u = 0; u < utterances; u++) found[u] = u % 3 != 0;
    return found;
  }();
  const Floats weight = numbers(hidden * hidden, 67, -12, -3), initial = numbers(utterances * hidden, 68, -10, 3);
  Floats out(rows * hidden, 7.0f), last(utterances * hidden, 7.0f);
  for (int64_t parts : {1, 2, 4}) {
    CALL(mj_rnn_forward_rows)
    (0, 1, 1, utterances, offsets.data(), hidden, parts, 0, x.data(), weight.data(), carried.data(), initial.data(),
     out.data(), nullptr, last.data());
    digest(with("rnn_forward_parts", {parts}), out);
    CALL(mj_rnn_backward_rows)
    (0, 0, 1, utterances, offsets.data(), hidden, parts, 0, dy.data(), weight.data(), h.data(), carried.data(),
     initial.data(), out.data(), nullptr, last.data());
    digest(with("rnn_backward_parts", {parts}), out);
  }
  for (int64_t cell : {1, 2}) gated(cell, carried);
}

void softmax_and_ctc() {
  for (int64_t columns : {1, 29, 300}) {
    for (int64_t high : {4, 20}) {
      const Floats x = numbers(37 * columns, 70, -20, (int)high);
      Floats out(37 * columns, 7.0f);
      CALL(mj_log_softmax_rows)(37, columns, x.data(), out.data());
      digest(with("log_softmax", {columns, high}), out);
    }
  }
  /* The largest is a zero, and which sign it has shows, since the sum of the exponentials is 1. */
  Floats zeros;
  for (uint32_t w : words(37 * 5, 73)) zeros.push_back(from_bits(w % 3 == 0 ? 0u : w % 3 == 1 ? 0x80000000u : 0xC3480000u));
  Floats out(37 * 5, 7.0f);
  CALL(mj_log_softmax_rows)(37, 5, zeros.data(), out.data());
  digest("log_softmax_zeros", out);
  for (int64_t alphabet : {3, 29, 70}) {
    const Longs frames{1, 1, 16, 33, 60, 530, 90}, labels{0, 1, 0, 16, 15, 260, 31};
    const Longs offsets = running_sum(frames), label_offsets = running_sum(labels);
    const int64_t rows = offsets.back(), utterances = (int64_t)frames.size();
    const Floats logits = numbers(rows * alphabet, 71, -10, 4);
    Floats log_probs(rows * alphabet), losses(utterances, 7.0f), gradient(rows * alphabet, 7.0f);
    CALL(mj_log_softmax_rows)(rows, alphabet, logits.data(), log_probs.data());
    std::vector<int32_t> label;
    for (uint32_t w : words(label_offsets.back(), 72)) label.push_back(int32_t(1 + w % (alphabet - 1)));
    /* The 16 labels of utterance 3: all the same, which takes 31 of its 33 frames. */
    for (int64_t i = label_offsets[3]; i < label_offsets[4]; i++) label[i] = 2;
    CALL(mj_ctc)
    (utterances, offsets.data(), alphabet, log_probs.data(), label_offsets.data(), label.data(), 0.03125f, losses.data(),
     gradient.data());
    digest(with("ctc_losses", {alphabet}), losses);
    digest(with("ctc_gradient", {alphabet}), gradient);
    std::vector<int32_t> first(label.size(), -1), last(label.size(), -1);
    CALL(mj_ctc_align)
    (utterances, offsets.data(), offsets.data() + 1, alphabet, log_probs.data(), label_offsets.data(), label.data(),
     first.data(), last.data());
    digest(with("ctc_align_first", {alphabet}), Floats(first.begin(), first.end()));
    digest(with("ctc_align_last", {alphabet}), Floats(last.begin(), last.end()));
    /* Words 2 and 2 2 between labels 1; tokens: end, unknown and the two, one likelier after the other. */
    const Longs word_offsets{0, 1, 3}, entry_first{1, 5, 5, 5, 5, 6, 6};
    const std::vector<int32_t> word_labels{2, 2, 2}, word_tokens{2, 3};
    const std::vector<int32_t> token{-1, 0, 1, 2, 3, 2}, suffix{0, 0, 0, 0, 0, 3}, next{0, 1, 2, 3, 4, 3};
    const Floats log10_prob{0.0f, -0.7f, -2.5f, -0.3f, -0.6f, -0.1f}, backoff{0.0f, 0.0f, 0.0f, -0.2f, -0.4f, 0.0f};
    const int64_t best = 3, width = 530;
    std::vector<int32_t> lengths(utterances * best), texts(utterances * best * width);
    Floats scores(utterances * best);
    CALL(mj_beam_search)
    (utterances, offsets.data(), alphabet, log_probs.data(), 20, 40, 0.99f, 1, 0.7f, 0.9f, -2.5f, nullptr, 2,
     word_offsets.data(), word_labels.data(), word_tokens.data(), 6, 0, 1, 0, entry_first.data(), token.data(),
     suffix.data(), next.data(), log10_prob.data(), backoff.data(), nullptr, best, width, lengths.data(),
     texts.data(), scores.data());
    digest(with("beam_texts", {alphabet}), Floats(texts.begin(), texts.end()));
    digest(with("beam_scores", {alphabet}), scores);
  }
}

void spectrograms() {
  for (int64_t window : {1, 2, 160, 320, 220, 77, 31}) {
    const int64_t frames = 19, hop = std::max<int64_t>(1, window / 2);
    const Floats samples = numbers((frames - 1) * hop + window, 80, -15, 0);
    Floats out(frames * (window / 2 + 1), 7.0f);
    CALL(mj_spectrogram)(frames, window, hop, samples.data(), out.data());
    digest(with("spectrogram", {window}), out);
  }
}

void sound() {
  std::vector<int16_t> pcm(1 << 16), back(1 << 16);
  for (int64_t i = 0; i < 1 << 16; i++) pcm[i] = (int16_t)(i - (1 << 15));
  Floats exact(1 << 16, 7.0f);
  CALL(mj_samples_of)(1 << 16, pcm.data(), exact.data());
  digest("samples", exact);
  const int64_t count = 1237;
  const Floats samples = numbers(count, 85, -15, 1), noise = numbers(300, 86, -12, 0);
  CALL(mj_pcm_of)(count, samples.data(), back.data());
  digest("pcm", Floats(back.begin(), back.begin() + count));
  for (int64_t over : {1, 9, 11, 50}) {
    const int64_t under = over == 50 ? 33 : 10, outputs = count * under / over;
    Floats out(outputs, 7.0f);
    CALL(mj_change_speed)(count, samples.data(), over, under, outputs, out.data());
    digest(with("speed", {over}), out);
  }
  for (int64_t bits : {0ll, 0x12345678ll, 0xFFFFFFFFll}) {
    Floats out(count, 7.0f);
    CALL(mj_change_level)(count, samples.data(), -10.0f, 10.0f, bits, out.data());
    digest(with("level", {bits}), out);
    CALL(mj_add_noise)(count, samples.data(), 300, noise.data(), 299, -5.0f, 25.0f, bits, out.data());
    digest(with("noise", {bits}), out);
  }
}

void optimizer() {
  const int64_t count = 40003;
  Floats parameters = numbers(count, 90, -12, 2), velocities = numbers(count, 91, -20, 0);
  const Floats gradients = numbers(count, 92, -20, 4);
  const float factor = 0.3f;
  Floats rates;
  for (int64_t step : {0, 3, 9, 10, 500}) {
    float rate;
    CALL(mj_learning_rate_at)(3e-4f, 0.9f, step / 4, 2, step, 10, &rate);
    rates.push_back(rate);
    CALL(mj_nesterov_array)
    (count, parameters.data(), velocities.data(), gradients.data(), &factor, &rate, 0.99f, 1e-5f);
  }
  digest("learning_rate", rates);
  Floats weights = numbers(count, 93, -12, 2), first = numbers(count, 94, -20, 0), shares(2), noise(count, 7.0f);
  Floats second = numbers(count, 95, -20, 0), adapted = weights, squares;
  for (float &x : second) x = from_bits(bits_of(x) & 0x7FFFFFFFu);
  squares = second;
  for (int64_t step : {1, 2, 700}) {
    CALL(mj_moment_weights)(step, 0.9f, 0.999f, shares.data());
    digest(with("moment_weights", {step}), shares);
    CALL(mj_adam_array)
    (count, weights.data(), first.data(), second.data(), gradients.data(), &factor, &factor, shares.data(), 0.9f, 0.999f,
     1e-8f, 1e-3f);
    CALL(mj_adagrad_array)(count, adapted.data(), squares.data(), gradients.data(), &factor, &factor, 1e-8f, 1e-5f);
    CALL(mj_noise_array)(count, 5 * step, -3, 1ll << 55, step, 0.075f, weights.data(), noise.data());
    digest(with("noise", {step}), noise);
  }
  digest("adam_parameters", weights);
  digest("adam_first_moments", first);
  digest("adam_second_moments", second);
  digest("adagrad_parameters", adapted);
  digest("adagrad_squares", squares);
  digest("nesterov_parameters", parameters);
  digest("nesterov_velocities", velocities);
}

/* ---- the array library; numbers of functions and types as in majelpy/memory/numbering.py ---- */

template <class T> void array_functions(int64_t type) {
  const int64_t count = 9001; /* more than two tasks */
  std::vector<T> any_a, any_b, a, b, out(count);
  fill(any_a, count, 100);
  fill(any_b, count, 101);
  fill(a, count, 102, -20, 9);
  fill(b, count, 103, -9, 9);
  for (int64_t function = 0; function < 28; function++) {
    CALL(mj_unary)(function, type, count, any_a.data(), out.data());
    digest(with("unary_any", {type, function}), out);
    CALL(mj_unary)(function, type, count, a.data(), out.data());
    digest(with("unary", {type, function}), out);
  }
  for (int64_t function = 0; function < 14; function++) {
    CALL(mj_binary)(function, type, count, any_a.data(), 1, any_b.data(), 1, out.data());
    digest(with("binary_any", {type, function}), out);
    for (int64_t steps : {3, 2, 1}) {
      const std::vector<T> x(a.begin(), steps & 1 ? a.end() : a.begin() + 1), two{T(2.25)};
      CALL(mj_binary)(function, type, count, x.data(), steps & 1, (steps & 2 ? b : two).data(), steps >> 1, out.data());
      digest(with("binary", {type, function, steps}), out);
    }
  }
  std::vector<uint8_t> truth(count);
  std::vector<T> often_equal = any_b;
  for (int64_t i = 0; i < count; i += 3) often_equal[i] = any_a[i];
  for (int64_t function = 0; function < 6; function++) {
    CALL(mj_compare)(function, type, count, any_a.data(), 1, often_equal.data(), 1, truth.data());
    digest_bits(with("compare", {type, function}), truth, 0);
  }
  std::vector<T> special = any_a;
  for (int64_t i = 0; i < count; i += 5) {
    special[i] = i % 2 ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::quiet_NaN();
  }
  for (int64_t function = 0; function < 4; function++) {
    CALL(mj_classify)(function, type, count, special.data(), truth.data());
    digest_bits(with("classify", {type, function}), truth, 0);
  }
  typename std::conditional<sizeof(T) == 4, std::vector<uint32_t>, std::vector<uint64_t>>::type keys(count);
  CALL(mj_order_key)(type, count, special.data(), keys.data());
  digest_bits(with("order_key", {type}), keys, 0);
}

template <class T> void array_sums(int64_t type) {
  const int64_t shapes[][3] = {{3, 2500, 1}, {2, 700, 70}, {40, 257, 5}, {1, 1, 3}, {2, 3, 1000}};
  for (const auto &[outer, n, inner] : shapes) {
    const int64_t count = outer * n * inner;
    std::vector<T> x, any, means, near, out(outer * inner), whole(count);
    fill(x, count, 110, -20, 20);
    fill(means, outer * inner, 111, -20, 20);
    fill(any, count, 112);
    for (uint32_t w : words(count, 113)) near.push_back((w & 1 ? T(-1) : T(1)) + T(int32_t(w >> 1) - (1 << 30)) * T(0x1p-36));
    for (int64_t function = 0; function < 4; function++) {
      const std::vector<T> &terms = function == 1 ? near : x;
      CALL(mj_reduce)(function, type, outer, n, inner, terms.data(), out.data());
      digest(with("reduce", {type, function, n}), out);
      if (inner == 1000) {
        CALL(mj_reduce)(function, type, outer, n, inner, any.data(), out.data());
        digest(with("reduce_any", {type, function}), out);
      }
      if (function > 1) continue;
      CALL(mj_cumulate)(function, type, outer, n, inner, terms.data(), whole.data());
      digest(with("cumulate", {type, function, n}), whole);
    }
    CALL(mj_reduce_squares)(type, outer, n, inner, x.data(), means.data(), out.data());
    digest(with("reduce_squares", {type, n}), out);
  }
  for (const auto &[rows, n] : {std::pair<int64_t, int64_t>{37, 700}, {9001, 3}, {1, 5000}}) {
    std::vector<T> a, b, out(rows);
    fill(a, rows * n, 114, -20, 20);
    fill(b, rows * n, 115, -20, 20);
    CALL(mj_dot_rows)(type, rows, n, a.data(), b.data(), out.data());
    digest(with("dot_rows", {type, rows, n}), out);
  }
}

void double_products() {
  const int64_t sizes[][3] = {{1, 1, 1}, {7, 33, 257}, {29, 65, 513}, {97, 130, 300}, {3, 210, 270}};
  for (const auto &[m, n, k] : sizes) {
    const Doubles a = double_numbers(m * k, 116), b = double_numbers(k * n, 117);
    Doubles c(m * n, 7.0);
    CALL(mj_gemm_double)(m, n, k, a.data(), b.data(), c.data());
    digest(with("gemm_double", {m, n, k}), c);
  }
}

/* Calls body(a number of that type, the bits of its infinity); 16 bits stand for themselves. */
template <class Body> void with_type(int64_t type, Body body) {
  switch (type) {
    case 0: return body(float(), 0x7F800000u);
    case 1: return body(double(), 0x7FF0000000000000u);
    case 2: return body(uint16_t(), 0x7C00u);
    case 3: return body(uint16_t(), 0x7F80u);
    case 4: return body(int8_t(), 0u);
    case 5: return body(int16_t(), 0u);
    case 6: return body(int32_t(), 0u);
    case 7: return body(int64_t(), 0u);
    case 8: return body(uint8_t(), 0u);
    case 9: return body(uint16_t(), 0u);
    case 10: return body(uint32_t(), 0u);
    default: return body(uint64_t(), 0u);
  }
}

/* Integers of all lengths. */
template <class T> void numbers_to_cast(std::vector<T> &x, int64_t count, int64_t stream) {
  const std::vector<uint32_t> w = words(2 * count, stream);
  for (int64_t i = 0; i < count; i++) x.push_back(static_cast<T>((uint64_t{w[2 * i]} << 32 | w[2 * i + 1]) >> i % 64));
}
template <class T> void append_floats(std::vector<T> &x, int64_t count, int64_t stream) {
  std::vector<T> any;
  fill(any, count, stream);
  fill(x, count, stream + 1, -20, 66);
  x.insert(x.end(), any.begin(), any.end());
}
void numbers_to_cast(Floats &x, int64_t count, int64_t stream) { append_floats(x, count, stream); }
void numbers_to_cast(Doubles &x, int64_t count, int64_t stream) { append_floats(x, count, stream); }

void conversions() {
  for (int64_t from = 0; from < 12; from++) {
    with_type(from, [from](auto source, uint64_t) {
      std::vector<decltype(source)> x;
      numbers_to_cast(x, 5001, 120);
      for (int64_t to = 0; to < 12; to++) {
        with_type(to, [&](auto target, uint64_t infinity) {
          std::vector<decltype(target)> out(x.size());
          CALL(mj_cast)(from, to, int64_t(x.size()), x.data(), out.data());
          digest_bits(with("cast", {from, to}), out, infinity);
        });
      }
    });
  }
}

}  // namespace

#if defined(__SANITIZE_ADDRESS__)
/* Stands in for mj::workspace (linked with --wrap): exactly as large as asked, and full of NaN. */
extern "C" __attribute__((visibility("default"))) void *__wrap__ZN2mj9workspaceENS_9WorkspaceEm(int which, size_t bytes) {
  struct Buffer {
    void *memory = nullptr;
    ~Buffer() { free(memory); }
  };
  thread_local Buffer buffers[16];
  void *&memory = buffers[which].memory;
  free(memory);
  if (posix_memalign(&memory, 64, bytes) != 0) abort();
  memset(memory, 0xFF, bytes);
  return memory;
}
#endif

int main(int argc, char **argv) {
  library = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : nullptr;
  if (library == nullptr) {
    fprintf(stderr, "%s\n", argc == 2 ? dlerror() : "usage: digests LIBRARY.so");
    return 2;
  }
  for (int64_t count : {1, 3}) {
    threads = count;
    CALL(mj_set_threads)(threads);
    CALL(mj_set_alone)(0);
    matrix_products();
    leaf_sums();
    tree_sums();
    statistics();
    sums_of_items();
    norms();
    convolutions();
    elementwise();
    random_numbers();
    recurrent();
    softmax_and_ctc();
    spectrograms();
    sound();
    optimizer();
    array_functions<float>(0);
    array_functions<double>(1);
    array_sums<float>(0);
    array_sums<double>(1);
    double_products();
    conversions();
  }
  CALL(mj_set_threads)(1); /* ends the workers */
  return 0;
}
