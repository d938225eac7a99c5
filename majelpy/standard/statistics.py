"""Reductions, running sums, differences.

Policy. Sums and products of floats are canonical (kernels/mj_sum.h) over the reduced axes in
row-major order; the reduced type is that of the array, so float32 sums are float32 sums.
Integers and booleans are NumPy's or CuPy's: sums of integers are int64 or uint64 and wrap around.
A kernel reduces the middle axis of (outer, n, inner); axes that do not lie together are moved to
the end.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from majelpy.array import kernels
from majelpy.array.array import Array, array_of, convert_into, empty, number
from majelpy.array.checks import axes_of, axis_of, numpy_errors
from majelpy.array.operands import converted, of_kind
from majelpy.errors import DTypeError, ShapeError
from majelpy.memory import dtypes
from majelpy.standard.arithmetic import divide, subtract
from majelpy.standard.elementary import NUMERIC, sqrt
from majelpy.standard.manipulation import concat, permute_dims

Axis = int | tuple[int, ...] | None


def _middle(x: Array, axes: tuple[int, ...]) -> Array:
    """The array as (outer, n, inner), the reduced axes joined in the middle one."""
    if axes and axes[-1] - axes[0] + 1 != len(axes):
        kept = [axis for axis in range(x.ndim) if axis not in axes]
        x = permute_dims(x, (*kept, *axes))
        axes = tuple(range(len(kept), x.ndim))
    first, last = (axes[0], axes[-1] + 1) if axes else (x.ndim, x.ndim)
    sizes = x.shape
    outer, n, inner = (math.prod(part) for part in (sizes[:first], sizes[first:last], sizes[last:]))
    return x.reshape(outer, n, inner)


def _remaining(shape: tuple[int, ...], axes: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    if keepdims:
        return tuple(1 if i in axes else size for i, size in enumerate(shape))
    return tuple(size for i, size in enumerate(shape) if i not in axes)


def _by_kernel(name: str, a: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    out = empty(_remaining(a.shape, axes, keepdims), a.dtype, a.place)
    kernels.reduce(name, _middle(a, axes), out)
    return out


def _by_mover(
    name: str, a: Array, axes: tuple[int, ...], keepdims: bool, dtype: np.dtype | None = None
) -> Array:
    out = empty(_remaining(a.shape, axes, keepdims), dtype or a.dtype, a.place)
    if out.size and axes:  # CuPy reduces neither to nothing nor over nothing
        options = {} if dtype is None else {"dtype": dtype}
        with numpy_errors(name, a):
            function = getattr(kernels.mover(a.place), name)
            out._view[...] = function(a._view, axis=axes, keepdims=keepdims, **options)
    elif out.size:
        convert_into(a._view, out, of=a.dtype)
    return out


def _accumulated(name: str, x: Any, dtype: Any) -> Array:
    """The operand in the type in which sums and products are."""
    a = of_kind(name, x, NUMERIC)
    if dtype is not None:
        kind = dtypes.dtype_of(name, dtype)
        if kind not in NUMERIC:
            raise DTypeError(f"{name}: {dtypes.name_of(kind)} asked; needs a numeric type")
        return converted(a, kind)
    if a.dtype in dtypes.FLOATS:
        return a
    return converted(a, dtypes.int64 if a.dtype in dtypes.SIGNED else dtypes.uint64)


def _total(name: str, x: Any, axis: Axis, dtype: Any, keepdims: bool) -> Array:
    a = _accumulated(name, x, dtype)
    axes = axes_of(name, axis, a.ndim)
    if a.dtype in dtypes.FLOATS:
        return _by_kernel(name, a, axes, keepdims)
    return _by_mover(name, a, axes, keepdims, dtype=a.dtype)


def sum(x: Any, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Array:
    """Return the sum over axes (all of them for None); an empty sum is 0.

    Notes
    -----
    Order: the canonical sum over the reduced axes in row-major order.
    """
    return _total("sum", x, axis, dtype, keepdims)


def prod(x: Any, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Array:
    """Return the product over axes; an empty product is 1.

    Notes
    -----
    Order: as `sum`, each chunk starting at 1.
    """
    return _total("prod", x, axis, dtype, keepdims)


def _extreme(name: str, x: Any, axis: Axis, keepdims: bool) -> Array:
    a = of_kind(name, x, NUMERIC)
    axes = axes_of(name, axis, a.ndim)
    if math.prod(a.shape[i] for i in axes) == 0:
        raise ShapeError(f"{name}: shape {a.shape} has nothing along axes {axes}; needs an element")
    reduce = _by_kernel if a.dtype in dtypes.FLOATS else _by_mover
    return reduce(name, a, axes, keepdims)


def max(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Return the largest element over axes; NaN where one is NaN."""
    return _extreme("max", x, axis, keepdims)


def min(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Return the smallest element over axes; NaN where one is NaN."""
    return _extreme("min", x, axis, keepdims)


def mean(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Return the mean over axes: the canonical sum over the count; NaN of nothing."""
    a = of_kind("mean", x, dtypes.FLOATS)
    axes = axes_of("mean", axis, a.ndim)
    count = math.prod(a.shape[i] for i in axes)
    total = _by_kernel("sum", a, axes, keepdims)
    return divide(total, number("mean", float(count), a.dtype, a.place))


def var(x: Any, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Array:
    """Return the variance over axes, the sum of squares divided by count - correction.

    Notes
    -----
    Order: the mean first; then the canonical sum of the squares of the deviations, each square
    rounded before it is added.
    """
    a = of_kind("var", x, dtypes.FLOATS)
    axes = axes_of("var", axis, a.ndim)
    means = mean(a, axis=axes)
    out = empty(_remaining(a.shape, axes, keepdims), a.dtype, a.place)
    kernels.reduce_squares(_middle(a, axes), means, out)
    freedom = math.prod(a.shape[i] for i in axes) - correction
    return divide(out, number("var", float(freedom) if freedom > 0 else 0.0, a.dtype, a.place))


def std(x: Any, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Array:
    """Return the square root of the variance over axes."""
    a = of_kind("std", x, dtypes.FLOATS)
    return sqrt(var(a, axis=axis, correction=correction, keepdims=keepdims))


def all(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Return whether every element over axes is other than 0."""
    a = array_of("all", x)
    return _by_mover("all", converted(a, dtypes.bool), axes_of("all", axis, a.ndim), keepdims)


def any(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Return whether an element over axes is other than 0."""
    a = array_of("any", x)
    return _by_mover("any", converted(a, dtypes.bool), axes_of("any", axis, a.ndim), keepdims)


def count_nonzero(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Return how many elements over axes are other than 0."""
    a = converted(array_of("count_nonzero", x), dtypes.bool)
    axes = axes_of("count_nonzero", axis, a.ndim)
    return _by_mover("sum", a, axes, keepdims, dtype=dtypes.int64)


def _cumulated(name: str, x: Any, axis: int | None, dtype: Any, initial: bool) -> Array:
    a = _accumulated(name, x, dtype)
    if axis is None and a.ndim != 1:
        raise ShapeError(f"{name}: shape {a.shape}; needs an axis unless there is exactly one")
    at = axis_of(name, 0 if axis is None else axis, a.ndim)
    out = empty(a.shape, a.dtype, a.place)
    kind = "sum" if name == "cumulative_sum" else "prod"
    if a.dtype in dtypes.FLOATS:
        kernels.cumulate(kind, _middle(a, (at,)), out)
    elif out.size:
        plain = getattr(kernels.mover(a.place), f"cum{kind}")
        out._view[...] = plain(a._view, axis=at, dtype=a.dtype)
    if not initial:
        return out
    first = empty((*a.shape[:at], 1, *a.shape[at + 1 :]), a.dtype, a.place)
    first._view[...] = number(name, int(kind == "prod"), a.dtype, a.place)._view
    return concat((first, out), axis=at)


def cumulative_sum(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Array:
    """Return the running sum along an axis, from 0 on if asked.

    Notes
    -----
    Order: the running sum of an element's chunk of 256 is added to the total of the chunks before
    it, so that the last value has the bits of `sum`.
    """
    return _cumulated("cumulative_sum", x, axis, dtype, include_initial)


def cumulative_prod(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Array:
    """Return the running product along an axis, from 1 on if asked; order as `cumulative_sum`."""
    return _cumulated("cumulative_prod", x, axis, dtype, include_initial)


def diff(
    x: Any, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None
) -> Array:
    """Return the differences of neighbours along an axis, taken n times."""
    a = of_kind("diff", x, NUMERIC)
    at = axis_of("diff", axis, a.ndim)
    if n < 0:
        raise ShapeError(f"diff: n is {n}; needs 0 or more")
    parts = [array_of("diff", p) for p in (prepend, a, append) if p is not None]
    a = concat(parts, axis=at) if len(parts) > 1 else a
    before = (slice(None),) * at
    for _ in range(n):
        a = subtract(a[(*before, slice(1, None))], a[(*before, slice(None, -1))])
    return a
