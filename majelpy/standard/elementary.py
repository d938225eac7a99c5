"""Elementwise functions of one argument, and what all elementwise functions share.

Policy. Floats go through the bodies of kernels/standard*.h, whose errors in ulp stand there;
float32 results of elementary functions are float64 ones rounded. Integers are NumPy's, on a GPU
CuPy's: they wrap around. An operand may be a Python number where another one is an array.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from majelpy.array import kernels
from majelpy.array.array import Array, empty
from majelpy.array.checks import broadcast, numpy_errors
from majelpy.array.operands import of_kind, operands
from majelpy.errors import RangeError
from majelpy.memory import dtypes

NUMERIC = dtypes.FLOATS + dtypes.INTEGERS


def unary(name: str, x: Any, kinds: tuple[np.dtype, ...] = dtypes.FLOATS) -> Array:
    a = of_kind(name, x, kinds)
    out = empty(a.shape, a.dtype, a.place)
    if a.dtype in dtypes.FLOATS:
        kernels.unary(name, a, out)
    elif name == "square":
        kernels.mover(a.place).multiply(a._view, a._view, out=out._view)
    elif name in ("negative", "abs", "sign"):
        getattr(kernels.mover(a.place), name)(a._view, out=out._view)
    else:
        out._view[...] = a._view  # an integer is rounded already
    return out


def binary(name: str, x1: Any, x2: Any, kinds: tuple[np.dtype, ...] = NUMERIC) -> Array:
    a, b = operands(name, kinds, x1, x2)
    out = empty(broadcast(name, a.shape, b.shape), a.dtype, a.place)
    if a.dtype in dtypes.FLOATS:
        kernels.binary(name, spread(a, out), spread(b, out), out)
        return out
    if name == "pow" and out.size and b.dtype in dtypes.SIGNED and (b._view < 0).any():
        raise RangeError("pow: an integer has an exponent below 0; needs 0 or more, or floats")
    if name in ("floor_divide", "remainder") and out.size and (b._view == 0).any():
        raise RangeError(f"{name}: an integer is divided by 0; needs another divisor, or floats")
    with numpy_errors(name, a, b):
        function = getattr(kernels.mover(a.place), "power" if name == "pow" else name)
        function(a._view, b._view, out=out._view)
    return out


def spread(x: Array, out: Array) -> Array:
    """The elements of x for those of out; a single element stays one."""
    if x.shape == out.shape or x.size == 1:
        return x
    return x._moved(kernels.mover(x.place).broadcast_to(x._view, out.shape))


def acos(x: Any, /) -> Array:
    """Return the arc cosine."""
    return unary("acos", x)


def acosh(x: Any, /) -> Array:
    """Return the area cosine."""
    return unary("acosh", x)


def asin(x: Any, /) -> Array:
    """Return the arc sine."""
    return unary("asin", x)


def asinh(x: Any, /) -> Array:
    """Return the area sine."""
    return unary("asinh", x)


def atan(x: Any, /) -> Array:
    """Return the arc tangent."""
    return unary("atan", x)


def atanh(x: Any, /) -> Array:
    """Return the area tangent."""
    return unary("atanh", x)


def cos(x: Any, /) -> Array:
    """Return the cosine of an angle in radians."""
    return unary("cos", x)


def cosh(x: Any, /) -> Array:
    """Return the hyperbolic cosine."""
    return unary("cosh", x)


def exp(x: Any, /) -> Array:
    """Return e to the power of x."""
    return unary("exp", x)


def expm1(x: Any, /) -> Array:
    """Return exp(x) - 1, accurate near 0."""
    return unary("expm1", x)


def log(x: Any, /) -> Array:
    """Return the natural logarithm."""
    return unary("log", x)


def log1p(x: Any, /) -> Array:
    """Return log(1 + x), accurate near 0."""
    return unary("log1p", x)


def log2(x: Any, /) -> Array:
    """Return the logarithm to base 2."""
    return unary("log2", x)


def log10(x: Any, /) -> Array:
    """Return the logarithm to base 10."""
    return unary("log10", x)


def sin(x: Any, /) -> Array:
    """Return the sine of an angle in radians."""
    return unary("sin", x)


def sinh(x: Any, /) -> Array:
    """Return the hyperbolic sine."""
    return unary("sinh", x)


def sqrt(x: Any, /) -> Array:
    """Return the square root, correctly rounded."""
    return unary("sqrt", x)


def tan(x: Any, /) -> Array:
    """Return the tangent of an angle in radians."""
    return unary("tan", x)


def tanh(x: Any, /) -> Array:
    """Return the hyperbolic tangent."""
    return unary("tanh", x)


def reciprocal(x: Any, /) -> Array:
    """Return 1 / x."""
    return unary("reciprocal", x)


def ceil(x: Any, /) -> Array:
    """Return the nearest integer not below x."""
    return unary("ceil", x, NUMERIC)


def floor(x: Any, /) -> Array:
    """Return the nearest integer not above x."""
    return unary("floor", x, NUMERIC)


def round(x: Any, /) -> Array:
    """Return the nearest integer, a half to the even one."""
    return unary("round", x, NUMERIC)


def trunc(x: Any, /) -> Array:
    """Return the nearest integer towards 0."""
    return unary("trunc", x, NUMERIC)


def square(x: Any, /) -> Array:
    """Return x * x."""
    return unary("square", x, NUMERIC)
