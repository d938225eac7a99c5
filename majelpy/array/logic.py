"""Elementwise comparisons, logic and bits: no rounding, so NumPy does them.

Policy. Comparisons give bool. Shifts by the width or more give 0, or -1 for a negative number
shifted right.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from majelpy.array import dtypes
from majelpy.array.array import Array, empty
from majelpy.array.checks import broadcast, numpy_errors, of_kind, operands
from majelpy.array.elementary import NUMERIC

BOOL = (dtypes.bool,)
BITS = (dtypes.bool, *dtypes.INTEGERS)


def _compare(name: str, x1: Any, x2: Any, kinds: tuple[np.dtype, ...] = NUMERIC) -> Array:
    a, b = operands(name, kinds, x1, x2)
    out = empty(broadcast(name, a.shape, b.shape), dtypes.bool)
    with numpy_errors(name, a, b):
        getattr(np, name)(a._view, b._view, out=out._view)
    return out


def _bits(name: str, x1: Any, x2: Any, kinds: tuple[np.dtype, ...] = BITS) -> Array:
    a, b = operands(f"bitwise_{name}", kinds, x1, x2)
    out = empty(broadcast(f"bitwise_{name}", a.shape, b.shape), a.dtype)
    with numpy_errors(f"bitwise_{name}", a, b):
        getattr(np, f"bitwise_{name}" if kinds is BITS else name)(a._view, b._view, out=out._view)
    return out


def _test(name: str, x: Any, kinds: tuple[np.dtype, ...] = NUMERIC) -> Array:
    a = of_kind(name, x, kinds)
    out = empty(a.shape, dtypes.bool)
    with numpy_errors(name, a):
        getattr(np, name)(a._view, out=out._view)
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
    return _bits("and", x1, x2)


def bitwise_or(x1: Any, x2: Any, /) -> Array:
    """Return x1 | x2."""
    return _bits("or", x1, x2)


def bitwise_xor(x1: Any, x2: Any, /) -> Array:
    """Return x1 ^ x2."""
    return _bits("xor", x1, x2)


def bitwise_left_shift(x1: Any, x2: Any, /) -> Array:
    """Return x1 << x2."""
    return _bits("left_shift", x1, x2, dtypes.INTEGERS)


def bitwise_right_shift(x1: Any, x2: Any, /) -> Array:
    """Return x1 >> x2, the sign kept."""
    return _bits("right_shift", x1, x2, dtypes.INTEGERS)


def logical_not(x: Any, /) -> Array:
    """Return not x."""
    return _test("logical_not", x, BOOL)


def isfinite(x: Any, /) -> Array:
    """Return whether x is neither infinite nor NaN."""
    return _test("isfinite", x)


def isinf(x: Any, /) -> Array:
    """Return whether x is infinite."""
    return _test("isinf", x)


def isnan(x: Any, /) -> Array:
    """Return whether x is NaN."""
    return _test("isnan", x)


def signbit(x: Any, /) -> Array:
    """Return whether the sign bit of x is set."""
    return _test("signbit", x, dtypes.FLOATS)


def bitwise_invert(x: Any, /) -> Array:
    """Return ~x."""
    a = of_kind("bitwise_invert", x, BITS)
    out = empty(a.shape, a.dtype)
    np.invert(a._view, out=out._view)
    return out
