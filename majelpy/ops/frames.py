"""Convolution of packed frames: over time and frequency, and row convolution.

Policy. Rows are frames, utterances one after another without padding; an `Extent` says which frames
are there. What an output looks at is listed in integers here; kernels only follow the list, so a
rank that holds some frames has the bits of one that holds all. Columns are feature * C + channel.
Padding is 'same': output frame t looks at frames t * stride - (taps - 1) // 2 and on, T frames
become ceil(T / stride); the features likewise. Drivers: kernels/cpu/frames.cpp.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from majelpy.array import Array, empty
from majelpy.errors import ShapeError
from majelpy.ops import check
from majelpy.ops.extent import Extent, Reach
from majelpy.ops.items import Items


def conv_reach(taps: int, stride: int = 1) -> Reach:
    """Return which frames an output of `conv_frames` looks at."""
    return Reach(taps, (taps - 1) // 2, stride)


def row_conv_reach(taps: int) -> Reach:
    """Return which frames an output of `row_conv` looks at."""
    return Reach(taps, 0)


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
    _check_outputs(name, of, to, reach)
    of.holds(name, "x", *reach.needed(to.starts, to.stops, of.lengths))
    outputs, taps, width, channels = w.shape
    places = -(-features // stride[1])
    on, place = check.kernels(name, x=a, weight=w)
    out = empty((int(to.offsets[-1]), places * outputs), device=place)
    listed = _places(of, to, reach)
    on.mj_conv_rows(
        *(len(listed), listed.ctypes.data, taps, width, features, channels),
        *(places, stride[1], (width - 1) // 2, a.pointer, outputs, w.pointer),
        *(taps * width * channels, width * channels, channels, 1),
        *(out.pointer, out.shape[1], outputs),
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
    w = check.of_rank(name, "weight", weight, 4)
    outputs, taps, width, channels = w.shape
    reach, places = conv_reach(taps, stride[0]), -(-features // stride[1])
    d = check.matrix(name, "dy", dy)
    check.columns(name, "dy", d, places * outputs)
    of.check(name, "dy", d.shape[0])
    _check_outputs(name, to, of, reach)
    of.holds(name, "dy", *reach.fed(to.starts, to.stops, to.lengths))
    on, place = check.kernels(name, dy=d, weight=w)
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
                *(len(rows), listed.ctypes.data, seen, across, places, outputs),
                *(-(-(features - feature) // stride[1]), 1, across - 1 - low),
                *(d.pointer, channels, w.pointer + 4 * start),
                *(1, -steps[0], -steps[1], taps * width * channels),
                *(out.pointer + 4 * feature * channels, out.shape[1], stride[1] * channels),
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
    Order: the canonical sum over the item's rows, then the places of frequency, of products of dy
    and the input, +0 beyond ends and edges.
    """
    name = "conv_frames_weight_gradient"
    d, a = check.matrix(name, "dy", dy), check.matrix(name, "x", x)
    places, channels = -(-features // stride[1]), a.shape[1] // features
    outputs = d.shape[1] // places
    reach = conv_reach(kernel[0], stride[0])
    check.columns(name, "x", a, features * channels)
    check.columns(name, "dy", d, places * outputs)
    of.check(name, "x", a.shape[0])
    to.check(name, "dy", d.shape[0])
    _check_outputs(name, of, to, reach)
    of.holds(name, "x", *reach.needed(to.starts, to.stops, of.lengths))
    count, offsets, _ = items.of(name, d.shape[0])
    on, place = check.kernels(name, dy=d, x=a)
    out = empty((count, outputs * kernel[0] * kernel[1] * channels), device=place)
    listed = _places(of, to, reach)
    if items.order is not None:
        listed = np.ascontiguousarray(listed[items.order])
    on.mj_conv_weight_items(
        *(count, offsets, listed.ctypes.data, *kernel, features, channels),
        *(places, stride[1], (kernel[1] - 1) // 2, a.pointer, outputs, d.pointer, out.pointer),
    )
    return out


def row_conv(x: Any, of: Extent, to: Extent, weight: Any) -> Array:
    """Return the row convolution: y_t = sum over k of weight_k * x_(t + k), column by column.

    Source: Amodei et al. 2016 (arXiv 1512.02595), section 3.7.

    Parameters
    ----------
    x : (M, columns) float32
        The frames `of`.
    to : Extent
        The outputs to compute.
    weight : (taps, columns) float32

    Notes
    -----
    Order: the canonical sum of products over k; terms beyond the utterance's end are left out.
    """
    a, w, reach = _row_convolution("row_conv", "x", x, of, to, weight)
    of.holds("row_conv", "x", *reach.needed(to.starts, to.stops, of.lengths))
    u, frame = to.frames()
    first = of.offsets[u] + frame - of.starts[u]
    terms = np.minimum(len(w), of.lengths[u] - frame)
    return _rows("row_conv", a, w, first, terms, 1)


def row_conv_input_gradient(dy: Any, of: Extent, to: Extent, weight: Any) -> Array:
    """Return the gradient by the input of `row_conv`: the sum over k of weight_k * dy_(t - k).

    Parameters
    ----------
    dy : (M', columns) float32
        The frames `of` of the output.
    to : Extent
        The input's frames to compute.

    Notes
    -----
    Order: the canonical sum of products over k; terms before the utterance's start are left out.
    """
    name = "row_conv_input_gradient"
    d, w, reach = _row_convolution(name, "dy", dy, of, to, weight)
    of.holds(name, "dy", *reach.fed(to.starts, to.stops, to.lengths))
    u, frame = to.frames()
    first = of.offsets[u] + frame - of.starts[u]
    return _rows(name, d, w, first, np.minimum(len(w), frame + 1), -1)


def row_conv_weight_gradient(
    dy: Any, x: Any, of: Extent, to: Extent, items: Items, *, taps: int
) -> Array:
    """Return the gradient of each item by the weight of `row_conv`, (I, taps * columns).

    Parameters
    ----------
    dy : (M', columns) float32
        The frames `to` of the output.
    x : (M, columns) float32
        The frames `of` of the input.
    items : Items
        Of the rows of dy.

    Notes
    -----
    Order: the canonical sum of products over the item's rows; those without a frame k later add
    nothing, and count as terms.
    """
    name = "row_conv_weight_gradient"
    d, a = check.matrix(name, "dy", dy), check.matrix(name, "x", x)
    check.columns(name, "x", a, d.shape[1])
    of.check(name, "x", a.shape[0])
    to.check(name, "dy", d.shape[0])
    reach = row_conv_reach(taps)
    _check_outputs(name, of, to, reach)
    of.holds(name, "x", *reach.needed(to.starts, to.stops, of.lengths))
    count, offsets, _ = items.of(name, d.shape[0])
    on, place = check.kernels(name, dy=d, x=a)
    out = empty((count, taps * d.shape[1]), device=place)
    u, frame = to.frames()
    first = of.offsets[u] + frame - of.starts[u]
    terms = np.minimum(taps, of.lengths[u] - frame)
    listed = np.stack([np.arange(len(u)), first, terms], axis=1)
    if items.order is not None:
        listed = listed[items.order]
    listed = np.ascontiguousarray(listed)
    operands = (taps, d.shape[1], d.pointer, a.pointer, out.pointer)
    on.mj_row_conv_weight_items(count, offsets, listed.ctypes.data, *operands)
    return out


def _convolution(
    operation: str, x: Any, of: Extent, weight: Any, features: int, stride: tuple[int, int]
) -> tuple[Array, Array, Reach]:
    a, w = check.matrix(operation, "x", x), check.of_rank(operation, "weight", weight, 4)
    check.columns(operation, "x", a, features * w.shape[3])
    of.check(operation, "x", a.shape[0])
    return a, w, conv_reach(w.shape[1], stride[0])


def _check_outputs(operation: str, inputs: Extent, outputs: Extent, reach: Reach) -> None:
    """The outputs' lengths are those that the inputs' give."""
    wanted = reach.out_lengths(inputs.lengths)
    outputs.check(operation, "the output", int(outputs.offsets[-1]))
    inputs.check(operation, "the input", int(inputs.offsets[-1]))
    if not np.array_equal(outputs.lengths, wanted):
        raise ShapeError(
            f"{operation}: inputs of {inputs.lengths.tolist()[:8]} frames and outputs of "
            f"{outputs.lengths.tolist()[:8]}; with stride {reach.stride} needs "
            f"{wanted.tolist()[:8]}"
        )


def _places(of: Extent, to: Extent, reach: Reach) -> np.ndarray:
    """Row, first row of the input, and the input's rows of that utterance, of each output."""
    u, frame = to.frames()
    low = of.offsets[u]
    first = low + frame * reach.stride - reach.before - of.starts[u]
    return np.stack([np.arange(len(u)), first, low, of.offsets[u + 1]], axis=1)


def _row_convolution(
    operation: str, name: str, x: Any, of: Extent, to: Extent, weight: Any
) -> tuple[Array, Array, Reach]:
    a, w = check.matrix(operation, name, x), check.matrix(operation, "weight", weight)
    check.columns(operation, "weight", w, a.shape[1])
    of.check(operation, name, a.shape[0])
    reach = row_conv_reach(len(w))
    _check_outputs(operation, of, to, reach)
    return a, w, reach


def _rows(
    operation: str, x: Array, weight: Array, first: np.ndarray, terms: np.ndarray, step: int
) -> Array:
    on, place = check.kernels(operation, x=x, weight=weight)
    out = empty((len(first), x.shape[1]), device=place)
    listed = np.stack([first, terms], axis=1)
    sizes = (len(first), listed.ctypes.data, step, x.shape[1])
    on.mj_row_conv_rows(*sizes, x.pointer, weight.pointer, out.pointer)
    return out
