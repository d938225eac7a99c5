"""Launches of the convolutions over frames (kernels/gpu/conv.cu)."""

from __future__ import annotations

import numpy as np

from majelpy.gpu import build
from majelpy.gpu.gemm import product
from majelpy.gpu.launcher import MOST_BLOCKS, Launcher, ceil_div, host, matrix
from majelpy.gpu.sums import CHUNK, chunk_starts, totals

SCRATCH = 1 << 26
"""Floats of patches, or of chunk sums, that are held at a time."""

OUTPUTS, THREADS = build.constant("MJ_OUTPUTS"), 128
"""Of a block of the weight's gradient."""


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
    if count == 0 or positions == 0:
        return
    entries = on.upload(host(list_, 4 * count, np.int64))
    run = width * channels
    terms = taps * run
    strides = (by_output, by_tap, by_feature, by_channel)
    weights = on.scratch(4 * terms * outputs)
    operands = (terms, run, channels, outputs, weight, *strides, weights)
    matrix(on, "mj_conv_weights_kernel", terms, outputs, operands)
    at_once = min(max(1, SCRATCH // max(1, terms)), count * positions)
    patches, sums = on.scratch(4 * at_once * terms), on.scratch(4 * at_once * outputs)
    leaf = on.upload(np.array([0, terms], dtype=np.int64))
    merges = on.upload(np.zeros(1, dtype=np.int32))
    for first in range(0, count * positions, at_once):
        rows = min(at_once, count * positions - first)
        shape = (terms, width, features, channels, positions, step, before)
        arguments = (first, rows, entries, *shape, x, patches)
        matrix(on, "mj_conv_patches_kernel", rows, terms, arguments)
        left, right = (patches.pointer, terms, 1), (weights.pointer, 1, outputs)
        product(on, leaf, merges, 1, rows, outputs, left, right, (sums.pointer, outputs, 0), 0)
        to = (first, rows, entries, positions, outputs, sums, out, out_row, out_position)
        matrix(on, "mj_conv_places_kernel", rows, outputs, to)


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
        while last < items and size * _chunks(bounds[item : last + 2] * positions) <= SCRATCH:
            last += 1
        starts, first = chunk_starts(bounds[item : last + 1] * positions)
        chunks = len(starts) - 1
        sums = on.scratch(4 * chunks * size)
        if chunks:
            shape = (terms, width, features, channels, positions, step, before)
            operands = (entries, *shape, x, outputs, dy, sums)
            on.launch(
                "mj_conv_weight_chunks_kernel",
                (ceil_div(terms, THREADS), min(chunks, MOST_BLOCKS), ceil_div(outputs, OUTPUTS)),
                (THREADS,),
                (chunks, on.upload(starts), *operands),
                shared=4 * CHUNK * OUTPUTS,
            )
        none = np.zeros(last - item, dtype=np.int32)
        totals(on, first, none, size, sums, out + 4 * item * size, size, 0)
        item = last


def _chunks(bounds: np.ndarray) -> int:
    return int((-(-np.diff(bounds) // CHUNK)).sum())


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
    starts, first = chunk_starts(bounds)
    chunks, width = len(starts) - 1, taps * columns
    sums = on.scratch(4 * chunks * width)
    arguments = (chunks, on.upload(starts), entries, taps, columns, dy, x, sums)
    matrix(on, "mj_row_conv_weight_chunks_kernel", chunks, width, arguments)
    totals(on, first, np.zeros(items, dtype=np.int32), width, sums, out, width, 0)
