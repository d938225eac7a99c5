/* Threads of the CPU drivers.
 *
 * Policy. Tasks are handed out by a counter, so which thread runs a task depends on timing; a
 * task therefore owns its outputs and never adds to another's. Waiting threads spin for some
 * microseconds and then sleep, so that ranks that share cores do not hold each other up.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace mj {

int64_t threads();
void set_threads(int64_t count);

/* Run call(context, task) for each task of 0..tasks-1; returns when all are done. */
void run_tasks(int64_t tasks, void (*call)(void *context, int64_t task), void *context);

template <class Body> void parallel(int64_t tasks, Body &&body) {
  auto call = [](void *context, int64_t task) { (*static_cast<Body *>(context))(task); };
  run_tasks(tasks, call, const_cast<void *>(static_cast<const void *>(&body)));
}

/* parallel over 0..count in blocks of `grain`, body(start, stop). */
template <class Body> void parallel_blocks(int64_t count, int64_t grain, Body &&body) {
  parallel((count + grain - 1) / grain, [&](int64_t task) {
    const int64_t start = task * grain;
    body(start, start + grain < count ? start + grain : count);
  });
}

/* Workspaces that keep their memory between calls (none is taken in the steady state). Each
 * thread has its own; `which` tells apart those that one function needs at the same time. */
enum Workspace { PACKED_A, PACKED_B, STATE, LATTICE, WORKSPACES };
void *workspace(Workspace which, size_t bytes);
template <class T> T *workspace_of(Workspace which, size_t count) {
  return static_cast<T *>(workspace(which, count * sizeof(T)));
}

}  // namespace mj
