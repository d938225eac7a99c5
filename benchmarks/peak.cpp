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
#if defined(__x86_64__)
#define MJ_KEEP(x) "+v"(x)
#else
#define MJ_KEEP(x) "+w"(x)
#endif
typedef float Vector __attribute__((vector_size(kLanes * 4)));
constexpr int kChains = 12;  // enough to hide latency, few enough for the registers
constexpr long kRounds = 20000000;
constexpr size_t kFloats = size_t(1) << 26;  // an array of the triad: beyond all caches

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Each chain is a variable of its own: an array of them would live in memory, not in registers.
void chains(float* out) {
  Vector a, b;
  for (int i = 0; i < kLanes; ++i) a[i] = 0.999f, b[i] = 1e-3f;
  Vector x0 = a, x1 = a, x2 = a, x3 = a, x4 = a, x5 = a;
  Vector x6 = a, x7 = a, x8 = a, x9 = a, x10 = a, x11 = a;
  for (long round = 0; round < kRounds; ++round) {
    x0 = x0 * a + b, x1 = x1 * a + b, x2 = x2 * a + b, x3 = x3 * a + b;  // fma: -ffp-contract=fast
    x4 = x4 * a + b, x5 = x5 * a + b, x6 = x6 * a + b, x7 = x7 * a + b;
    x8 = x8 * a + b, x9 = x9 * a + b, x10 = x10 * a + b, x11 = x11 * a + b;
    // The chains begin alike; here the compiler has to believe that they differ.
    asm volatile("" : MJ_KEEP(x0), MJ_KEEP(x1), MJ_KEEP(x2), MJ_KEEP(x3),
                      MJ_KEEP(x4), MJ_KEEP(x5), MJ_KEEP(x6), MJ_KEEP(x7),
                      MJ_KEEP(x8), MJ_KEEP(x9), MJ_KEEP(x10), MJ_KEEP(x11));
  }
  *out += (x0 + x1 + x2 + x3 + x4 + x5 + x6 + x7 + x8 + x9 + x10 + x11)[0];
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
