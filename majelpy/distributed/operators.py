"""Operators of distributed arrays, each the function of that meaning.

Policy. As in majelpy.array.operators. The functions work on `DistArray`, so they stand above this
module and put themselves in `FUNCTIONS`: elementwise.py and products.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

FUNCTIONS: dict[str, Callable[..., Any]] = {}
"""What an operator calls, by name."""


def _apply(name: str, a: Any, b: Any) -> Any:
    if not all(isinstance(x, Operators | bool | int | float) for x in (a, b)):
        return NotImplemented
    return FUNCTIONS[name](a, b)


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
        return FUNCTIONS["negative"](self)

    def __matmul__(self, other: Any) -> Any:
        return FUNCTIONS["matmul"](self, other) if isinstance(other, Operators) else NotImplemented
