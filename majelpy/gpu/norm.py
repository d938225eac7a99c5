"""Launches of the normalisations (kernels/gpu/norm.cu)."""

from __future__ import annotations

from typing import Any

import numpy as np

from majelpy.gpu.launcher import Launcher, ceil_div, host, matrix, utterance_rows
from majelpy.gpu.sums import item_sums

_f = np.float32

ROWS = 64
"""Rows of a block that sums over columns."""


def mj_square_items(
    on: Launcher,
    items: int,
    offsets: int,
    order: int | None,
    leaves: int,
    columns: int,
    x: int,
    mean: int,
    out: int,
) -> None:
    sizes = (items, offsets, order, columns)
    item_sums(on, "mj_item_square_chunks_kernel", *sizes, (x, mean), columns, out, leaves)


def mj_norm_dot_items(
    on: Launcher,
    items: int,
    offsets: int,
    order: int | None,
    leaves: int,
    columns: int,
    dy: int,
    x: int,
    mean: int,
    rstd: int,
    out: int,
) -> None:
    sizes, operands = (items, offsets, order, columns), (dy, x, mean, rstd)
    item_sums(on, "mj_item_norm_chunks_kernel", *sizes, operands, 2 * columns, out, leaves)


def mj_leaf_means(
    on: Launcher, leaves: int, counts: int, columns: int, sums: int, out: int
) -> None:
    numbers = on.upload(host(counts, leaves, np.int64))
    arguments = (leaves, numbers, columns, sums, out)
    matrix(on, "mj_leaf_means_kernel", leaves, columns, arguments)


def mj_norm_rows(
    on: Launcher,
    leaves: int,
    offsets: int,
    columns: int,
    x: int,
    mean: int,
    rstd: int,
    gain: int,
    bias: int,
    clipped: int,
    out: int,
) -> None:
    rows = host(offsets, leaves + 1, np.int64)
    operands = (x, mean, rstd, gain, bias, int(clipped), out)
    arguments = (leaves, on.upload(rows), columns, *operands)
    utterance_rows(on, "mj_norm_rows_kernel", rows, columns, arguments)


def mj_norm_backward_rows(
    on: Launcher,
    leaves: int,
    offsets: int,
    columns: int,
    dy: int,
    x: int,
    mean: int,
    rstd: int,
    gain: int,
    means: int,
    out: int,
) -> None:
    rows = host(offsets, leaves + 1, np.int64)
    arguments = (leaves, on.upload(rows), columns, dy, x, mean, rstd, gain, means, out)
    utterance_rows(on, "mj_norm_backward_rows_kernel", rows, columns, arguments)


def _rows(on: Launcher, kernel: str, rows: int, staged: int, arguments: tuple[Any, ...]) -> None:
    """Launch over blocks of rows that stage so many numbers of each."""
    if rows > 0:
        shared = 4 * 33 * ROWS * staged
        on.launch(kernel, (ceil_div(rows, ROWS),), (ROWS,), arguments, shared=shared)


def mj_layer_norm_rows(
    on: Launcher,
    rows: int,
    columns: int,
    x: int,
    gain: int,
    bias: int,
    out: int,
    mean: int,
    rstd: int,
) -> None:
    _rows(on, "mj_layer_norm_sums_kernel", rows, 1, (rows, columns, x, mean, rstd))
    arguments = (rows, columns, x, gain, bias, mean, rstd, out)
    matrix(on, "mj_layer_norm_map_kernel", rows, ceil_div(columns, 4), arguments)


def mj_layer_norm_backward_rows(
    on: Launcher,
    rows: int,
    columns: int,
    dy: int,
    x: int,
    mean: int,
    rstd: int,
    gain: int,
    out: int,
    dy_hat: int,
) -> None:
    means = on.scratch(8 * rows)
    operands = (rows, columns, dy, x, mean, rstd, gain, means)
    _rows(on, "mj_layer_norm_means_kernel", rows, 2, operands)
    arguments = (*operands, out, dy_hat)
    matrix(on, "mj_layer_norm_gradient_kernel", rows, ceil_div(columns, 4), arguments)
