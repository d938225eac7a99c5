/* Drivers of the array library: reductions and running sums along an axis.
 *
 * Policy. (outer, n, inner) is cut into chunks of MJ_CHUNK terms along n; a thread a chunk and inner
 * index. Where inner is 1 a chunk's terms lie beside each other, and a block brings them in, 32 of
 * each of its chunks at a time, through shared memory. Then a pass over the chunks of an output turns
 * their sums into running totals, in ascending order. A running sum runs over each chunk once more.
 */
#include "../standard_rules.h"
#include "driver.h"

/* What is summed: start() and total() of a rule; at(term, output) is read and add() joins it. */
template <class Rule, class T> struct mj_numbers : Rule {
  typedef T Number, Value;
  const T *x;
  MJ_DEVICE_MEMBER Value at(mj_i64 i, mj_i64) const { return x[i]; }
  MJ_DEVICE_MEMBER static T add(T acc, Value v) { return Rule::term(acc, v); }
};
template <class T> struct mj_squares : mj_sum_rule<T> {
  typedef T Number, Value;
  const T *x, *means;
  MJ_DEVICE_MEMBER Value at(mj_i64 i, mj_i64 output) const { return mj_square_from(x[i], means[output]); }
  MJ_DEVICE_MEMBER static T add(T acc, Value v) { return mj_term(acc, v); }
};
template <class T> struct mj_products : mj_sum_rule<T> {
  typedef T Number;
  struct Value { T a, b; };
  const T *x, *y;
  MJ_DEVICE_MEMBER Value at(mj_i64 i, mj_i64) const { return {x[i], y[i]}; }
  MJ_DEVICE_MEMBER static T add(T acc, Value v) { return mj_product_term(acc, v.a, v.b); }
};

/* run(terms) of one of the four rules; functions 4 and 5 are squares of deviations and products. */
template <class T, class Run> MJ_DEVICE void mj_with_numbers(mj_i64 function, const void *x, Run run) {
  const T *a = (const T *)x;
  switch (function) {
    case 0: return run(mj_numbers<mj_sum_rule<T>, T>{{}, a});
    case 1: return run(mj_numbers<mj_product_rule<T>, T>{{}, a});
    case 2: return run(mj_numbers<mj_largest_rule<T>, T>{{}, a});
    default: return run(mj_numbers<mj_smallest_rule<T>, T>{{}, a});
  }
}
template <class T, class Run> MJ_DEVICE void mj_with_terms(mj_i64 function, const void *x, const void *y, Run run) {
  const T *a = (const T *)x, *b = (const T *)y;
  switch (function) {
    case 4: return run(mj_squares<T>{{}, a, b});
    case 5: return run(mj_products<T>{{}, a, b});
    default: return mj_with_numbers<T>(function, x, run);
  }
}

MJ_DEVICE mj_i64 mj_chunks(mj_i64 n) { return (n + MJ_CHUNK - 1) / MJ_CHUNK; }

/* body(e, o, c, j) for each chunk c of outer index o at inner index j, e-th in that order. */
template <class Body> MJ_DEVICE void mj_each_chunk(mj_i64 outer, mj_i64 n, mj_i64 inner, Body body) {
  const mj_i64 chunks = mj_chunks(n);
  mj_elements(outer * chunks * inner, [=](mj_i64 e) {
    const mj_i64 above = e / inner;
    body(e, above / chunks, above % chunks, e % inner);
  });
}

struct mj_reduce_chunks {
  mj_i64 outer, n, inner;
  void *sums;
  template <class Terms> MJ_DEVICE_MEMBER void operator()(Terms terms) const {
    typedef typename Terms::Number T;
    mj_each_chunk(outer, n, inner, [=](mj_i64 e, mj_i64 o, mj_i64 c, mj_i64 j) {
      const mj_i64 stop = mj_least((c + 1) * MJ_CHUNK, n);
      T acc = terms.start();
#pragma unroll 8
      for (mj_i64 i = c * MJ_CHUNK; i < stop; i++) acc = terms.add(acc, terms.at((o * n + i) * inner + j, o * inner + j));
      ((T *)sums)[e] = acc;
    });
  }
};
MJ_KERNEL mj_reduce_chunks_kernel(mj_i64 function, mj_i64 type, mj_i64 outer, mj_i64 n, mj_i64 inner, const void *x, const void *y, void *sums) {
  const mj_reduce_chunks run = {outer, n, inner, sums};
  type == 0 ? mj_with_terms<float>(function, x, y, run) : mj_with_terms<mj_f64>(function, x, y, run);
}

/* x turns into the running sums along n; totals are those up to each chunk's end. */
struct mj_cumulate_chunks {
  mj_i64 outer, n, inner;
  const void *totals; void *out;
  template <class Terms> MJ_DEVICE_MEMBER void operator()(Terms terms) const {
    typedef typename Terms::Number T;
    mj_each_chunk(outer, n, inner, [=](mj_i64 e, mj_i64 o, mj_i64 c, mj_i64 j) {
      const mj_i64 stop = mj_least((c + 1) * MJ_CHUNK, n);
      const T before = c == 0 ? terms.start() : ((const T *)totals)[e - inner];
      T acc = terms.start();
      for (mj_i64 i = c * MJ_CHUNK; i < stop; i++) {
        const mj_i64 at = (o * n + i) * inner + j;
        acc = terms.add(acc, terms.at(at, 0));
        ((T *)out)[at] = terms.total(c == 0, before, acc);
      }
    });
  }
};
MJ_KERNEL mj_cumulate_chunks_kernel(mj_i64 function, mj_i64 type, mj_i64 outer, mj_i64 n, mj_i64 inner, const void *x, const void *totals, void *out) {
  const mj_cumulate_chunks run = {outer, n, inner, totals, out};
  type == 0 ? mj_with_numbers<float>(function, x, run) : mj_with_numbers<mj_f64>(function, x, run);
}

/* A chunk of terms that lie beside each other. */
struct mj_line { mj_i64 start, count, output; };

#define MJ_PART 32 /* terms of a chunk that are in shared memory */

/* A thread a chunk, inner = 1. visit(value) by the thread of its chunk, in ascending order; leave(term,
 * value) once all values of a part are visited. Shared memory: a line and MJ_PART + 1 values a thread. */
template <class Terms, class Visit, class Leave>
MJ_DEVICE void mj_by_lines(mj_i64 outer, mj_i64 n, Terms terms, Visit visit, Leave leave) {
  typedef typename Terms::Value Value;
  const int threads = blockDim.x, thread = threadIdx.x;
  const mj_i64 chunks = mj_chunks(n), mine = (mj_i64)blockIdx.x * threads + thread;
  mj_line *lines = (mj_line *)mj_shared;
  Value *values = (Value *)(lines + threads);
  mj_line line = {0, 0, 0};
  if (mine < outer * chunks) {
    const mj_i64 first = mine % chunks * MJ_CHUNK;
    line.output = mine / chunks;
    line.start = line.output * n + first;
    line.count = mj_least(MJ_CHUNK, n - first);
  }
  lines[thread] = line;
  __syncthreads();
  const mj_i64 longest = mj_least(MJ_CHUNK, n);
  for (mj_i64 done = 0; done < longest; done += MJ_PART) {
    for (int e = thread; e < threads * MJ_PART; e += threads) {
      const mj_line from = lines[e / MJ_PART];
      const mj_i64 i = done + e % MJ_PART;
      if (i < from.count) values[e / MJ_PART * (MJ_PART + 1) + e % MJ_PART] = terms.at(from.start + i, from.output);
    }
    __syncthreads();
    const mj_i64 live = mj_least(MJ_PART, line.count - done);
    for (int i = 0; i < live; i++) visit(values[thread * (MJ_PART + 1) + i]);
    __syncthreads();
    for (int e = thread; e < threads * MJ_PART; e += threads) { /* the numbers that this thread brought in */
      const mj_line to = lines[e / MJ_PART];
      const mj_i64 i = done + e % MJ_PART;
      if (i < to.count) leave(to.start + i, values[e / MJ_PART * (MJ_PART + 1) + e % MJ_PART]);
    }
  }
}

struct mj_reduce_lines {
  mj_i64 outer, n;
  void *sums;
  template <class Terms> MJ_DEVICE_MEMBER void operator()(Terms terms) const {
    typedef typename Terms::Number T;
    typedef typename Terms::Value Value;
    T acc = terms.start();
    mj_by_lines(outer, n, terms, [&](const Value &v) { acc = terms.add(acc, v); }, [](mj_i64, const Value &) {});
    const mj_i64 mine = (mj_i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (mine < outer * mj_chunks(n)) ((T *)sums)[mine] = acc;
  }
};
MJ_KERNEL mj_reduce_lines_kernel(mj_i64 function, mj_i64 type, mj_i64 outer, mj_i64 n, const void *x, const void *y, void *sums) {
  const mj_reduce_lines run = {outer, n, sums};
  type == 0 ? mj_with_terms<float>(function, x, y, run) : mj_with_terms<mj_f64>(function, x, y, run);
}

struct mj_cumulate_lines {
  mj_i64 outer, n;
  const void *totals; void *out;
  template <class Terms> MJ_DEVICE_MEMBER void operator()(Terms terms) const {
    typedef typename Terms::Number T;
    typedef typename Terms::Value Value;
    const mj_i64 chunks = mj_chunks(n), mine = (mj_i64)blockIdx.x * blockDim.x + threadIdx.x;
    const bool first = mine % chunks == 0;
    const T before = first || mine >= outer * chunks ? terms.start() : ((const T *)totals)[mine - 1];
    T acc = terms.start();
    mj_by_lines(
        outer, n, terms,
        [&](Value &v) {
          acc = terms.add(acc, v);
          v = terms.total(first, before, acc);
        },
        [=](mj_i64 i, const Value &v) { ((T *)out)[i] = v; });
  }
};
MJ_KERNEL mj_cumulate_lines_kernel(mj_i64 function, mj_i64 type, mj_i64 outer, mj_i64 n, const void *x, const void *totals, void *out) {
  const mj_cumulate_lines run = {outer, n, totals, out};
  type == 0 ? mj_with_numbers<float>(function, x, run) : mj_with_numbers<mj_f64>(function, x, run);
}

/* The sums of the chunks, (outer, chunks, inner), turn into running totals; the last ones go to out, if
 * there is one. A thread an output. */
struct mj_totals {
  mj_i64 outer, chunks, inner;
  void *sums, *out;
  template <class Terms> MJ_DEVICE_MEMBER void operator()(Terms terms) const {
    typedef typename Terms::Number T;
    mj_elements(outer * inner, [=](mj_i64 e) {
      T *sum = (T *)sums + e / inner * chunks * inner + e % inner, total = terms.start();
      for (mj_i64 c = 0; c < chunks; c += 8) {
        T part[8]; /* so that 8 loads are under way at once */
#pragma unroll
        for (int i = 0; i < 8; i++) part[i] = c + i < chunks ? sum[(c + i) * inner] : T(0);
#pragma unroll
        for (int i = 0; i < 8; i++) {
          if (c + i < chunks) sum[(c + i) * inner] = total = terms.total(c + i == 0, total, part[i]);
        }
      }
      if (out != nullptr) ((T *)out)[e] = total;
    });
  }
};
MJ_KERNEL mj_totals_kernel(mj_i64 function, mj_i64 type, mj_i64 outer, mj_i64 chunks, mj_i64 inner, void *sums, void *out) {
  const mj_totals run = {outer, chunks, inner, sums, out};
  type == 0 ? mj_with_numbers<float>(function, sums, run) : mj_with_numbers<mj_f64>(function, sums, run);
}

/* The same for inner = 1: a block an output. Shared memory: a number a thread. */
struct mj_line_totals {
  mj_i64 outer, chunks;
  void *sums, *out;
  template <class Terms> MJ_DEVICE_MEMBER void operator()(Terms terms) const {
    typedef typename Terms::Number T;
    T *part = (T *)mj_shared;
    for (mj_i64 o = blockIdx.x; o < outer; o += gridDim.x) {
      T *sum = (T *)sums + o * chunks, total = terms.start();
      for (mj_i64 first = 0; first < chunks; first += blockDim.x) {
        const mj_i64 mine = first + threadIdx.x;
        if (mine < chunks) part[threadIdx.x] = sum[mine];
        __syncthreads();
        if (threadIdx.x == 0) {
          const mj_i64 live = mj_least(blockDim.x, chunks - first);
          for (mj_i64 c = 0; c < live; c++) {
            total = terms.total(first + c == 0, total, part[c]);
            part[c] = total;
          }
        }
        __syncthreads();
        if (mine < chunks) sum[mine] = part[threadIdx.x];
      }
      if (threadIdx.x == 0 && out != nullptr) ((T *)out)[o] = total;
    }
  }
};
MJ_KERNEL mj_line_totals_kernel(mj_i64 function, mj_i64 type, mj_i64 outer, mj_i64 chunks, void *sums, void *out) {
  const mj_line_totals run = {outer, chunks, sums, out};
  type == 0 ? mj_with_numbers<float>(function, sums, run) : mj_with_numbers<mj_f64>(function, sums, run);
}
