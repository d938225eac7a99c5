"""Elementwise comparisons, logic and bits.

Policy. Comparisons give bool. Floats are compared and classified by bodies, integers and booleans
by NumPy or CuPy. Shifts by the width or more, or by a negative count, give 0, or -1 for a negative
number shifted right.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from majelpy.array import kernels
from majelpy.array.array import Array, empty
from majelpy.array.checks import broadcast
from majelpy.array.operands import of_kind, operands
from majelpy.memory import dtypes
from majelpy.standard.elementary import NUMERIC, spread

BOOL = (dtypes.bool,)
BITS = (dtypes.bool, *dtypes.INTEGERS)


def _compare(name: str, x1: Any, x2: Any, kinds: tuple[np.dtype, ...] = NUMERIC) -> Array:
    a, b = operands(name, kinds, x1, x2)
    out = empty(broadcast(name, a.shape, b.shape), dtypes.bool, a.place)
    if a.dtype in dtypes.FLOATS:
        kernels.compare(name, spread(a, out), spread(b, out), out)
    else:
        getattr(kernels.mover(a.place), name)(a._view, b._view, out=out._view)
    return out


def _bits(name: str, x1: Any, x2: Any) -> Array:
    a, b = operands(name, BITS, x1, x2)
    out = empty(broadcast(name, a.shape, b.shape), a.dtype, a.place)
    getattr(kernels.mover(a.place), name)(a._view, b._view, out=out._view)
    return out


def _shift(name: str, x1: Any, x2: Any) -> Array:
    a, b = operands(f"bitwise_{name}", dtypes.INTEGERS, x1, x2)
    out = empty(broadcast(f"bitwise_{name}", a.shape, b.shape), a.dtype, a.place)
    on, last = kernels.mover(a.place), 8 * a.dtype.itemsize - 1
    count = b._view.view(dtypes.word_of(b.dtype))  # a negative count is a large one
    # C++, which CuPy hands its operands to, leaves larger shifts open.
    getattr(on, name)(a._view, on.minimum(count, last).view(b.dtype), out=out._view)
    if name == "left_shift" or a.dtype in dtypes.UNSIGNED:
        on.multiply(out._view, count <= last, out=out._view)
    return out


def _class(name: str, x: Any, kinds: tuple[np.dtype, ...] = NUMERIC) -> Array:
    a = of_kind(name, x, kinds)
    out = empty(a.shape, dtypes.bool, a.place)
    if a.dtype in dtypes.FLOATS:
        kernels.classify(name, a, out)
    else:
        out._view[...] = name == "isfinite"
    return out


def equal(x1: Any, x2: Any, /) -> Array:
    """Return x1 == x2."""
    return _compare("equal", x1, x2, BOOL + NUMERIC)


def not_equal(x1: Any, x2: Any, /) -> Array:
    """Return x1 != x2."""
    return _compare("not_equal", x1, x2, BOOL + NUMERIC)


def less(x1: Any, x2: Any, /) -> Array:
    """Return x1 < x2."""
    return _compare("less", x1, x2)


def less_equal(x1: Any, x2: Any, /) -> Array:
    """Return x1 <= x2."""
    return _compare("less_equal", x1, x2)


def greater(x1: Any, x2: Any, /) -> Array:
    """Return x1 > x2."""
    return _compare("greater", x1, x2)


def greater_equal(x1: Any, x2: Any, /) -> Array:
    """Return x1 >= x2."""
    return _compare("greater_equal", x1, x2)


def logical_and(x1: Any, x2: Any, /) -> Array:
    """Return x1 and x2."""
    return _compare("logical_and", x1, x2, BOOL)


def logical_or(x1: Any, x2: Any, /) -> Array:
    """Return x1 or x2."""
    return _compare("logical_or", x1, x2, BOOL)


def logical_xor(x1: Any, x2: Any, /) -> Array:
    """Return x1 != x2 of booleans."""
    return _compare("logical_xor", x1, x2, BOOL)


def bitwise_and(x1: Any, x2: Any, /) -> Array:
    """Return x1 & x2."""
    return _bits("bitwise_and", x1, x2)


def bitwise_or(x1: Any, x2: Any, /) -> Array:
    """Return x1 | x2."""
    return _bits("bitwise_or", x1, x2)


def bitwise_xor(x1: Any, x2: Any, /) -> Array:
    """Return x1 ^ x2."""
    return _bits("bitwise_xor", x1, x2)


def bitwise_left_shift(x1: Any, x2: Any, /) -> Array:
    """Return x1 << x2."""
    return _shift("left_shift", x1, x2)


def bitwise_right_shift(x1: Any, x2: Any, /) -> Array:
    """Return x1 >> x2, the sign kept."""
    return _shift("right_shift", x1, x2)


def logical_not(x: Any, /) -> Array:
    """Return not x."""
    a = of_kind("logical_not", x, BOOL)
    out = empty(a.shape, a.dtype, a.place)
    kernels.mover(a.place).logical_not(a._view, out=out._view)
    return out


def isfinite(x: Any, /) -> Array:
    """Return whether x is neither infinite nor NaN."""
    return _class("isfinite", x)


def isinf(x: Any, /) -> Array:
    """Return whether x is infinite."""
    return _class("isinf", x)


def isnan(x: Any, /) -> Array:
    """Return whether x is NaN."""
    return _class("isnan", x)


def signbit(x: Any, /) -> Array:
    """Return whether the sign bit of x is set."""
    return _class("signbit", x, dtypes.FLOATS)


def bitwise_invert(x: Any, /) -> Array:
    """Return ~x."""
    a = of_kind("bitwise_invert", x, BITS)
    out = empty(a.shape, a.dtype, a.place)
    kernels.mover(a.place).invert(a._view, out=out._view)
    return out
