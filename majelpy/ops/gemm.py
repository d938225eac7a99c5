"""Matrix products. Body: kernels/mj_sum.h; driver: kernels/cpu/gemm.cpp."""

from __future__ import annotations

from typing import Any

from majelpy import tree
from majelpy.array import Array, empty, operands
from majelpy.errors import ShapeError


def gemm(
    a: Any, b: Any, *, transpose_a: bool = False, transpose_b: bool = False, parts: int = 1
) -> Array:
    """Return the matrix product op(a) op(b).

    Parameters
    ----------
    a : (m, k) float32, or (k, m) with ``transpose_a``
    b : (k, n) float32, or (n, k) with ``transpose_b``
    parts : int
        Cut the sum over k in so many parts (majelpy/tree.py).

    Returns
    -------
    Array of shape (m, n)

    Raises
    ------
    ShapeError
        If the inner sizes differ, or there are too many parts.

    Notes
    -----
    Order: each output is the canonical sum over k: fma upwards from +0 in chunks of 256 terms,
    chunk sums added in ascending order; parts by the tree.
    """
    x, y = operands.matrix("gemm", "a", a), operands.matrix("gemm", "b", b)
    m, k = x.shape[::-1] if transpose_a else x.shape
    inner, n = y.shape[::-1] if transpose_b else y.shape
    if k != inner:
        raise ShapeError(
            f"gemm: {'a^T' if transpose_a else 'a'} is ({m}, {k}) and "
            f"{'b^T' if transpose_b else 'b'} is ({inner}, {n}); "
            f"inner sizes {k} and {inner} differ"
        )
    tree.parts(k, parts)
    on, place = operands.kernels("gemm", a=x, b=y)
    out = empty((m, n), device=place)
    a_strides = (1, x.shape[1]) if transpose_a else (x.shape[1], 1)
    b_strides = (1, y.shape[1]) if transpose_b else (y.shape[1], 1)
    on.mj_gemm(m, n, k, parts, x.pointer, *a_strides, y.pointer, *b_strides, out.pointer, n)
    return out
