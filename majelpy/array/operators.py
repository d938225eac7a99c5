"""Operators of arrays, each the function of the standard with that meaning.

Policy. The other operand may be what the function takes: an array, one of NumPy's too, or a Python
number; anything else is left to its own class. An in-place operator keeps memory, shape and type,
so a result of another shape or type is an error.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from majelpy.errors import DTypeError, ShapeError
from majelpy.namespace import namespace


def _function(name: str) -> Any:
    return getattr(namespace(), name)


def _apply(name: str, a: Any, b: Any) -> Any:
    if not (isinstance(a, _OPERANDS) and isinstance(b, _OPERANDS)):
        return NotImplemented
    return _function(name)(a, b)


def _into(name: str, a: Any, b: Any) -> Any:
    result = _apply(name, a, b)
    if result is NotImplemented:
        return result
    if result.shape != a.shape:
        raise ShapeError(f"{name} in place: shape {a.shape} would become {result.shape}")
    if result.dtype != a.dtype:
        raise DTypeError(f"{name} in place: {a.dtype} would become {result.dtype}")
    a._view[...] = result._view
    return a


class Operators:
    """Arithmetic, comparison and bitwise operators of `Array`."""

    __slots__ = ()

    def __add__(self, other: Any, /) -> Any:
        return _apply("add", self, other)

    def __radd__(self, other: Any, /) -> Any:
        return _apply("add", other, self)

    def __iadd__(self, other: Any, /) -> Any:
        return _into("add", self, other)

    def __sub__(self, other: Any, /) -> Any:
        return _apply("subtract", self, other)

    def __rsub__(self, other: Any, /) -> Any:
        return _apply("subtract", other, self)

    def __isub__(self, other: Any, /) -> Any:
        return _into("subtract", self, other)

    def __mul__(self, other: Any, /) -> Any:
        return _apply("multiply", self, other)

    def __rmul__(self, other: Any, /) -> Any:
        return _apply("multiply", other, self)

    def __imul__(self, other: Any, /) -> Any:
        return _into("multiply", self, other)

    def __truediv__(self, other: Any, /) -> Any:
        return _apply("divide", self, other)

    def __rtruediv__(self, other: Any, /) -> Any:
        return _apply("divide", other, self)

    def __itruediv__(self, other: Any, /) -> Any:
        return _into("divide", self, other)

    def __floordiv__(self, other: Any, /) -> Any:
        return _apply("floor_divide", self, other)

    def __rfloordiv__(self, other: Any, /) -> Any:
        return _apply("floor_divide", other, self)

    def __ifloordiv__(self, other: Any, /) -> Any:
        return _into("floor_divide", self, other)

    def __mod__(self, other: Any, /) -> Any:
        return _apply("remainder", self, other)

    def __rmod__(self, other: Any, /) -> Any:
        return _apply("remainder", other, self)

    def __imod__(self, other: Any, /) -> Any:
        return _into("remainder", self, other)

    def __pow__(self, other: Any, /) -> Any:
        return _apply("pow", self, other)

    def __rpow__(self, other: Any, /) -> Any:
        return _apply("pow", other, self)

    def __ipow__(self, other: Any, /) -> Any:
        return _into("pow", self, other)

    def __matmul__(self, other: Any, /) -> Any:
        return _apply("matmul", self, other)

    def __rmatmul__(self, other: Any, /) -> Any:
        return _apply("matmul", other, self)

    def __imatmul__(self, other: Any, /) -> Any:
        return _into("matmul", self, other)

    def __and__(self, other: Any, /) -> Any:
        return _apply("bitwise_and", self, other)

    def __rand__(self, other: Any, /) -> Any:
        return _apply("bitwise_and", other, self)

    def __iand__(self, other: Any, /) -> Any:
        return _into("bitwise_and", self, other)

    def __or__(self, other: Any, /) -> Any:
        return _apply("bitwise_or", self, other)

    def __ror__(self, other: Any, /) -> Any:
        return _apply("bitwise_or", other, self)

    def __ior__(self, other: Any, /) -> Any:
        return _into("bitwise_or", self, other)

    def __xor__(self, other: Any, /) -> Any:
        return _apply("bitwise_xor", self, other)

    def __rxor__(self, other: Any, /) -> Any:
        return _apply("bitwise_xor", other, self)

    def __ixor__(self, other: Any, /) -> Any:
        return _into("bitwise_xor", self, other)

    def __lshift__(self, other: Any, /) -> Any:
        return _apply("bitwise_left_shift", self, other)

    def __rlshift__(self, other: Any, /) -> Any:
        return _apply("bitwise_left_shift", other, self)

    def __ilshift__(self, other: Any, /) -> Any:
        return _into("bitwise_left_shift", self, other)

    def __rshift__(self, other: Any, /) -> Any:
        return _apply("bitwise_right_shift", self, other)

    def __rrshift__(self, other: Any, /) -> Any:
        return _apply("bitwise_right_shift", other, self)

    def __irshift__(self, other: Any, /) -> Any:
        return _into("bitwise_right_shift", self, other)

    def __eq__(self, other: Any, /) -> Any:
        return _apply("equal", self, other)

    def __ne__(self, other: Any, /) -> Any:
        return _apply("not_equal", self, other)

    def __lt__(self, other: Any, /) -> Any:
        return _apply("less", self, other)

    def __le__(self, other: Any, /) -> Any:
        return _apply("less_equal", self, other)

    def __gt__(self, other: Any, /) -> Any:
        return _apply("greater", self, other)

    def __ge__(self, other: Any, /) -> Any:
        return _apply("greater_equal", self, other)

    def __neg__(self) -> Any:
        return _function("negative")(self)

    def __pos__(self) -> Any:
        return _function("positive")(self)

    def __abs__(self) -> Any:
        return _function("abs")(self)

    def __invert__(self) -> Any:
        return _function("bitwise_invert")(self)


_OPERANDS = (Operators, np.ndarray, np.generic, bool, int, float)
