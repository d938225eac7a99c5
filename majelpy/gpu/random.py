"""Launches of random numbers, dropout and noise (kernels/gpu/random.cu)."""

from __future__ import annotations

import numpy as np

from majelpy.gpu.launcher import Launcher, ceil_div, elements, host, utterance_rows


def mj_philox_words(on: Launcher, blocks: int, key: int, stream: int, out: int) -> None:
    words = on.scratch(16 * blocks)
    elements(on, "mj_philox_words_kernel", blocks, (blocks, key, stream, words))
    on.download(words.pointer, host(out, 4 * blocks, np.uint32))


def mj_uniform_array(
    on: Launcher, count: int, key: int, stream: int, gain: float, fan_in: float, out: int
) -> None:
    arguments = (count, key, stream, np.float32(gain), np.float32(fan_in), out)
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
    arguments = (count, first, key, stream, step, np.float32(deviation), weights, out)
    elements(on, "mj_noise_array_kernel", blocks, arguments)
