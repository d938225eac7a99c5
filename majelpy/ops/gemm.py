"""Matrix products. Body: kernels/mj_sum.h; driver: kernels/cpu/gemm.cpp."""

from __future__ import annotations

from typing import Any

from majelpy.array import Array, empty
from majelpy.errors import ShapeError
from majelpy.ops import check


def gemm(a: Any, b: Any, *, transpose_a: bool = False, transpose_b: bool = False) -> Array:
    """Return the matrix product op(a) op(b).

    Parameters
    ----------
    a : (m, k) float32, or (k, m) with ``transpose_a``
    b : (k, n) float32, or (n, k) with ``transpose_b``

    Returns
    -------
    Array of shape (m, n)

    Raises
    ------
    ShapeError
        If the inner sizes differ.

    Notes
    -----
    Order: each output is the canonical sum over k: fma upwards from +0 in chunks of 256 terms,
    chunk sums added in ascending order.
    """
    x, y = check.matrix("gemm", "a", a), check.matrix("gemm", "b", b)
    m, k = x.shape[::-1] if transpose_a else x.shape
    inner, n = y.shape[::-1] if transpose_b else y.shape
    if k != inner:
        raise ShapeError(
            f"gemm: {'a^T' if transpose_a else 'a'} is ({m}, {k}) and "
            f"{'b^T' if transpose_b else 'b'} is ({inner}, {n}); "
            f"inner sizes {k} and {inner} differ"
        )
    on, place = check.kernels("gemm", a=x, b=y)
    out = empty((m, n), device=place)
    a_strides = (1, x.shape[1]) if transpose_a else (x.shape[1], 1)
    b_strides = (1, y.shape[1]) if transpose_b else (y.shape[1], 1)
    on.mj_gemm(m, n, k, x.pointer, *a_strides, y.pointer, *b_strides, out.pointer, n)
    return out
