"""Operators of distributed arrays, each the function of that meaning.

Policy. As in majelpy.array.operators; the functions are those of majelpy.distributed.elementwise.
"""

from __future__ import annotations

from typing import Any

import majelpy


def _apply(name: str, a: Any, b: Any) -> Any:
    from majelpy.distributed.elementwise import apply

    if not all(isinstance(x, Operators | bool | int | float) for x in (a, b)):
        return NotImplemented
    return apply(getattr(majelpy, name), a, b)


class Operators:
    """Arithmetic and comparison operators of `DistArray`."""

    __slots__ = ()

    def __add__(self, other: Any) -> Any:
        return _apply("add", self, other)

    def __radd__(self, other: Any) -> Any:
        return _apply("add", other, self)

    def __sub__(self, other: Any) -> Any:
        return _apply("subtract", self, other)

    def __rsub__(self, other: Any) -> Any:
        return _apply("subtract", other, self)

    def __mul__(self, other: Any) -> Any:
        return _apply("multiply", self, other)

    def __rmul__(self, other: Any) -> Any:
        return _apply("multiply", other, self)

    def __truediv__(self, other: Any) -> Any:
        return _apply("divide", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _apply("divide", other, self)

    def __pow__(self, other: Any) -> Any:
        return _apply("pow", self, other)

    def __eq__(self, other: Any) -> Any:
        return _apply("equal", self, other)

    def __ne__(self, other: Any) -> Any:
        return _apply("not_equal", self, other)

    def __lt__(self, other: Any) -> Any:
        return _apply("less", self, other)

    def __le__(self, other: Any) -> Any:
        return _apply("less_equal", self, other)

    def __gt__(self, other: Any) -> Any:
        return _apply("greater", self, other)

    def __ge__(self, other: Any) -> Any:
        return _apply("greater_equal", self, other)

    def __neg__(self) -> Any:
        from majelpy.distributed.elementwise import apply

        return apply(majelpy.negative, self)

    def __matmul__(self, other: Any) -> Any:
        from majelpy.distributed.array import DistArray
        from majelpy.distributed.products import matmul

        if not isinstance(self, DistArray) or not isinstance(other, DistArray):
            return NotImplemented
        return matmul(self, other)
