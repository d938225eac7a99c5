"""Convolution in one or two dimensions, and its gradients.

Policy. Patches of the input lie beside each other (bytes are moved, nothing is calculated), and one
matrix product does the rest, so each output is a canonical sum of products. Padding is +0 and takes
part in the sum. As everywhere in speech, the kernel is not reversed (a correlation).
Shapes: x (N, C, *sizes), weight (O, C, *kernel), result (N, O, *sizes of the result).
"""

from __future__ import annotations

import math
from typing import Any

from majelpy.array import Array, asarray, empty, kernels, zeros
from majelpy.array.checks import one_place
from majelpy.errors import DTypeError, ShapeError
from majelpy.memory import dtypes

Sizes = int | tuple[int, ...]


def conv(
    x: Any, weight: Any, *, stride: Sizes = 1, padding: Sizes = 0, dilation: Sizes = 1
) -> Array:
    """Return the convolution of x with the weight.

    Parameters
    ----------
    x : (N, C, *sizes) float32 or float64, one or two sizes
    weight : (O, C, *kernel) of the same type
    stride, padding, dilation : int or one int for each size
        Step between outputs; zeros put before and behind; step between the kernel's inputs.

    Raises
    ------
    ShapeError
        If shapes do not fit, or if the kernel reaches over the padded input.

    Notes
    -----
    Order: each output is the canonical sum over channel, then place in the kernel, row-major.
    """
    a, w = _operands("conv", x, weight)
    steps, pads, gaps = (
        _each("conv", name, value, a.ndim - 2, least)
        for name, value, least in (
            ("stride", stride, 1),
            ("padding", padding, 0),
            ("dilation", dilation, 1),
        )
    )
    patches, places = _patches("conv", a, w.shape[2:], steps, [(p, p) for p in pads], gaps)
    return _product(patches, w.reshape(len(w), w.size // len(w)), (len(a), *places))


def conv_backward(
    dy: Any, x: Any, weight: Any, *, stride: Sizes = 1, padding: Sizes = 0, dilation: Sizes = 1
) -> tuple[Array, Array]:
    """Return the gradients by x and by the weight; arguments as in `conv`, dy as its result.

    Notes
    -----
    Order: by x, the canonical sum over output channel, then place in the kernel from its last to
    its first, +0 where no output is; by the weight, over utterance, then place of the output.
    """
    a, w = _operands("conv_backward", x, weight)
    d = asarray(dy)
    on, n = kernels.mover(one_place("conv_backward", d, a)), a.ndim - 2
    steps, pads, gaps = (
        _each("conv_backward", name, value, n, least)
        for name, value, least in (
            ("stride", stride, 1),
            ("padding", padding, 0),
            ("dilation", dilation, 1),
        )
    )
    patches, places = _patches("conv_backward", a, w.shape[2:], steps, [(p, p) for p in pads], gaps)
    if d.shape != (len(a), len(w), *places) or d.dtype != a.dtype:
        raise ShapeError(
            f"conv_backward: dy is {d.dtype} {d.shape}; needs {a.dtype} {(len(a), len(w), *places)}"
        )
    rows = d._moved(on.moveaxis(d._view, 1, 0)).reshape(len(w), d.size // len(w))
    by_weight = empty(w.shape, a.dtype, a.place)
    kernels.matmul(rows, patches, by_weight.reshape(len(w), w.size // len(w)))
    # The gradient by x is a convolution of dy, spread out by the stride, with the reversed kernel.
    sizes = ((p - 1) * s + 1 for p, s in zip(places, steps, strict=True))
    spread = zeros((*d.shape[:2], *sizes), d.dtype, d.place)
    spread._view[_stepped(steps)] = d._view
    borders = []
    for i in range(n):
        before = (w.shape[2 + i] - 1) * gaps[i] - pads[i]
        borders.append((before, a.shape[2 + i] - spread.shape[2 + i] + pads[i]))
    turned = on.flip(w._view, tuple(range(2, w.ndim))).swapaxes(0, 1)
    found, inputs = _patches("conv_backward", spread, w.shape[2:], (1,) * n, borders, gaps)
    weights = w._moved(turned).reshape(a.shape[1], w.size // a.shape[1])
    return _product(found, weights, (len(a), *inputs)), by_weight


def _operands(operation: str, x: Any, weight: Any) -> tuple[Array, Array]:
    a, w = asarray(x), asarray(weight)
    if a.dtype != w.dtype or a.dtype not in dtypes.FLOATS:
        raise DTypeError(f"{operation}: x is {a.dtype}, weight {w.dtype}; needs one floating type")
    if a.ndim not in (3, 4) or w.ndim != a.ndim or w.shape[1] != a.shape[1] or 0 in w.shape:
        raise ShapeError(
            f"{operation}: x is {a.shape}, weight {w.shape}; needs (N, C, sizes) and (O, C, kernel)"
        )
    one_place(operation, a, w)
    return a, w


def _stepped(steps: tuple[int, ...]) -> tuple[Any, ...]:
    """An index of every step-th place along the last axes."""
    return (..., *(slice(None, None, step) for step in steps))


def _each(operation: str, name: str, value: Sizes, count: int, least: int) -> tuple[int, ...]:
    values = (value,) * count if isinstance(value, int) else tuple(value)
    if len(values) != count or any(v < least for v in values):
        raise ShapeError(f"{operation}: {name} {value}; needs {count} integers of {least} or more")
    return values


def _patches(
    operation: str,
    x: Array,
    kernel: tuple[int, ...],
    steps: tuple[int, ...],
    borders: list[tuple[int, int]],
    gaps: tuple[int, ...],
) -> tuple[Array, tuple[int, ...]]:
    """The inputs of each output as rows, (N * outputs, C * kernel), and the outputs' sizes.

    A border below 0 cuts off instead of padding.
    """
    axes = tuple(range(2, x.ndim))
    inner = tuple(
        slice(max(0, -low), x.shape[axis] - max(0, -high))
        for axis, (low, high) in zip(axes, borders, strict=True)
    )
    cut: tuple[Any, ...] = (..., *inner)
    kept = x._view[cut]
    ends = [(max(0, low), max(0, high)) for low, high in borders]
    sizes = [low + size + high for size, (low, high) in zip(kept.shape[2:], ends, strict=True)]
    padded = zeros((*x.shape[:2], *sizes), x.dtype, x.place)
    within = (slice(low, size - high) for size, (low, high) in zip(sizes, ends, strict=True))
    padded._view[(..., *within)] = kept
    reach = tuple((k - 1) * g + 1 for k, g in zip(kernel, gaps, strict=True))
    if any(r > size for r, size in zip(reach, padded.shape[2:], strict=True)):
        raise ShapeError(
            f"{operation}: the kernel reaches over {reach}, the padded input has {padded.shape[2:]}"
        )
    on = kernels.mover(x.place)
    windows = on.lib.stride_tricks.sliding_window_view(padded._view, reach, axes)
    every = slice(None)
    windows = windows[(every, every, *_stepped(steps)[1:])]
    windows = windows[_stepped(gaps)]
    places = windows.shape[2 : x.ndim]
    moved = x._moved(on.moveaxis(windows, 1, x.ndim - 1))
    return moved.reshape(len(x) * math.prod(places), x.shape[1] * math.prod(kernel)), places


def _product(patches: Array, weights: Array, shape: tuple[int, ...]) -> Array:
    """Patches times weights, the channels moved to the second axis."""
    sums = empty((len(patches), len(weights)), patches.dtype, patches.place)
    kernels.matmul(patches, weights.T, sums)
    by_place = sums.reshape(*shape, len(weights))
    return sums._moved(kernels.mover(sums.place).moveaxis(by_place._view, -1, 1))
