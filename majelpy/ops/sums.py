"""Sums, means and scales of columns, and the square sum of a vector.

Bodies: kernels/mj_sum.h, kernels/sums.h.
"""

from __future__ import annotations

from typing import Any

from majelpy.array import Array, checks, empty, operands


def sum_rows(x: Any) -> Array:
    """Return the sum of each column of x, (rows, columns) float32.

    Notes
    -----
    Order: the canonical sum over the rows.
    """
    a = operands.matrix("sum_rows", "x", x)
    on, place = operands.kernels("sum_rows", x=a)
    out = empty(a.shape[1], device=place)
    on.mj_sum_rows(*a.shape, a.pointer, out.pointer)
    return out


def sum_deviations(x: Any, center: Any, *, squared: bool = False) -> Array:
    """Return the sum of x - center of each column, or of its squares; center is (columns,).

    Notes
    -----
    Order: the canonical sum over the rows; a square is rounded before it is added.
    """
    a = operands.matrix("sum_deviations", "x", x)
    c = operands.vector("sum_deviations", "center", center)
    checks.columns("sum_deviations", "center", c, a.shape[1])
    on, place = operands.kernels("sum_deviations", x=a, center=c)
    out = empty(a.shape[1], device=place)
    kernel = on.mj_sum_square_deviations if squared else on.mj_sum_deviations
    kernel(*a.shape, a.pointer, c.pointer, out.pointer)
    return out


def mean_of(center: Any, sums: Any, count: int, *, out: Array | None = None) -> Array:
    """Return center + sums / count, (columns,) float32; written into ``out`` if given."""
    c, s = operands.vector("mean_of", "center", center), operands.vector("mean_of", "sums", sums)
    checks.same_shape("mean_of", c, s)
    result = empty(s.shape, device=s.place) if out is None else out
    checks.same_shape("mean_of", s, operands.vector("mean_of", "out", result))
    on, _ = operands.kernels("mean_of", center=c, sums=s, out=result)
    on.mj_mean_of(s.size, c.pointer, s.pointer, count, result.pointer)
    return result


def scale_of(sums: Any, square_sums: Any, count: int) -> Array:
    """Return 1 / standard deviation from sums of deviations and of their squares.

    The deviation is taken as at least 1e-3, so a constant feature gives a finite scale.
    """
    s = operands.vector("scale_of", "sums", sums)
    q = operands.vector("scale_of", "square_sums", square_sums)
    checks.same_shape("scale_of", s, q)
    on, place = operands.kernels("scale_of", sums=s, square_sums=q)
    out = empty(s.shape, device=place)
    on.mj_scale_of(s.size, s.pointer, q.pointer, count, out.pointer)
    return out


def square_sum(x: Any) -> Array:
    """Return the sum of squares of a vector, shape (1,).

    Notes
    -----
    Order: the canonical sum of products x_i x_i.
    """
    a = operands.vector("square_sum", "x", x)
    on, place = operands.kernels("square_sum", x=a)
    out = empty(1, device=place)
    on.mj_square_sum(a.size, a.pointer, out.pointer)
    return out
