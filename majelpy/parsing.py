"""JSON and TOML that anybody may have written.

Policy. Whatever is wrong with a text is a `ValueError` with a reason on one line. That holds for
nesting too: Python's parsers, and whoever walks through what they give, go down by recursion, so
what is nested deeper than anything of majelpy's is refused here.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from typing import Any

DEEPEST = 32
"""Lists and tables within one another."""


def parse_json(text: str | bytes, parse_float: Callable[[str], Any] | None = None) -> Any:
    """Return the value of a JSON text; decimal numbers as ``parse_float`` makes them."""
    try:
        return shallow(json.loads(text, parse_float=parse_float))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text."""
    try:
        tables: dict[str, Any] = shallow(tomllib.loads(text))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return tables


def shallow(value: Any) -> Any:
    """Return the value; raise ValueError if it is nested too deeply."""
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [
            item
            for outer in level
            if isinstance(outer, dict | list)
            for item in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return value
    raise ValueError("nested too deeply")
