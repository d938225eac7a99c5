"""Launches of the matrix products (kernels/gpu/gemm.cu)."""

from __future__ import annotations

import numpy as np

from majelpy import tree
from majelpy.gpu import build, sums
from majelpy.gpu.launcher import Buffer, Launcher, ceil_div, host

LARGE, SMALL = ("mj_gemm_128x128_kernel", 128, 128, 256), ("mj_gemm_32x64_kernel", 32, 64, 128)
"""Kernels of matrix products: name, rows and columns of a tile, threads (kernels/gpu/gemm.cu)."""

STAGE = build.constant("MJ_STEP")
"""Terms that are brought in at a time."""


def product(
    on: Launcher,
    offsets: Buffer,
    merges: Buffer,
    leaves: int,
    m: int,
    n: int,
    a: tuple[int, int, int],
    b: tuple[int, int, int],
    slots: tuple[int, int, int],
    rounded: int,
) -> None:
    """Launch a matrix product over leaves of terms.

    Parameters
    ----------
    a, b : pointer, stride of an output's row (column), stride of a term
    slots : pointer, row stride, slot stride
    rounded : whether the tree keeps bfloat16
    """
    if m == 0 or n == 0 or leaves == 0:
        return
    tiles = ceil_div(m, LARGE[1]) * ceil_div(n, LARGE[2])
    fits = _shared(LARGE) <= on.shared_bytes
    tile = LARGE if m > SMALL[1] and fits and tiles >= on.multiprocessors // 2 else SMALL
    name, rows, columns, threads = tile
    on.launch(
        name,
        (ceil_div(m, rows) * ceil_div(n, columns),),
        (threads,),
        (leaves, offsets, merges, m, n, *a, b[0], b[2], b[1], *slots, rounded),
        shared=_shared(tile),
    )


def _shared(tile: tuple[str, int, int, int]) -> int:
    """Shared memory of a block: two stages of terms, each line padded by 4, and the totals."""
    _, rows, columns, _ = tile
    return 4 * (2 * STAGE * (rows + 4 + columns + 4) + rows * columns)


def mj_gemm(
    on: Launcher,
    m: int,
    n: int,
    k: int,
    parts: int,
    a: int,
    a_row: int,
    a_column: int,
    b: int,
    b_row: int,
    b_column: int,
    c: int,
    c_row: int,
) -> None:
    merges = on.upload(np.zeros(1, dtype=np.int32))
    nodes = [on.scratch(4 * m * n) for _ in range(parts if parts > 1 else 0)]
    for part, (first, last) in enumerate(tree.parts(k, parts)):
        offsets = on.upload(np.array([first, last], dtype=np.int64))
        to = (nodes[part].pointer, n, 0) if nodes else (c, c_row, 0)
        product(on, offsets, merges, 1, m, n, (a, a_row, a_column), (b, b_column, b_row), to, 0)
    if nodes:
        addresses = np.array([node.pointer for node in nodes], dtype=np.int64)
        program = np.array(tree.merges(parts, 0, parts), dtype=np.int32)
        target = np.array([c], dtype=np.int64)
        operands = (addresses.ctypes.data, program.ctypes.data, 1, target.ctypes.data)
        sums.mj_tree_sum(on, parts, *operands, m * n, 0)


def mj_gemm_leaves(
    on: Launcher,
    leaves: int,
    offsets: int,
    merges: int,
    m: int,
    n: int,
    a: int,
    a_row: int,
    b: int,
    b_row: int,
    slots: int,
    slot_stride: int,
    rounded: int,
) -> None:
    rows = on.upload(host(offsets, leaves + 1, np.int64))
    program = on.upload(host(merges, leaves, np.int32))
    to = (slots, n, slot_stride)
    product(on, rows, program, leaves, m, n, (a, 1, a_row), (b, 1, b_row), to, rounded)
