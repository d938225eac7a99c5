"""A recipe's contents: their digest, and how two of them differ.

Policy. Contents are JSON values, with corpora by the digests of their content. They are split into
what decides the steps so far (`past`) and what ends a run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from majelpy.recipes.tables import (
    Augment,
)
from majelpy.settings import as_table

SAVED = ("saved", "requested")
"""What the contents of a run on disk and of a command are called where they differ."""


_ENDING = ("epochs", "early_stop")


_FEW = 3


def digest(content: dict[str, Any]) -> str:
    """SHA-256 of a recipe's content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def past(content: dict[str, Any]) -> dict[str, Any]:
    """A content without what only ends a run; with the same one, as far as both go, the same bits.

    Nothing else looks at the last epoch: the rate, what a plateau counts, the ends of epochs that
    an average is of, and the order of the data are functions of the epochs so far.
    """
    schedule = content.get("schedule")
    if not isinstance(schedule, dict):  # no content of ours
        return content
    return content | {"schedule": {k: v for k, v in schedule.items() if k not in _ENDING}}


def unfit(saved: dict[str, Any], requested: dict[str, Any]) -> list[str]:
    """Lines that say why a run of one content cannot go on with another; none if it can.

    A run may go on to more epochs or to fewer, and wait longer before it stops early. If it is to
    wait less long, it might have had to stop already.
    """
    lines = differences(past(saved), past(requested), SAVED)
    if lines:
        return lines
    before, now = (content["schedule"].get("early_stop") for content in (saved, requested))
    if now and not (type(before) is int and 0 < before <= now):
        lines.append(_difference("schedule.early_stop", before, now, SAVED))
    return lines


def settings_of(content: dict[str, Any]) -> dict[str, Any]:
    """The settings in a content or in the file that is written for it, but for the corpora."""
    found: dict[str, Any] = json.loads(json.dumps({"augment": as_table(Augment())} | content))
    found.pop("arithmetic", None)
    for table, keys in (("data", ("train", "dev")), ("augment", ("noise",))):
        for key in keys:
            found.get(table, {}).pop(key, None)
    found.get("model", {}).setdefault("precision", "float32")
    return found


def few(lines: Sequence[str]) -> str:
    """The first lines in one, and how many more there are."""
    more = f"; and {len(lines) - _FEW} more" if len(lines) > _FEW else ""
    return "; ".join(lines[:_FEW]) + more


def differences(
    a: dict[str, Any], b: dict[str, Any], names: tuple[str, str], path: str = ""
) -> list[str]:
    """Lines that name each setting with its two values, where two contents differ.

    Parameters
    ----------
    names : (str, str)
        What the two are called.
    """
    lines = []
    for key in sorted({*a, *b}):
        left: Any = a.get(key)
        right: Any = b.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            lines += differences(left, right, names, f"{path}{key}.")
        elif _tables(left) and _tables(right) and len(left) == len(right):
            for i, tables in enumerate(zip(left, right, strict=True)):
                lines += differences(*tables, names, f"{path}{key}[{i}].")
        elif json.dumps(left) != json.dumps(right):
            lines.append(_difference(f"{path}{key}", left, right, names))
    return lines


def _difference(key: str, left: Any, right: Any, names: tuple[str, str]) -> str:
    values = ["missing" if value is None else repr(value) for value in (left, right)]
    return f"{key} is {values[0]} ({names[0]}) and {values[1]} ({names[1]})"


def _tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, dict) for item in value)
