"""Products of matrices and vectors.

Policy. Each element is a canonical sum of products (kernels/mj_sum.h): float32 by fused
multiply-add through the matrix product of training, float64 with each product rounded. Integers
are NumPy's or CuPy's and wrap around. A row has the same bits alone or in a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from majelpy.array import kernels
from majelpy.array.array import Array, empty
from majelpy.array.checks import axis_of, broadcast
from majelpy.array.operands import operands
from majelpy.errors import ShapeError
from majelpy.memory import dtypes
from majelpy.memory.place import CPU
from majelpy.standard.elementary import NUMERIC
from majelpy.standard.manipulation import permute_dims, reshape


def matmul(x1: Any, x2: Any, /) -> Array:
    """Return the matrix product; leading axes are batches and broadcast.

    Notes
    -----
    Order: the canonical sum over the inner axis.
    """
    a, b = operands("matmul", NUMERIC, x1, x2)
    if a.ndim == 0 or b.ndim == 0:
        raise ShapeError(f"matmul: shapes {a.shape} and {b.shape}; needs an axis or more in each")
    left = a.reshape(1, a.size) if a.ndim == 1 else a
    right = b.reshape(b.size, 1) if b.ndim == 1 else b
    (m, k), (inner, n) = left.shape[-2:], right.shape[-2:]
    if k != inner:
        raise ShapeError(
            f"matmul: shapes {a.shape} and {b.shape}; inner sizes {k} and {inner} differ"
        )
    batch = broadcast("matmul", left.shape[:-2], right.shape[:-2])
    out = empty((*batch, m, n), a.dtype, a.place)
    if a.dtype in dtypes.FLOATS:
        _products(left, right, out)
    elif a.place == CPU:
        np.matmul(left._view, right._view, out=out._view)
    else:  # CuPy's matmul needs cuBLAS
        out._view[...] = 0
        for i in range(k):
            out._view[...] += left._view[..., i, None] * right._view[..., i, None, :]
    dropped = (*(() if a.ndim == 1 else (m,)), *(() if b.ndim == 1 else (n,)))
    return out.reshape(*batch, *dropped)


def _products(a: Array, b: Array, out: Array) -> None:
    """All matrix products of a batch; one product where only the left side has a batch."""
    if b.ndim == 2:
        rows = math.prod(a.shape[:-1])
        kernels.matmul(a.reshape(rows, a.shape[-1]), b, out.reshape(rows, out.shape[-1]))
        return
    batch = out.shape[:-2]
    for index in np.ndindex(batch):
        kernels.matmul(a[_of_batch(a, index)], b[_of_batch(b, index)], out[index])


def _of_batch(x: Array, index: tuple[int, ...]) -> tuple[int, ...]:
    """Where x, whose leading axes broadcast to the batch, has the matrix of an index."""
    sizes = x.shape[:-2]
    return tuple(
        i if n > 1 else 0 for i, n in zip(index[len(index) - len(sizes) :], sizes, strict=True)
    )


def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Array:
    """Return the sums of products along an axis, the others broadcast.

    Notes
    -----
    Order: the canonical sum along the axis.
    """
    a, b = operands("vecdot", NUMERIC, x1, x2)
    if a.ndim == 0 or b.ndim == 0:
        raise ShapeError(f"vecdot: shapes {a.shape} and {b.shape}; needs an axis or more in each")
    if not -min(a.ndim, b.ndim) <= axis < 0:
        axis = axis_of("vecdot", axis, min(a.ndim, b.ndim)) - a.ndim if a.ndim == b.ndim else 0
    if axis == 0:
        raise ShapeError(
            f"vecdot: shapes {a.shape} and {b.shape}; needs an axis from the end, -1 up"
        )
    if a.shape[axis] != b.shape[axis]:
        raise ShapeError(f"vecdot: shapes {a.shape} and {b.shape} differ along axis {axis}")
    on = kernels.mover(a.place)
    views = [on.moveaxis(v._view, axis, -1) for v in (a, b)]
    shape = broadcast("vecdot", *(view.shape for view in views))
    x, y = (v._moved(on.broadcast_to(view, shape)) for v, view in zip((a, b), views, strict=True))
    out = empty(shape[:-1], a.dtype, a.place)
    if a.dtype in dtypes.FLOATS:
        rows = math.prod(shape[:-1]), shape[-1]
        kernels.dot_rows(x.reshape(*rows), y.reshape(*rows), out)
    else:
        out._view[...] = on.sum(x._view * y._view, axis=-1, dtype=a.dtype)
    return out


def tensordot(x1: Any, x2: Any, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Array:
    """Return the sums of products over pairs of axes: the last ``axes`` of x1 with the first of x2.

    Notes
    -----
    Order: the canonical sum over the joined axes in row-major order of the pairs.
    """
    a, b = operands("tensordot", NUMERIC, x1, x2)
    if isinstance(axes, int):
        if not 0 <= axes <= min(a.ndim, b.ndim):
            raise ShapeError(f"tensordot: {axes} axes of shapes {a.shape} and {b.shape}")
        pairs = tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes))
    else:
        first, second = (
            tuple(axis_of("tensordot", axis, x.ndim) for axis in part)
            for part, x in zip(axes, (a, b), strict=True)
        )
        pairs = first, second
    sizes = [tuple(x.shape[i] for i in part) for x, part in zip((a, b), pairs, strict=True)]
    if sizes[0] != sizes[1]:
        raise ShapeError(f"tensordot: sizes {sizes[0]} and {sizes[1]} of the joined axes differ")
    kept = [
        tuple(i for i in range(x.ndim) if i not in part)
        for x, part in zip((a, b), pairs, strict=True)
    ]
    inner = math.prod(sizes[0])
    outer = tuple(tuple(x.shape[i] for i in k) for x, k in zip((a, b), kept, strict=True))
    left = reshape(permute_dims(a, kept[0] + pairs[0]), (math.prod(outer[0]), inner))
    right = reshape(permute_dims(b, pairs[1] + kept[1]), (inner, math.prod(outer[1])))
    return reshape(matmul(left, right), outer[0] + outer[1])
