/* The scheduler of the emulation, memory with guards, and calls by name; see emulation.h. */
#include "emulation.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "drivers.inc"

mj_fiber *mj_now;
mj_extent mj_grid, mj_block;

namespace {

constexpr size_t STACK = 1 << 16;
enum State { READY, AT_BARRIER, DONE };

/* A stack that runs one fiber after another. It is entered by a context once, and left and taken up
 * again by jumps, which unlike contexts cost no system call. */
struct Worker {
  jmp_buf at;
  bool begun = false;
  char *stack = static_cast<char *>(mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
};

struct Fiber : mj_fiber {
  Worker *worker;
  State state;
  size_t of; /* index of its block */
};

jmp_buf scheduler;
uint64_t at_once; /* of copies: 0 none, 1 all, else the seed that says which */
void (*kernel)(void **);
void **arguments;

/* Let the fiber that runs stand so, and return when it is taken up again. */
__attribute__((noinline)) void pause(State state) {
  Fiber *self = static_cast<Fiber *>(mj_now);
  self->state = state;
  if (_setjmp(self->worker->at) == 0) _longjmp(scheduler, 1);
}

void work() {
  for (;;) {
    kernel(arguments);
    pause(DONE); /* until there is another fiber */
  }
}

/* Run a fiber until it pauses. */
__attribute__((noinline)) void resume(Fiber &fiber) {
  mj_now = &fiber;
  if (_setjmp(scheduler) != 0) return;
  Worker &worker = *fiber.worker;
  if (worker.begun) _longjmp(worker.at, 1);
  worker.begun = true;
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = worker.stack;
  context.uc_stack.ss_size = STACK;
  context.uc_link = nullptr;
  makecontext(&context, work, 0);
  setcontext(&context);
}

/* Workers are kept between launches. */
Worker *worker_of(size_t fiber) {
  static std::vector<std::unique_ptr<Worker>> workers;
  while (workers.size() <= fiber) workers.push_back(std::make_unique<Worker>());
  return workers[fiber].get();
}

uint64_t draw(uint64_t &seed) { /* splitmix64 */
  uint64_t z = seed += 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

void arrive(const mj_copy &copy) {
  if (copy.from == nullptr) {
    *copy.to = 0.0f;
  } else {
    memcpy(copy.to, copy.from, sizeof(float) * copy.floats);
  }
}

/* Run the blocks first..last side by side. order: 0 ascending, 1 descending, else the seed of a shuffle. */
void run_blocks(size_t first, size_t last, size_t shared, uint64_t order) {
  const size_t threads = (size_t)mj_block.x * mj_block.y * mj_block.z;
  std::vector<Fiber> fibers((last - first) * threads);
  std::vector<std::vector<uint32_t>> memory(last - first, std::vector<uint32_t>(shared / 4 + 4, 0x7FC0DEAD));
  std::vector<size_t> sequence(fibers.size()), waiting(last - first);
  for (size_t i = 0; i < fibers.size(); i++) {
    Fiber &f = fibers[i];
    const size_t b = first + i / threads, t = i % threads;
    f.block = {(unsigned)(b % mj_grid.x), (unsigned)(b / mj_grid.x % mj_grid.y), (unsigned)(b / mj_grid.x / mj_grid.y)};
    f.thread = {(unsigned)(t % mj_block.x), (unsigned)(t / mj_block.x % mj_block.y), (unsigned)(t / mj_block.x / mj_block.y)};
    f.of = i / threads;
    const uintptr_t start = ((uintptr_t)memory[f.of].data() + 15) / 16 * 16;
    f.shared = reinterpret_cast<float *>(start);
    f.state = READY;
    f.worker = worker_of(i);
    f.copies.resize(1);
    sequence[i] = order == 1 ? fibers.size() - 1 - i : i;
  }
  for (size_t alive = fibers.size(); alive > 0;) {
    if (order > 1) {
      for (size_t i = sequence.size(); i > 1; i--) std::swap(sequence[i - 1], sequence[draw(order) % i]);
    }
    for (size_t i : sequence) {
      Fiber &f = fibers[i];
      if (f.state != READY) continue;
      resume(f);
      for (const auto &group : f.copies) {
        if (f.state != DONE || group.empty()) continue;
        fprintf(stderr, "emulation: a thread ended before its copies arrived\n");
        abort();
      }
    }
    std::fill(waiting.begin(), waiting.end(), 0);
    alive = 0;
    std::vector<size_t> done(last - first);
    for (const Fiber &f : fibers) {
      waiting[f.of] += f.state == AT_BARRIER;
      done[f.of] += f.state == DONE;
      alive += f.state != DONE;
    }
    for (size_t b = 0; b < waiting.size(); b++) {
      if (waiting[b] > 0 && done[b] > 0) {
        fprintf(stderr, "emulation: %zu threads of a block ended and %zu wait at a barrier\n", done[b], waiting[b]);
        abort();
      }
    }
    for (Fiber &f : fibers) {
      if (f.state == AT_BARRIER && waiting[f.of] == threads) f.state = READY;
    }
  }
}

template <class... A, size_t... I> void call(void (*f)(A...), void **slots, std::index_sequence<I...>) {
  f(*reinterpret_cast<A *>(slots[I])...);
}
template <auto F> struct Caller;
template <class... A, void (*F)(A...)> struct Caller<F> {
  static void with(void **slots) { call(F, slots, std::index_sequence_for<A...>()); }
  static constexpr size_t COUNT = sizeof...(A);
};

struct Entry {
  const char *name;
  void (*with)(void **);
  size_t count;
};
#define ENTRY(name) {#name, Caller<&name>::with, Caller<&name>::COUNT},
const Entry entries[] = {
#include "table.inc"
};

}  // namespace

void mj_barrier() { pause(AT_BARRIER); }
void mj_wait() { pause(READY); }

void mj_copy_later(float *to, const float *from, int floats) {
  const mj_copy copy = {to, from, floats};
  if (at_once == 1 || (at_once > 1 && draw(at_once) % 2)) {
    arrive(copy);
  } else {
    mj_now->copies.back().push_back(copy);
  }
}
void mj_copies_close() { mj_now->copies.emplace_back(); }
void mj_copies_arrive(size_t left) {
  auto &copies = mj_now->copies;
  while (copies.size() > left + 1) {
    for (const mj_copy &copy : copies.front()) arrive(copy);
    copies.erase(copies.begin());
  }
}

/* 0, or 1: no such kernel, 2: another number of arguments. */
extern "C" int mj_emulate(const char *name, const unsigned *grid, const unsigned *block, size_t shared, int together, uint64_t order, size_t count, void **slots) {
  for (const Entry &entry : entries) {
    if (strcmp(entry.name, name) != 0) continue;
    if (entry.count != count) return 2;
    kernel = entry.with;
    arguments = slots;
    at_once = order;
    mj_grid = {grid[0], grid[1], grid[2]};
    mj_block = {block[0], block[1], block[2]};
    const size_t blocks = (size_t)grid[0] * grid[1] * grid[2];
    for (size_t b = 0; b < blocks; b += together ? blocks : 1) {
      run_blocks(b, together ? blocks : b + 1, shared, order);
    }
    return 0;
  }
  return 1;
}

/* Memory that ends (to 16 bytes) at a page that must not be touched, filled with NaN. */
extern "C" void *mj_guarded(size_t bytes) {
  const size_t page = 4096, size = (bytes + 15) / 16 * 16, pages = (size + page - 1) / page * page;
  char *base = static_cast<char *>(mmap(nullptr, pages + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  mprotect(base + pages, page, PROT_NONE);
  uint32_t *words = reinterpret_cast<uint32_t *>(base);
  std::fill(words, words + pages / 4, 0x7FC0DEAD);
  return base + pages - size;
}

extern "C" void mj_release(void *pointer, size_t bytes) {
  const size_t page = 4096, size = (bytes + 15) / 16 * 16, pages = (size + page - 1) / page * page;
  munmap(static_cast<char *>(pointer) + size - pages, pages + page);
}
