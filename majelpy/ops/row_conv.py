"""Row convolution of packed frames: each column over the frames from its own on.

Policy. As in majelpy/ops/conv.py: what an output looks at is listed in integers here, and rows of
part of the frames have the bits of all. Drivers: kernels/cpu/conv.cpp.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from majelpy.array import Array, checks, empty, operands
from majelpy.ops.extent import Extent, Reach
from majelpy.ops.items import Items


def row_conv_reach(taps: int) -> Reach:
    """Return which frames an output of `row_conv` looks at."""
    return Reach(taps, 0)


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
    d, a = operands.matrix(name, "dy", dy), operands.matrix(name, "x", x)
    checks.columns(name, "x", a, d.shape[1])
    of.check(name, "x", a.shape[0])
    to.check(name, "dy", d.shape[0])
    reach = row_conv_reach(taps)
    reach.check(name, of, to)
    of.holds(name, "x", *reach.needed(to.starts, to.stops, of.lengths))
    count, offsets, _ = items.of(name, d.shape[0])
    on, place = operands.kernels(name, dy=d, x=a)
    out = empty((count, taps * d.shape[1]), device=place)
    u, frame = to.frames()
    first = of.offsets[u] + frame - of.starts[u]
    terms = np.minimum(taps, of.lengths[u] - frame)
    listed = np.stack([np.arange(len(u)), first, terms], axis=1)
    if items.order is not None:
        listed = listed[items.order]
    listed = np.ascontiguousarray(listed)
    pointers = (taps, d.shape[1], d.pointer, a.pointer, out.pointer)
    on.mj_row_conv_weight_items(count, offsets, listed.ctypes.data, *pointers)
    return out


def _row_convolution(
    operation: str, name: str, x: Any, of: Extent, to: Extent, weight: Any
) -> tuple[Array, Array, Reach]:
    a, w = operands.matrix(operation, name, x), operands.matrix(operation, "weight", weight)
    checks.columns(operation, "weight", w, a.shape[1])
    of.check(operation, name, a.shape[0])
    reach = row_conv_reach(len(w))
    reach.check(operation, of, to)
    return a, w, reach


def _rows(
    operation: str, x: Array, weight: Array, first: np.ndarray, terms: np.ndarray, step: int
) -> Array:
    on, place = operands.kernels(operation, x=x, weight=weight)
    out = empty((len(first), x.shape[1]), device=place)
    listed = np.stack([first, terms], axis=1)
    sizes = (len(first), listed.ctypes.data, step, x.shape[1])
    on.mj_row_conv_rows(*sizes, x.pointer, weight.pointer, out.pointer)
    return out
