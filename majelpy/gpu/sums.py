"""Launches of canonical sums: the sums of chunks, then their totals (kernels/gpu/sums.cu)."""

from __future__ import annotations

from typing import Any

import numpy as np

from majelpy.gpu.launcher import THREADS, Buffer, Launcher, ceil_div, elements, host, matrix
from majelpy.gpu.leaves import CHUNK, Leaves


def _columns(
    on: Launcher,
    kernel: str,
    operand: tuple[Any, ...],
    leaves: Leaves,
    columns: int,
    slots: int,
    slot_stride: int,
    rounded: int,
) -> None:
    """Sums of columns over leaves of rows; ``operand`` is what the kernel takes after columns."""
    sums = on.scratch(4 * leaves.chunks * columns)
    chunks = (leaves.chunks, leaves.starts, columns)
    matrix(on, kernel, leaves.chunks, columns, (*chunks, *operand, sums))
    totals(on, leaves, columns, sums, slots, slot_stride, rounded)


def totals(
    on: Launcher,
    leaves: Leaves,
    columns: int,
    sums: Buffer,
    slots: int,
    slot_stride: int,
    rounded: int,
) -> None:
    """Push the totals of leaves, of the sums of their chunks (chunks, columns), and merge them."""
    to = (slots, slot_stride, rounded)
    arguments = (leaves.count, leaves.first, leaves.merges, columns, sums, *to)
    elements(on, "mj_sum_totals_kernel", columns, arguments)


def _whole(on: Launcher, kernel: str, operand: Any, rows: int, columns: int, out: int) -> None:
    _columns(on, kernel, operand, Leaves(on, np.array([0, rows])), columns, out, 0, 0)


def mj_sum_leaves(
    on: Launcher,
    leaves: int,
    offsets: int,
    merges: int,
    columns: int,
    x: int,
    x_row: int,
    slots: int,
    slot_stride: int,
    rounded: int,
) -> None:
    of = Leaves(on, host(offsets, leaves + 1, np.int64), host(merges, leaves, np.int32))
    to = (slots, slot_stride, rounded)
    _columns(on, "mj_sum_chunks_kernel", (x, x_row), of, columns, *to)


def mj_sum_rows(on: Launcher, rows: int, columns: int, x: int, out: int) -> None:
    _whole(on, "mj_sum_chunks_kernel", (x, columns), rows, columns, out)


def mj_sum_deviations(on: Launcher, rows: int, columns: int, x: int, center: int, out: int) -> None:
    _whole(on, "mj_deviation_chunks_kernel", (x, center), rows, columns, out)


def mj_sum_square_deviations(
    on: Launcher, rows: int, columns: int, x: int, center: int, out: int
) -> None:
    _whole(on, "mj_square_deviation_chunks_kernel", (x, center), rows, columns, out)


def mj_tree_sum(
    on: Launcher,
    nodes: int,
    addresses: int,
    merges: int,
    outputs: int,
    output_addresses: int,
    count: int,
    rounded: int,
) -> None:
    arguments = (
        nodes,
        on.upload(host(addresses, nodes, np.int64)),
        on.upload(host(merges, nodes, np.int32)),
        outputs,
        on.upload(host(output_addresses, outputs, np.int64)),
        count,
        rounded,
    )
    elements(on, "mj_tree_sum_kernel", count, arguments)


def mj_square_sum(on: Launcher, count: int, x: int, out: int) -> None:
    chunks = ceil_div(count, CHUNK)
    sums = on.scratch(4 * chunks)
    threads = 128
    if chunks:
        blocks = (ceil_div(chunks, threads),)
        shared = 4 * 33 * threads
        on.launch("mj_square_chunks_kernel", blocks, (threads,), (count, x, sums), shared=shared)
    on.launch("mj_chunk_total_kernel", (1,), (THREADS,), (chunks, sums, out), shared=4 * THREADS)


def item_sums(
    on: Launcher,
    kernel: str,
    items: int,
    offsets: int,
    order: int | None,
    columns: int,
    operands: tuple[Any, ...],
    width: int,
    out: int,
    leaves: int | None = None,
) -> None:
    """Sums over items; ``operands`` is what the kernel takes after the columns and the leaves."""
    rows = host(offsets, items + 1, np.int64)
    of = Leaves(on, rows)
    sums = on.scratch(4 * of.chunks * width)
    listed = on.upload(host(order, int(rows[-1]), np.int64)) if order else 0
    if leaves is not None:
        of_chunks = np.repeat(host(leaves, items, np.int64), of.of_leaf)
        operands = (on.upload(of_chunks), *operands)
    arguments = (of.chunks, of.starts, listed, columns, *operands, sums)
    matrix(on, kernel, of.chunks, columns, arguments)
    totals(on, of, width, sums, out, width, 0)


def mj_sum_items(
    on: Launcher, items: int, offsets: int, order: int | None, columns: int, x: int, out: int
) -> None:
    sizes = (items, offsets, order, columns)
    item_sums(on, "mj_item_sum_chunks_kernel", *sizes, (x,), columns, out)
