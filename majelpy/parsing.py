"""JSON and TOML that anybody may have written.

Policy. Whatever is wrong with a text is a `ValueError` with a reason on one line. That holds for
nesting too: Python's parsers, and whoever walks through what they give, go down by recursion, so
what is nested deeper than anything of majelpy's is refused here.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable
from typing import Any

DEEPEST = 32
"""Lists and tables within one another."""

# A key such as a.b.c is a table in a table; tomllib takes hours over one of many thousand parts.
_DOTTED = re.compile(rf"""(?<![\w"'-])(?:[\w"'-]++[ \t]*+\.[ \t]*+){{{DEEPEST + 1}}}""")


def parse_json(text: str | bytes, parse_float: Callable[[str], Any] | None = None) -> Any:
    """Return the value of a JSON text; decimal numbers as ``parse_float`` makes them."""
    try:
        return shallow(json.loads(text, parse_float=parse_float))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text."""
    if _DOTTED.search(text):
        raise ValueError("nested too deeply")
    try:
        tables: dict[str, Any] = shallow(tomllib.loads(text))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return tables


def shallow(value: Any) -> Any:
    """Return the value; raise ValueError if it is nested too deeply."""
    level = _nested([value])
    for _ in range(DEEPEST):
        level = _nested(item for outer in level for item in outer)
    if level:
        raise ValueError("nested too deeply")
    return value


def _nested(items: Iterable[Any]) -> list[Iterable[Any]]:
    """What the lists and tables among some items hold."""
    return [
        item.values() if isinstance(item, dict) else item
        for item in items
        if isinstance(item, dict | list)
    ]
