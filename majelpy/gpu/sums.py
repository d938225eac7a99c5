"""Launches of canonical sums: the sums of chunks, then their totals (kernels/gpu/sums.cu)."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from majelpy.gpu import build
from majelpy.gpu.launcher import THREADS, Buffer, Launcher, ceil_div, elements, host, matrix

CHUNK = build.constant("MJ_CHUNK")
"""Terms of a chunk."""


def chunk_starts(offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first row of each chunk with the end of the last, and each leaf's first chunk."""
    counts = -(-np.diff(offsets) // CHUNK)
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    starts = [np.arange(a, b, CHUNK) for a, b in itertools.pairwise(offsets)]
    return np.concatenate([*starts, offsets[-1:]]).astype(np.int64), first


def _columns(
    on: Launcher,
    kernel: str,
    operand: tuple[Any, ...],
    offsets: np.ndarray,
    merges: np.ndarray,
    columns: int,
    slots: int,
    slot_stride: int,
    rounded: int,
) -> None:
    """Sums of columns over leaves of rows; ``operand`` is what the kernel takes after columns."""
    starts, first = chunk_starts(offsets)
    chunks = len(starts) - 1
    sums = on.scratch(4 * chunks * columns)
    matrix(on, kernel, chunks, columns, (chunks, on.upload(starts), columns, *operand, sums))
    totals(on, first, merges, columns, sums, slots, slot_stride, rounded)


def totals(
    on: Launcher,
    first: np.ndarray,
    merges: np.ndarray,
    columns: int,
    sums: Buffer,
    slots: int,
    slot_stride: int,
    rounded: int,
) -> None:
    """Push the totals of leaves with the chunks ``first[i] .. first[i + 1]``, and merge them."""
    to = (slots, slot_stride, rounded)
    arguments = (len(merges), on.upload(first), on.upload(merges), columns, sums, *to)
    elements(on, "mj_sum_totals_kernel", columns, arguments)


def _whole(on: Launcher, kernel: str, operand: Any, rows: int, columns: int, out: int) -> None:
    offsets, merges = np.array([0, rows], dtype=np.int64), np.zeros(1, dtype=np.int32)
    _columns(on, kernel, operand, offsets, merges, columns, out, 0, 0)


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
    rows, program = host(offsets, leaves + 1, np.int64), host(merges, leaves, np.int32)
    to = (slots, slot_stride, rounded)
    _columns(on, "mj_sum_chunks_kernel", (x, x_row), rows, program, columns, *to)


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
    starts, first = chunk_starts(rows)
    chunks = len(starts) - 1
    sums = on.scratch(4 * chunks * width)
    listed = on.upload(host(order, int(rows[-1]), np.int64)) if order else 0
    if leaves is not None:
        of_chunks = np.repeat(host(leaves, items, np.int64), np.diff(first))
        operands = (on.upload(of_chunks), *operands)
    arguments = (chunks, on.upload(starts), listed, columns, *operands, sums)
    matrix(on, kernel, chunks, columns, arguments)
    totals(on, first, np.zeros(items, dtype=np.int32), width, sums, out, width, 0)


def mj_sum_items(
    on: Launcher, items: int, offsets: int, order: int | None, columns: int, x: int, out: int
) -> None:
    sizes = (items, offsets, order, columns)
    item_sums(on, "mj_item_sum_chunks_kernel", *sizes, (x,), columns, out)
