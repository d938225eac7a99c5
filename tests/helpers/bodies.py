"""Bodies that no operation calls alone, by their entry points: functions of mj_math.h, and fma."""

from __future__ import annotations

from typing import Any

from majelpy.array import Array, checks, empty, operands

FUNCTIONS = ("exp", "log", "sigmoid", "tanh")
"""Names of the functions that `math_function` knows, in the order of mj_math_array."""


def math_function(name: str, x: Any) -> Array:
    """Return a function of `FUNCTIONS` of x, elementwise; errors in ulp: kernels/mj_math.h."""
    a = operands.floats(name, "x", x)
    on, place = operands.kernels(name, x=a)
    out = empty(a.shape, device=place)
    on.mj_math_array(FUNCTIONS.index(name), a.size, a.pointer, out.pointer)
    return out


def fma(a: Any, b: Any, c: Any) -> Array:
    """Return a * b + c rounded once, elementwise; by the instruction or by software."""
    x, y, z = (operands.floats("fma", name, v) for name, v in (("a", a), ("b", b), ("c", c)))
    checks.same_shape("fma", x, y)
    checks.same_shape("fma", x, z)
    on, place = operands.kernels("fma", a=x, b=y, c=z)
    out = empty(x.shape, device=place)
    on.mj_fma_array(x.size, x.pointer, y.pointer, z.pointer, out.pointer)
    return out
