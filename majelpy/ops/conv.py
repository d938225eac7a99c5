"""Convolution of packed frames over time and frequency.

Policy. Rows are frames, utterances one after another without padding; an `Extent` says which frames
are there. What an output looks at is listed in integers here; kernels only follow the list, so a
rank that holds some frames has the bits of one that holds all. Columns are feature * C + channel.
Padding is 'same': output frame t looks at frames t * stride - (taps - 1) // 2 and on, T frames
become ceil(T / stride); the features likewise. Drivers: kernels/cpu/conv.cpp.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from majelpy.array import Array, checks, empty, operands
from majelpy.ops.extent import Extent, Reach
from majelpy.ops.items import Items


def conv_reach(taps: int, stride: int = 1) -> Reach:
    """Return which frames an output of `conv_frames` looks at."""
    return Reach(taps, (taps - 1) // 2, stride)


def conv_frames(
    x: Any,
    of: Extent,
    to: Extent,
    weight: Any,
    *,
    features: int,
    stride: tuple[int, int] = (1, 1),
) -> Array:
    """Return the convolution over time and frequency.

    Parameters
    ----------
    x : (M, features * C) float32
        The frames `of`.
    to : Extent
        The outputs to compute: M' frames of ceil(T / stride) for T.
    weight : (O, taps, width, C) float32
    stride : (int, int)
        Of time and of frequency.

    Returns
    -------
    Array of shape (M', ceil(features / stride) * O)

    Raises
    ------
    ShapeError
        If shapes do not fit, or a frame that is needed is not in x.

    Notes
    -----
    Order: each output is the canonical sum over time tap, then frequency tap, then channel; beyond
    the ends of an utterance and the edges of frequency the terms are +0.
    """
    name = "conv_frames"
    a, w, reach = _convolution(name, x, of, weight, features, stride)
    reach.check(name, of, to)
    of.holds(name, "x", *reach.needed(to.starts, to.stops, of.lengths))
    outputs, taps, width, channels = w.shape
    positions = -(-features // stride[1])
    on, place = operands.kernels(name, x=a, weight=w)
    out = empty((int(to.offsets[-1]), positions * outputs), device=place)
    listed = _positions(of, to, reach)
    on.mj_conv_rows(
        len(listed),
        listed.ctypes.data,
        taps,
        width,
        features,
        channels,
        positions,
        stride[1],
        (width - 1) // 2,
        a.pointer,
        outputs,
        w.pointer,
        taps * width * channels,
        width * channels,
        channels,
        1,
        out.pointer,
        out.shape[1],
        outputs,
    )
    return out


def conv_frames_input_gradient(
    dy: Any,
    of: Extent,
    to: Extent,
    weight: Any,
    *,
    features: int,
    stride: tuple[int, int] = (1, 1),
) -> Array:
    """Return the gradient by the input of `conv_frames`, (M, features * C).

    Parameters
    ----------
    dy : (M', ceil(features / stride) * O) float32
        The frames `of` of the output.
    to : Extent
        The input's frames to compute.
    weight, features, stride
        As for `conv_frames`.

    Notes
    -----
    Order: an input is seen by the taps that its frame and feature have in common with the strides;
    its gradient is the canonical sum over these taps from the last to the first, of time, then of
    frequency, then over the output channel; where a tap belongs to no output the term is +0.
    """
    name = "conv_frames_input_gradient"
    w = operands.of_rank(name, "weight", weight, 4)
    outputs, taps, width, channels = w.shape
    reach, positions = conv_reach(taps, stride[0]), -(-features // stride[1])
    d = operands.matrix(name, "dy", dy)
    checks.columns(name, "dy", d, positions * outputs)
    of.check(name, "dy", d.shape[0])
    reach.check(name, to, of)
    of.holds(name, "dy", *reach.fed(to.starts, to.stops, to.lengths))
    on, place = operands.kernels(name, dy=d, weight=w)
    out = empty((int(to.offsets[-1]), features * channels), device=place)
    utterance, frame = to.frames()
    begins = of.offsets[:-1]
    edge = (width - 1) // 2
    for time in range(stride[0]):  # the first tap that sees these frames
        rows = np.flatnonzero((frame + reach.before) % stride[0] == time)
        seen = max(0, -(-(taps - time) // stride[0]))
        u = utterance[rows]
        last = (frame[rows] + reach.before - time) // stride[0]
        first = begins[u] + last - (seen - 1) - of.starts[u]
        listed = np.stack([rows, first, begins[u], of.offsets[u + 1]], axis=1)
        for column in range(stride[1]):  # the first tap that sees these features
            across = max(0, -(-(width - column) // stride[1]))
            low = -(-(edge - column) // stride[1])
            feature = low * stride[1] + column - edge
            if feature >= features or not len(rows):
                continue
            # The kernel is turned: its last tap comes first.
            tap, side = time + (seen - 1) * stride[0], column + (across - 1) * stride[1]
            start = (tap * width + side) * channels if seen and across else 0
            steps = (stride[0] * width * channels, stride[1] * channels)
            on.mj_conv_rows(
                len(rows),
                listed.ctypes.data,
                seen,
                across,
                positions,
                outputs,
                -(-(features - feature) // stride[1]),
                1,
                across - 1 - low,
                d.pointer,
                channels,
                w.pointer + 4 * start,
                1,
                -steps[0],
                -steps[1],
                taps * width * channels,
                out.pointer + 4 * feature * channels,
                out.shape[1],
                stride[1] * channels,
            )
    return out


def conv_frames_weight_gradient(
    dy: Any,
    x: Any,
    of: Extent,
    to: Extent,
    items: Items,
    *,
    features: int,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
) -> Array:
    """Return the gradient of each item by the weight of `conv_frames`, (I, O * taps * width * C).

    Parameters
    ----------
    dy : (M', ceil(features / stride) * O) float32
        The frames `to` of the output.
    x : (M, features * C) float32
        The frames `of` of the input.
    items : Items
        Of the rows of dy.
    kernel : (int, int)
        Taps and width.

    Notes
    -----
    Order: the canonical sum over the item's rows, then the positions of frequency, of products of
    dy and the input, +0 beyond ends and edges.
    """
    name = "conv_frames_weight_gradient"
    d, a = operands.matrix(name, "dy", dy), operands.matrix(name, "x", x)
    positions, channels = -(-features // stride[1]), a.shape[1] // features
    outputs = d.shape[1] // positions
    reach = conv_reach(kernel[0], stride[0])
    checks.columns(name, "x", a, features * channels)
    checks.columns(name, "dy", d, positions * outputs)
    of.check(name, "x", a.shape[0])
    to.check(name, "dy", d.shape[0])
    reach.check(name, of, to)
    of.holds(name, "x", *reach.needed(to.starts, to.stops, of.lengths))
    count, offsets, _ = items.of(name, d.shape[0])
    on, place = operands.kernels(name, dy=d, x=a)
    out = empty((count, outputs * kernel[0] * kernel[1] * channels), device=place)
    listed = _positions(of, to, reach)
    if items.order is not None:
        listed = np.ascontiguousarray(listed[items.order])
    on.mj_conv_weight_items(
        count,
        offsets,
        listed.ctypes.data,
        *kernel,
        features,
        channels,
        positions,
        stride[1],
        (kernel[1] - 1) // 2,
        a.pointer,
        outputs,
        d.pointer,
        out.pointer,
    )
    return out


def _convolution(
    operation: str, x: Any, of: Extent, weight: Any, features: int, stride: tuple[int, int]
) -> tuple[Array, Array, Reach]:
    a, w = operands.matrix(operation, "x", x), operands.of_rank(operation, "weight", weight, 4)
    checks.columns(operation, "x", a, features * w.shape[3])
    of.check(operation, "x", a.shape[0])
    return a, w, conv_reach(w.shape[1], stride[0])


def _positions(of: Extent, to: Extent, reach: Reach) -> np.ndarray:
    """Row, first row of the input, and the input's rows of that utterance, of each output."""
    u, frame = to.frames()
    low = of.offsets[u]
    first = low + frame * reach.stride - reach.before - of.starts[u]
    return np.stack([np.arange(len(u)), first, low, of.offsets[u + 1]], axis=1)
