"""Launches of the array library (kernels/gpu/standard*.cu).

All pointers are addresses on the device, those to integers too.
"""

from __future__ import annotations

import numpy as np

from majelpy.gpu import build
from majelpy.gpu.launcher import THREADS, Buffer, Launcher, ceil_div, elements
from majelpy.gpu.sums import CHUNK
from majelpy.memory.numbering import BINARY, CLASSES, COMPARISONS, REDUCTIONS, TYPES, UNARY

SUM = REDUCTIONS.index("sum")
SQUARES, PRODUCTS = len(REDUCTIONS), len(REDUCTIONS) + 1
"""Further functions of a reduction (kernels/gpu/standard_sums.cu)."""

PART, LINE_THREADS, LINE_BYTES = build.constant("MJ_PART"), 64, 24
"""Of the kernels of lines: terms of a chunk in shared memory, threads, bytes of a chunk's place."""

PHILOX_BYTES = 16
"""Of a block of Philox."""

GEMM_SIDE, GEMM_TERMS = build.constant("MJ_SIDE"), build.constant("MJ_TERMS")
"""Rows and columns of a tile of float64 products, terms of a stage."""


QUADS = {
    *("sqrt", "square", "reciprocal", "negative", "abs", "sign"),
    *("add", "subtract", "multiply", "divide", "maximum", "minimum", "copysign", "nextafter"),
}
"""Functions whose threads take four numbers of float32 a turn (kernels/gpu/quads.h)."""


def _turns(name: str, kind: int, count: int) -> int:
    return ceil_div(count, 4) if kind == 0 and name in QUADS else count


def mj_unary(on: Launcher, function: int, kind: int, count: int, x: int, out: int) -> None:
    arguments = (kind, count, x, out)
    turns = _turns(UNARY[function], kind, count)
    elements(on, f"mj_unary_{UNARY[function]}_kernel", turns, arguments)


def mj_binary(
    on: Launcher,
    function: int,
    kind: int,
    count: int,
    a: int,
    a_step: int,
    b: int,
    b_step: int,
    out: int,
) -> None:
    arguments = (kind, count, a, a_step, b, b_step, out)
    turns = _turns(BINARY[function], kind, count)
    elements(on, f"mj_binary_{BINARY[function]}_kernel", turns, arguments)


def mj_compare(
    on: Launcher,
    function: int,
    kind: int,
    count: int,
    a: int,
    a_step: int,
    b: int,
    b_step: int,
    out: int,
) -> None:
    arguments = (kind, count, a, a_step, b, b_step, out)
    elements(on, f"mj_compare_{COMPARISONS[function]}_kernel", count, arguments)


def mj_classify(on: Launcher, function: int, kind: int, count: int, x: int, out: int) -> None:
    elements(on, f"mj_classify_{CLASSES[function]}_kernel", count, (kind, count, x, out))


def _beside(n: int, inner: int) -> bool:
    """Say whether terms lie beside each other, enough of them for a part in shared memory."""
    return inner == 1 and n >= PART


def _lines(
    on: Launcher,
    kernel: str,
    function: int,
    kind: int,
    outer: int,
    n: int,
    pointers: tuple[int | Buffer, ...],
) -> None:
    """Launch a kernel of lines, a thread a chunk."""
    size = TYPES[kind].itemsize * (2 if function == PRODUCTS else 1)
    on.launch(
        kernel,
        (ceil_div(outer * ceil_div(n, CHUNK), LINE_THREADS),),
        (LINE_THREADS,),
        (function, kind, outer, n, *pointers),
        shared=LINE_THREADS * (LINE_BYTES + (PART + 1) * size),
    )


def _totals(
    on: Launcher,
    function: int,
    kind: int,
    outer: int,
    chunks: int,
    inner: int,
    sums: Buffer,
    out: int,
) -> None:
    """Turn sums of chunks into running totals, the last ones to ``out`` unless it is 0."""
    if _beside(chunks, inner):
        on.launch(
            "mj_line_totals_kernel",
            (min(outer, 32 * on.multiprocessors),),
            (THREADS,),
            (function, kind, outer, chunks, sums, out),
            shared=TYPES[kind].itemsize * THREADS,
        )
    else:
        arguments = (function, kind, outer, chunks, inner, sums, out)
        elements(on, "mj_totals_kernel", outer * inner, arguments)


def _chunk_sums(
    on: Launcher,
    function: int,
    kind: int,
    outer: int,
    n: int,
    inner: int,
    x: int,
    y: int,
    sums: int | Buffer,
) -> None:
    if _beside(n, inner):
        _lines(on, "mj_reduce_lines_kernel", function, kind, outer, n, (x, y, sums))
    else:
        count = outer * ceil_div(n, CHUNK) * inner
        arguments = (function, kind, outer, n, inner, x, y, sums)
        elements(on, "mj_reduce_chunks_kernel", count, arguments)


def _reduce(
    on: Launcher,
    function: int,
    kind: int,
    outer: int,
    n: int,
    inner: int,
    x: int,
    y: int,
    out: int,
) -> None:
    """Reduce the middle axis; the total of one chunk is that chunk."""
    if outer == 0 or inner == 0:
        return
    chunks = ceil_div(n, CHUNK)
    if chunks == 1:
        _chunk_sums(on, function, kind, outer, n, inner, x, y, out)
        return
    sums = on.scratch(TYPES[kind].itemsize * outer * chunks * inner)
    _chunk_sums(on, function, kind, outer, n, inner, x, y, sums)
    rule = SUM if function in (SQUARES, PRODUCTS) else function
    _totals(on, rule, kind, outer, chunks, inner, sums, out)


def mj_reduce(
    on: Launcher, function: int, kind: int, outer: int, n: int, inner: int, x: int, out: int
) -> None:
    _reduce(on, function, kind, outer, n, inner, x, 0, out)


def mj_reduce_squares(
    on: Launcher, kind: int, outer: int, n: int, inner: int, x: int, means: int, out: int
) -> None:
    _reduce(on, SQUARES, kind, outer, n, inner, x, means, out)


def mj_dot_rows(on: Launcher, kind: int, rows: int, n: int, a: int, b: int, out: int) -> None:
    _reduce(on, PRODUCTS, kind, rows, n, 1, a, b, out)


def mj_cumulate(
    on: Launcher, function: int, kind: int, outer: int, n: int, inner: int, x: int, out: int
) -> None:
    if outer == 0 or n == 0 or inner == 0:
        return
    chunks = ceil_div(n, CHUNK)
    totals = on.scratch(TYPES[kind].itemsize * outer * chunks * inner)
    if chunks > 1:
        _chunk_sums(on, function, kind, outer, n, inner, x, 0, totals)
        _totals(on, function, kind, outer, chunks, inner, totals, 0)
    if _beside(n, inner):
        _lines(on, "mj_cumulate_lines_kernel", function, kind, outer, n, (x, totals, out))
    else:
        arguments = (function, kind, outer, n, inner, x, totals, out)
        elements(on, "mj_cumulate_chunks_kernel", outer * chunks * inner, arguments)


def mj_gemm_double(on: Launcher, m: int, n: int, k: int, a: int, b: int, c: int) -> None:
    if m > 0 and n > 0:
        tiles = ceil_div(m, GEMM_SIDE) * ceil_div(n, GEMM_SIDE)
        shared = np.dtype(np.float64).itemsize * GEMM_TERMS * (2 * GEMM_SIDE + 1)
        on.launch("mj_gemm_double_kernel", (tiles,), (256,), (m, n, k, a, b, c), shared=shared)


def mj_random_bits(on: Launcher, count: int, key: int, stream: int, out: int) -> None:
    elements(on, "mj_random_bits_kernel", ceil_div(count, 2), (count, key, stream, out))


def mj_random_uniform(
    on: Launcher, kind: int, count: int, key: int, stream: int, ends: int, out: int
) -> None:
    arguments = (kind, count, key, stream, ends, out)
    elements(on, "mj_random_uniform_kernel", ceil_div(count, _numbers(kind)), arguments)


def mj_random_normal(on: Launcher, kind: int, count: int, key: int, stream: int, out: int) -> None:
    arguments = (kind, count, key, stream, out)
    elements(on, "mj_random_normal_kernel", ceil_div(count, _numbers(kind)), arguments)


def _numbers(kind: int) -> int:
    """Numbers of a floating type that a block of Philox gives."""
    return PHILOX_BYTES // TYPES[kind].itemsize


def mj_random_coins(on: Launcher, count: int, key: int, stream: int, heads: int, out: int) -> None:
    arguments = (count, key, stream, heads, out)
    elements(on, "mj_random_coins_kernel", ceil_div(count, 2), arguments)
