"""Launches of the convolutions over frames (kernels/gpu/conv.cu)."""

from __future__ import annotations

import numpy as np

from majelpy.gpu.gemm import SCRATCH, TALL, WIDE
from majelpy.gpu.launcher import MOST_BLOCKS, Launcher, host, matrix
from majelpy.gpu.leaves import CHUNK, Leaves, chunks
from majelpy.gpu.sums import totals

POSITION = 32
"""Bytes of a position in a block's table."""


def mj_conv_rows(
    on: Launcher,
    count: int,
    list_: int,
    taps: int,
    width: int,
    features: int,
    channels: int,
    positions: int,
    step: int,
    before: int,
    x: int,
    outputs: int,
    weight: int,
    by_output: int,
    by_tap: int,
    by_feature: int,
    by_channel: int,
    out: int,
    out_row: int,
    out_position: int,
) -> None:
    if count == 0 or positions == 0 or outputs == 0:
        return
    entries = on.upload(host(list_, 4 * count, np.int64))
    run = width * channels
    terms = taps * run
    strides = (by_output, by_tap, by_feature, by_channel)
    weights = on.scratch(4 * terms * outputs)
    operands = (terms, run, channels, outputs, weight, *strides, weights)
    matrix(on, "mj_conv_weights_kernel", terms, outputs, operands)
    shape = (terms, run, features, channels, positions, step, before)
    on.launch(
        "mj_conv_rows_kernel",
        (TALL.grid(count * positions, outputs),),
        (TALL.threads,),
        (count * positions, entries, *shape, x, outputs, weights, out, out_row, out_position),
        shared=TALL.stages + TALL.totals + POSITION * TALL.rows,
    )


def mj_conv_weight_items(
    on: Launcher,
    items: int,
    offsets: int,
    list_: int,
    taps: int,
    width: int,
    features: int,
    channels: int,
    positions: int,
    step: int,
    before: int,
    x: int,
    outputs: int,
    dy: int,
    out: int,
) -> None:
    bounds = host(offsets, items + 1, np.int64)
    entries = on.upload(host(list_, 4 * int(bounds[-1]), np.int64))
    terms = taps * width * channels
    size = outputs * terms
    item = 0
    while item < items and size:
        last = item + 1  # items whose chunk sums are held together
        while last < items and size * chunks(bounds[item : last + 2] * positions).sum() <= SCRATCH:
            last += 1
        leaves = Leaves(on, bounds[item : last + 1] * positions)
        sums = on.scratch(4 * leaves.chunks * size)
        if leaves.chunks:
            shape = (terms, width * channels, features, channels, positions, step, before)
            on.launch(
                "mj_conv_weight_chunks_kernel",
                (WIDE.grid(outputs, terms), min(leaves.chunks, MOST_BLOCKS)),
                (WIDE.threads,),
                (leaves.chunks, leaves.starts, entries, *shape, x, outputs, dy, sums),
                shared=WIDE.stages + POSITION * CHUNK,
            )
        totals(on, leaves, size, sums, out + 4 * item * size, size, 0)
        item = last


def mj_row_conv_rows(
    on: Launcher, rows: int, list_: int, step: int, columns: int, x: int, weight: int, out: int
) -> None:
    entries = on.upload(host(list_, 2 * rows, np.int64))
    arguments = (rows, entries, step, columns, x, weight, out)
    matrix(on, "mj_row_conv_rows_kernel", rows, columns, arguments)


def mj_row_conv_weight_items(
    on: Launcher,
    items: int,
    offsets: int,
    list_: int,
    taps: int,
    columns: int,
    dy: int,
    x: int,
    out: int,
) -> None:
    bounds = host(offsets, items + 1, np.int64)
    entries = on.upload(host(list_, 3 * int(bounds[-1]), np.int64))
    leaves, width = Leaves(on, bounds), taps * columns
    sums = on.scratch(4 * leaves.chunks * width)
    arguments = (leaves.chunks, leaves.starts, entries, taps, columns, dy, x, sums)
    matrix(on, "mj_row_conv_weight_chunks_kernel", leaves.chunks, width, arguments)
    totals(on, leaves, width, sums, out, width, 0)
