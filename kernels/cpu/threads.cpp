/* Threads of the CPU drivers; the policy stands in threads.h. */
#include "threads.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <stdlib.h>
#include <thread>
#include <vector>

#include "../entry_points.h"

namespace mj {
namespace {

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

constexpr int SPINS = 2000;

/* One team of sleeping workers; the calling thread works too. */
class Team {
 public:
  ~Team() { resize(1); }

  int64_t size() const { return static_cast<int64_t>(workers_.size()) + 1; }

  void resize(int64_t count) {
    stop_ = true;
    announce();
    for (auto &worker : workers_) worker.join();
    workers_.clear();
    stop_ = false;
    for (int64_t i = 1; i < count; i++) workers_.emplace_back([this, seen = round_.load()] { work(seen); });
  }

  void run(int64_t tasks, void (*call)(void *, int64_t), void *context) {
    std::lock_guard<std::mutex> one_caller(callers_);
    call_ = call;
    context_ = context;
    tasks_ = tasks;
    next_.store(0, std::memory_order_relaxed);
    busy_.store(static_cast<int64_t>(workers_.size()), std::memory_order_relaxed);
    announce();
    take();
    for (int spin = 0; busy_.load(std::memory_order_acquire) > 0; spin++) {
      if (spin < SPINS) {
        relax();
      } else {
        std::this_thread::yield();
      }
    }
  }

 private:
  void announce() {
    {
      std::lock_guard<std::mutex> lock(sleep_);
      round_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
  }

  void take() {
    for (int64_t task; (task = next_.fetch_add(1, std::memory_order_relaxed)) < tasks_;) call_(context_, task);
  }

  void work(uint64_t seen) {
    for (;;) {
      for (int spin = 0; spin < SPINS && round_.load(std::memory_order_acquire) == seen; spin++) relax();
      if (round_.load(std::memory_order_acquire) == seen) {
        std::unique_lock<std::mutex> lock(sleep_);
        wake_.wait(lock, [&] { return round_.load(std::memory_order_acquire) != seen; });
      }
      seen++;
      if (stop_) return;
      take();
      busy_.fetch_sub(1, std::memory_order_release);
    }
  }

  std::vector<std::thread> workers_;
  std::mutex callers_, sleep_;
  std::condition_variable wake_;
  std::atomic<uint64_t> round_{0};
  std::atomic<int64_t> next_{0}, busy_{0};
  std::atomic<bool> stop_{false};
  int64_t tasks_ = 0;
  void (*call_)(void *, int64_t) = nullptr;
  void *context_ = nullptr;
};

/* Never destroyed: at exit a worker may still sleep in it. */
Team &team() {
  static Team *the_team = new Team;
  return *the_team;
}

thread_local bool alone = false;

struct Buffer {
  void *memory = nullptr;
  size_t bytes = 0;
  ~Buffer() { free(memory); }
};

}  // namespace

int64_t threads() { return team().size(); }
void set_threads(int64_t count) { team().resize(count); }

void run_tasks(int64_t tasks, void (*call)(void *, int64_t), void *context) {
  if (tasks <= 1 || alone || team().size() == 1) {
    for (int64_t task = 0; task < tasks; task++) call(context, task);
  } else {
    team().run(tasks, call, context);
  }
}

void *workspace(Workspace which, size_t bytes) {
  thread_local Buffer buffers[WORKSPACES];
  Buffer &buffer = buffers[which];
  if (buffer.bytes < bytes) {
    free(buffer.memory);
    const size_t page = 4096;
    buffer.bytes = (bytes + page - 1) / page * page;
    buffer.memory = aligned_alloc(page, buffer.bytes);
    if (buffer.memory == nullptr) abort();
  }
  return buffer.memory;
}

}  // namespace mj

void mj_set_threads(int64_t threads) { mj::set_threads(threads); }
void mj_set_alone(int64_t alone) { mj::alone = alone != 0; }
