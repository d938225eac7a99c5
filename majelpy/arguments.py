"""Arguments of the functions that people call, held against their types.

Policy. A wrong type is told as a wrong value is: what it is of, what was found, what is needed. It
is looked for at the door, where names are those that the caller knows.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence

from majelpy.errors import ArgumentError


def wrong(what: str, value: object, needed: str) -> ArgumentError:
    """Return the error of an argument."""
    plain = value is None or isinstance(value, bool | int | float | str)
    found = repr(value)[:60] if plain else f"of type {type(value).__name__}"
    return ArgumentError(f"{what} is {found}; needs {needed}")


def require(value: object, kind: type, what: str, needed: str) -> None:
    """Raise ArgumentError unless a value is of that type."""
    if not isinstance(value, kind):
        raise wrong(what, value, needed)


def path(value: object, what: str, needed: str = "a path") -> str:
    """Return a path as a text; raises ArgumentError."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        raise wrong(what, value, needed)
    return value


def paths(value: object, what: str) -> list[str]:
    """Return one path or several as a list of texts; raises ArgumentError."""
    if isinstance(value, str | os.PathLike):
        return [path(value, what)]
    if isinstance(value, bytes) or not isinstance(value, Sequence):
        raise wrong(what, value, "a path, or a list of paths")
    return [path(each, what) for each in value]


def whole(value: object, what: str) -> int:
    """Return a whole number, of Python or NumPy; raises ArgumentError."""
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise wrong(what, value, "a whole number") from None


def number(value: object, what: str) -> float:
    """Return a number, of Python or NumPy; raises ArgumentError."""
    if isinstance(value, str | bytes):
        raise wrong(what, value, "a number")
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise wrong(what, value, "a number") from None
