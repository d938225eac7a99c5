"""Elementwise functions of two arguments, signs and limits.

Policy. As in majelpy.standard.elementary: floats by bodies, integers by NumPy or CuPy.
"""

from __future__ import annotations

from typing import Any

from majelpy.array.array import Array
from majelpy.array.operands import converted, of_kind
from majelpy.memory import dtypes
from majelpy.standard.elementary import NUMERIC, binary, unary


def add(x1: Any, x2: Any, /) -> Array:
    """Return x1 + x2."""
    return binary("add", x1, x2)


def subtract(x1: Any, x2: Any, /) -> Array:
    """Return x1 - x2."""
    return binary("subtract", x1, x2)


def multiply(x1: Any, x2: Any, /) -> Array:
    """Return x1 * x2."""
    return binary("multiply", x1, x2)


def divide(x1: Any, x2: Any, /) -> Array:
    """Return x1 / x2."""
    return binary("divide", x1, x2, dtypes.FLOATS)


def floor_divide(x1: Any, x2: Any, /) -> Array:
    """Return the floor of x1 / x2.

    Raises
    ------
    RangeError
        If an integer is divided by 0.
    """
    return binary("floor_divide", x1, x2)


def remainder(x1: Any, x2: Any, /) -> Array:
    """Return the remainder of x1 / x2, with the sign of x2.

    Raises
    ------
    RangeError
        If an integer is divided by 0.
    """
    return binary("remainder", x1, x2)


def pow(x1: Any, x2: Any, /) -> Array:
    """Return x1 to the power of x2."""
    return binary("pow", x1, x2)


def maximum(x1: Any, x2: Any, /) -> Array:
    """Return the larger one; NaN where one is NaN."""
    return binary("maximum", x1, x2)


def minimum(x1: Any, x2: Any, /) -> Array:
    """Return the smaller one; NaN where one is NaN."""
    return binary("minimum", x1, x2)


def atan2(x1: Any, x2: Any, /) -> Array:
    """Return the angle in [-pi, pi] of the point (x2, x1)."""
    return binary("atan2", x1, x2, dtypes.FLOATS)


def hypot(x1: Any, x2: Any, /) -> Array:
    """Return sqrt(x1^2 + x2^2) without overflow in between."""
    return binary("hypot", x1, x2, dtypes.FLOATS)


def logaddexp(x1: Any, x2: Any, /) -> Array:
    """Return log(exp(x1) + exp(x2))."""
    return binary("logaddexp", x1, x2, dtypes.FLOATS)


def negative(x: Any, /) -> Array:
    """Return -x."""
    return unary("negative", x, NUMERIC)


def positive(x: Any, /) -> Array:
    """Return x, copied."""
    return of_kind("positive", x, NUMERIC).copy()


def conj(x: Any, /) -> Array:
    """Return x, copied: no element is complex."""
    return of_kind("conj", x, NUMERIC).copy()


def real(x: Any, /) -> Array:
    """Return x, copied: no element is complex."""
    return of_kind("real", x, NUMERIC).copy()


def abs(x: Any, /) -> Array:
    """Return the magnitude of x."""
    return unary("abs", x, NUMERIC)


def sign(x: Any, /) -> Array:
    """Return -1, 0 or 1; NaN for NaN."""
    return unary("sign", x, NUMERIC)


def copysign(x1: Any, x2: Any, /) -> Array:
    """Return x1 with the sign of x2."""
    return binary("copysign", x1, x2, dtypes.FLOATS)


def nextafter(x1: Any, x2: Any, /) -> Array:
    """Return the number next to x1 on the way to x2."""
    return binary("nextafter", x1, x2, dtypes.FLOATS)


def clip(x: Any, /, min: Any = None, max: Any = None) -> Array:
    """Return x held within min and max, each a number, an array or None; in the type of x.

    Raises
    ------
    RangeError
        If a limit is a Python integer that the type of x cannot hold.
    """
    a = of_kind("clip", x, NUMERIC)
    result = a.copy()
    for name, limit in (("maximum", min), ("minimum", max)):
        if limit is not None:
            result = converted(binary(name, result, limit), a.dtype)
    return result
