// What the machine can do at most: chains of independent fma in registers, and a triad over memory.
// Built with -march=native by machine.py. Usage: peak fma|triad THREADS; prints a number.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
typedef float Vector __attribute__((vector_size(kLanes * 4)));
constexpr int kChains = 12;  // enough to hide latency, few enough for the registers
constexpr long kRounds = 20000000;
constexpr size_t kFloats = size_t(1) << 26;  // an array of the triad: beyond all caches

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void chains(float* out) {
  Vector x[kChains], a, b;
  for (int i = 0; i < kLanes; ++i) a[i] = 0.999f, b[i] = 1e-3f;
  for (int c = 0; c < kChains; ++c) x[c] = a + float(c);
  for (long round = 0; round < kRounds; ++round)
    for (int c = 0; c < kChains; ++c) {
      x[c] = x[c] * a + b;  // one fma: -ffp-contract=fast
      asm volatile("" : "+v"(x[c]));
    }
  for (int c = 0; c < kChains; ++c) *out += x[c][0];
}

template <class Work>
double seconds(int threads, Work work) {
  std::vector<std::thread> pool;
  const double start = now();
  for (int t = 0; t < threads; ++t) pool.emplace_back(work, t);
  for (auto& thread : pool) thread.join();
  return now() - start;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const int threads = std::atoi(argv[2]);
  std::vector<float> sink(threads * 64);
  if (!std::strcmp(argv[1], "fma")) {
    const double operations = 2.0 * kLanes * kChains * double(kRounds) * threads;
    double best = 0;
    for (int i = 0; i < 3; ++i) {
      const double rate = operations / seconds(threads, [&](int t) { chains(&sink[t * 64]); });
      if (rate > best) best = rate;
    }
    std::printf("%.4g\n", best);
    return sink[0] == 0.123f;
  }
  std::vector<float> a(kFloats, 0.f), b(kFloats, 1.f), c(kFloats, 2.f);
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    const double took = seconds(threads, [&](int t) {
      const size_t from = kFloats / threads * t, to = from + kFloats / threads;
      for (size_t j = from; j < to; ++j) a[j] = b[j] + 3.f * c[j];
    });
    if (12.0 * kFloats / took > best) best = 12.0 * kFloats / took;
  }
  std::printf("%.4g\n", best);
  return a[1] == 0.123f;
}
