"""Plans of elementwise kernels, matrix products, random numbers and the optimizer.

Each function has the name and the arguments of its entry point, after the launcher.
"""

from __future__ import annotations

import numpy as np

from majelpy import tree
from majelpy.gpu import sums
from majelpy.gpu.launcher import Buffer, Launcher, ceil_div, elements, host, matrix, utterance_rows

_f = np.float32

LARGE, SMALL = ("mj_gemm_128x128_kernel", 128, 128, 256), ("mj_gemm_32x64_kernel", 32, 64, 128)
"""Kernels of matrix products: name, rows and columns of a tile, threads (kernels/gpu/gemm.cu)."""


def mj_add_arrays(on: Launcher, count: int, a: int, b: int, out: int) -> None:
    elements(on, "mj_add_arrays_kernel", count, (count, a, b, out))


def mj_multiply_arrays(on: Launcher, count: int, a: int, b: int, out: int) -> None:
    elements(on, "mj_multiply_arrays_kernel", count, (count, a, b, out))


def mj_clip_array(on: Launcher, count: int, x: int, out: int) -> None:
    elements(on, "mj_clip_array_kernel", count, (count, x, out))


def mj_clip_backward_array(on: Launcher, count: int, dy: int, y: int, out: int) -> None:
    elements(on, "mj_clip_backward_array_kernel", count, (count, dy, y, out))


def mj_round_bfloat16_array(on: Launcher, count: int, x: int, out: int) -> None:
    elements(on, "mj_round_bfloat16_array_kernel", count, (count, x, out))


def mj_bias_rows(on: Launcher, rows: int, columns: int, x: int, bias: int, out: int) -> None:
    matrix(on, "mj_bias_rows_kernel", rows, columns, (rows, columns, x, bias, out))


def mj_bias_clip_rows(on: Launcher, rows: int, columns: int, x: int, bias: int, out: int) -> None:
    matrix(on, "mj_bias_clip_rows_kernel", rows, columns, (rows, columns, x, bias, out))


def mj_normalise_rows(
    on: Launcher, rows: int, columns: int, x: int, mean: int, scale: int, out: int
) -> None:
    matrix(on, "mj_normalise_rows_kernel", rows, columns, (rows, columns, x, mean, scale, out))


def mj_mean_of(on: Launcher, columns: int, center: int, sums: int, count: float, out: int) -> None:
    elements(on, "mj_mean_of_kernel", columns, (columns, center, sums, _f(count), out))


def mj_scale_of(
    on: Launcher, columns: int, sums: int, square_sums: int, count: float, out: int
) -> None:
    elements(on, "mj_scale_of_kernel", columns, (columns, sums, square_sums, _f(count), out))


def mj_sum_directions(
    on: Launcher, rows: int, directions: int, hidden: int, h: int, out: int
) -> None:
    matrix(on, "mj_sum_directions_kernel", rows, hidden, (rows, directions, hidden, h, out))


def mj_repeat_directions(
    on: Launcher, rows: int, directions: int, hidden: int, dy: int, out: int
) -> None:
    matrix(on, "mj_repeat_directions_kernel", rows, hidden, (rows, directions, hidden, dy, out))


def mj_context_rows(
    on: Launcher, utterances: int, offsets: int, features: int, context: int, x: int, out: int
) -> None:
    rows = host(offsets, utterances + 1, np.int64)
    arguments = (utterances, on.upload(rows), features, context, x, out)
    width = (2 * context + 1) * features
    utterance_rows(on, "mj_context_rows_kernel", rows, width, arguments)


def mj_philox_words(on: Launcher, blocks: int, key: int, stream: int, out: int) -> None:
    words = on.scratch(16 * blocks)
    elements(on, "mj_philox_words_kernel", blocks, (blocks, key, stream, words))
    on.download(words.pointer, host(out, 4 * blocks, np.uint32))


def mj_uniform_array(
    on: Launcher, count: int, key: int, stream: int, gain: float, fan_in: float, out: int
) -> None:
    arguments = (count, key, stream, _f(gain), _f(fan_in), out)
    elements(on, "mj_uniform_array_kernel", ceil_div(count, 4), arguments)


def mj_dropout_rows(
    on: Launcher,
    utterances: int,
    offsets: int,
    starts: int,
    ids: int,
    first: int,
    columns: int,
    key: int,
    layer: int,
    epoch: int,
    drop: int,
    x: int,
    out: int,
) -> None:
    rows = host(offsets, utterances + 1, np.int64)
    names, frames = (on.upload(host(v, utterances, np.int64)) for v in (ids, starts))
    sizes = (first, columns, key, layer, epoch, drop)
    arguments = (utterances, on.upload(rows), frames, names, *sizes, x, out)
    utterance_rows(on, "mj_dropout_rows_kernel", rows, ceil_div(columns, 16), arguments)


def mj_norm_and_factor(on: Launcher, square_sum: int, limit: float, norm: int, factor: int) -> None:
    on.launch("mj_norm_and_factor_kernel", (1,), (1,), (square_sum, _f(limit), norm, factor))


def mj_nesterov_array(
    on: Launcher,
    count: int,
    parameters: int,
    velocities: int,
    gradients: int,
    factor: int,
    rate: int,
    momentum: float,
    decay: float,
) -> None:
    arguments = (count, parameters, velocities, gradients, factor, rate, _f(momentum), _f(decay))
    elements(on, "mj_nesterov_array_kernel", count, arguments)


def mj_average_shares(on: Launcher, step: int, beta1: float, beta2: float, shares: int) -> None:
    on.launch("mj_average_shares_kernel", (1,), (1,), (step, _f(beta1), _f(beta2), shares))


def mj_adam_array(
    on: Launcher,
    count: int,
    parameters: int,
    first_moments: int,
    second_moments: int,
    gradients: int,
    factor: int,
    rate: int,
    shares: int,
    beta1: float,
    beta2: float,
    epsilon: float,
    decay: float,
) -> None:
    states = (parameters, first_moments, second_moments)
    numbers = (_f(beta1), _f(beta2), _f(epsilon), _f(decay))
    arguments = (count, *states, gradients, factor, rate, shares, *numbers)
    elements(on, "mj_adam_array_kernel", count, arguments)


def mj_adagrad_array(
    on: Launcher,
    count: int,
    parameters: int,
    squares: int,
    gradients: int,
    factor: int,
    rate: int,
    epsilon: float,
    decay: float,
) -> None:
    arguments = (count, parameters, squares, gradients, factor, rate, _f(epsilon), _f(decay))
    elements(on, "mj_adagrad_array_kernel", count, arguments)


def mj_noise_array(
    on: Launcher,
    count: int,
    first: int,
    key: int,
    stream: int,
    step: int,
    deviation: float,
    weights: int,
    out: int,
) -> None:
    blocks = ceil_div(first + count, 4) - first // 4
    arguments = (count, first, key, stream, step, _f(deviation), weights, out)
    elements(on, "mj_noise_array_kernel", blocks, arguments)


def mj_learning_rate_at(
    on: Launcher,
    rate: float,
    anneal: float,
    epoch: int,
    hold: int,
    step: int,
    warmup: int,
    out: int,
) -> None:
    arguments = (_f(rate), _f(anneal), epoch, hold, step, warmup, out)
    on.launch("mj_learning_rate_at_kernel", (1,), (1,), arguments)


def mj_math_array(on: Launcher, function: int, count: int, x: int, out: int) -> None:
    elements(on, "mj_math_array_kernel", count, (function, count, x, out))


def mj_fma_array(on: Launcher, count: int, a: int, b: int, c: int, out: int) -> None:
    elements(on, "mj_fma_array_kernel", count, (count, a, b, c, out))


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
        (ceil_div(m, rows), ceil_div(n, columns)),
        (threads,),
        (leaves, offsets, merges, m, n, *a, b[0], b[2], b[1], *slots, rounded),
        shared=_shared(tile),
    )


def _shared(tile: tuple[str, int, int, int]) -> int:
    """Shared memory of a block: two stages of 8 terms, each line padded by 4, and the totals."""
    _, rows, columns, _ = tile
    return 4 * (2 * 8 * (rows + 4 + columns + 4) + rows * columns)


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
