"""Batch norm over each leaf's frames, and layer norm over each frame's columns.

Policy. A leaf's statistics are over all frames of its utterances, of which a rank may have some:
so `deviation_items` and `gradient_items` give the sums of items (majelpy/ops/items.py), the caller
adds the items of a leaf, and the maps take what became of them. hat = (x - mean) * rstd is computed
again where it is needed. Bodies: kernels/norm.h. Sources: Laurent et al. 2015 (arXiv 1510.01378),
section 4; Ba et al. 2016 (arXiv 1607.06450).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from majelpy.array import Array, checks, empty, operands
from majelpy.errors import ShapeError
from majelpy.ops.items import Items


def deviation_items(x: Any, mean: Any, items: Items) -> Array:
    """Return the sums of (x - mean)^2 of each column over each item's rows, (I, columns).

    Parameters
    ----------
    x : (rows, columns) float32
    mean : (K, columns) float32
        Of each leaf.

    Notes
    -----
    Order: the canonical sum of products over the item's rows.
    """
    a, m = (
        operands.matrix("deviation_items", "x", x),
        operands.matrix("deviation_items", "mean", mean),
    )
    _leaf_rows("deviation_items", "mean", m, items.leaf_count, a.shape[1])
    on, place = operands.kernels("deviation_items", x=a, mean=m)
    out = empty((len(items.leaves), a.shape[1]), device=place)
    rows, leaves = items.of("deviation_items", a.shape[0]), items.leaves.ctypes.data
    on.mj_square_items(*rows, leaves, a.shape[1], a.pointer, m.pointer, out.pointer)
    return out


def gradient_items(dy: Any, x: Any, mean: Any, rstd: Any, items: Items) -> Array:
    """Return the sums of dy and of dy * hat over each item's rows, side by side, (I, 2 columns).

    They are the gradients by bias and gain, too.

    Parameters
    ----------
    dy, x : (rows, columns) float32
    mean, rstd : (K, columns) float32
        Of each leaf.

    Notes
    -----
    Order: the canonical sums over the item's rows, of numbers and of products.
    """
    name = "gradient_items"
    d, a = operands.matrix(name, "dy", dy), operands.matrix(name, "x", x)
    checks.same_shape(name, d, a)
    m, s = operands.matrix(name, "mean", mean), operands.matrix(name, "rstd", rstd)
    _leaf_rows(name, "mean", m, items.leaf_count, a.shape[1])
    _leaf_rows(name, "rstd", s, items.leaf_count, a.shape[1])
    on, place = operands.kernels(name, dy=d, x=a, mean=m, rstd=s)
    out = empty((len(items.leaves), 2 * a.shape[1]), device=place)
    rows, leaves = items.of(name, a.shape[0]), items.leaves.ctypes.data
    pointers = (d.pointer, a.pointer, m.pointer, s.pointer)
    on.mj_norm_dot_items(*rows, leaves, a.shape[1], *pointers, out.pointer)
    return out


def leaf_means(sums: Any, counts: Any) -> Array:
    """Return the sums of each leaf, (K, columns) float32, divided by its count.

    Parameters
    ----------
    counts : (K,) int64
        Rows of each leaf, on all ranks; where there are none the mean is +0.
    """
    a = operands.matrix("leaf_means", "sums", sums)
    numbers = np.ascontiguousarray(counts, dtype=np.int64)
    if numbers.shape != a.shape[:1] or (len(a) and not 0 <= numbers.min() <= numbers.max() < 2**31):
        raise ShapeError(
            f"leaf_means: counts {numbers.tolist()[:8]} for sums {a.shape}; "
            "needs a count below 2^31 for each row"
        )
    on, place = operands.kernels("leaf_means", sums=a)
    out = empty(a.shape, device=place)
    on.mj_leaf_means(*a.shape[:1], numbers.ctypes.data, a.shape[1], a.pointer, out.pointer)
    return out


def rstd(variance: Any) -> Array:
    """Return 1 / sqrt(variance + 1e-5), elementwise."""
    a = operands.floats("rstd", "variance", variance)
    on, place = operands.kernels("rstd", variance=a)
    out = empty(a.shape, device=place)
    on.mj_rstd_array(a.size, a.pointer, out.pointer)
    return out


def batch_norm(
    x: Any, offsets: Any, mean: Any, rstd: Any, gain: Any, bias: Any, *, clipped: bool = False
) -> Array:
    """Return gain * (x - mean) * rstd + bias, through the clipped rectifier if asked.

    Parameters
    ----------
    x : (rows, columns) float32
    offsets : (K + 1,) int64
        First row of each leaf, and the number of rows.
    mean, rstd : (K, columns) float32
        Of each leaf; with one leaf of all rows, running statistics do.
    gain, bias : (columns,) float32
    """
    name = "batch_norm"
    a, rows, m, s, g = _operands(name, x, offsets, mean, rstd, gain)
    b = operands.vector(name, "bias", bias)
    checks.columns(name, "bias", b, a.shape[1])
    on, place = operands.kernels(name, x=a, mean=m, rstd=s, gain=g, bias=b)
    out = empty(a.shape, device=place)
    pointers = (a.pointer, m.pointer, s.pointer, g.pointer, b.pointer)
    sizes = (len(rows) - 1, rows.ctypes.data, a.shape[1])
    on.mj_norm_rows(*sizes, *pointers, clipped, out.pointer)
    return out


def batch_norm_backward(
    dy: Any, x: Any, offsets: Any, mean: Any, rstd: Any, gain: Any, means: Any
) -> Array:
    """Return the gradient by x: gain * rstd * (dy - mean of dy - hat * mean of dy * hat).

    Parameters
    ----------
    dy : (rows, columns) float32
        Before the rectifier, if there was one.
    x, offsets, mean, rstd, gain
        As for `batch_norm`.
    means : (K, 2 columns) float32
        Means over each leaf's rows of dy and of dy * hat: `leaf_means` of the leaves' sums.
    """
    name = "batch_norm_backward"
    d = operands.matrix(name, "dy", dy)
    a, rows, m, s, g = _operands(name, x, offsets, mean, rstd, gain)
    checks.same_shape(name, d, a)
    both = operands.matrix(name, "means", means)
    _leaf_rows(name, "means", both, len(rows) - 1, 2 * a.shape[1])
    on, place = operands.kernels(name, dy=d, x=a, mean=m, rstd=s, gain=g, means=both)
    out = empty(a.shape, device=place)
    pointers = (d.pointer, a.pointer, m.pointer, s.pointer, g.pointer, both.pointer)
    sizes = (len(rows) - 1, rows.ctypes.data, a.shape[1])
    on.mj_norm_backward_rows(*sizes, *pointers, out.pointer)
    return out


def running(statistic: Any, sums: Any, number: int, rate: float) -> None:
    """Let statistic += rate * (sums / number - statistic), in place; both (columns,) float32.

    Parameters
    ----------
    sums : (columns,) float32
        Of the statistic over all leaves that have frames.
    number : int
        How many these are, at least 1.
    """
    a, s = (
        operands.vector("running", "statistic", statistic),
        operands.vector("running", "sums", sums),
    )
    checks.same_shape("running", a, s)
    if number < 1:
        raise ShapeError(f"running: {number} leaves with frames; needs at least 1")
    on, _ = operands.kernels("running", statistic=a, sums=s)
    on.mj_running_array(a.size, s.pointer, number, rate, a.pointer)


def layer_norm(x: Any, gain: Any, bias: Any) -> tuple[Array, Array, Array]:
    """Return gain * (x - mean) * rstd + bias of each row, its mean, and its rstd.

    Parameters
    ----------
    x : (rows, columns) float32
    gain, bias : (columns,) float32

    Returns
    -------
    Arrays of shapes (rows, columns), (rows,), (rows,)

    Notes
    -----
    Order: the canonical sums over the columns, of x and of the products (x - mean)^2.
    """
    a = operands.matrix("layer_norm", "x", x)
    g, b = operands.vector("layer_norm", "gain", gain), operands.vector("layer_norm", "bias", bias)
    checks.columns("layer_norm", "gain", g, a.shape[1])
    checks.columns("layer_norm", "bias", b, a.shape[1])
    on, place = operands.kernels("layer_norm", x=a, gain=g, bias=b)
    out = empty(a.shape, device=place)
    mean, scale = empty(a.shape[0], device=place), empty(a.shape[0], device=place)
    pointers = (a.pointer, g.pointer, b.pointer)
    on.mj_layer_norm_rows(*a.shape, *pointers, out.pointer, mean.pointer, scale.pointer)
    return out, mean, scale


def layer_norm_backward(dy: Any, x: Any, mean: Any, rstd: Any, gain: Any) -> tuple[Array, Array]:
    """Return the gradient by x, and the rows dy * hat, whose column sums are that by the gain.

    Parameters
    ----------
    dy, x : (rows, columns) float32
    mean, rstd : (rows,) float32
        From `layer_norm`.
    gain : (columns,) float32

    Notes
    -----
    Order: the canonical sums over the columns, of gain * dy and of the products of that and hat.
    """
    name = "layer_norm_backward"
    d, a = operands.matrix(name, "dy", dy), operands.matrix(name, "x", x)
    checks.same_shape(name, d, a)
    m, s = operands.vector(name, "mean", mean), operands.vector(name, "rstd", rstd)
    g = operands.vector(name, "gain", gain)
    checks.columns(name, "gain", g, a.shape[1])
    if m.shape != a.shape[:1] or s.shape != a.shape[:1]:
        raise ShapeError(f"{name}: mean is {m.shape} and rstd {s.shape}; needs {a.shape[:1]}")
    on, place = operands.kernels(name, dy=d, x=a, mean=m, rstd=s, gain=g)
    out, dy_hat = empty(a.shape, device=place), empty(a.shape, device=place)
    pointers = (d.pointer, a.pointer, m.pointer, s.pointer, g.pointer)
    on.mj_layer_norm_backward_rows(*a.shape, *pointers, out.pointer, dy_hat.pointer)
    return out, dy_hat


def _leaf_rows(operation: str, name: str, x: Array, leaves: int, columns: int) -> None:
    if x.shape != (leaves, columns):
        raise ShapeError(f"{operation}: {name} is {x.shape}; needs ({leaves}, {columns})")


def _operands(
    operation: str, x: Any, offsets: Any, mean: Any, rstd: Any, gain: Any
) -> tuple[Array, np.ndarray, Array, Array, Array]:
    a = operands.matrix(operation, "x", x)
    rows = checks.offsets(operation, offsets, a.shape[0])
    m, s = operands.matrix(operation, "mean", mean), operands.matrix(operation, "rstd", rstd)
    _leaf_rows(operation, "mean", m, len(rows) - 1, a.shape[1])
    _leaf_rows(operation, "rstd", s, len(rows) - 1, a.shape[1])
    g = operands.vector(operation, "gain", gain)
    checks.columns(operation, "gain", g, a.shape[1])
    return a, rows, m, s, g
