"""The cluster file as text, with what each number is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from majelpy.plan.constants import Cluster


def toml(cluster: Cluster, remarks: Sequence[str] = ()) -> str:
    """Return the text of a cluster file, that `constants.load` reads.

    Parameters
    ----------
    remarks : sequence of str
        Comments at its head.
    """
    head = ["The cluster, for 'majel plan' (docs/plan.md).", *remarks]
    return "\n".join([*(f"# {line}" for line in head), *_table(cluster, "")]) + "\n"


def _table(table: Any, path: str) -> Iterator[str]:
    if path:
        doc = " ".join((table.__doc__ or "").split())
        yield from ("", f"[{path}]  # {doc}")
    nested = []
    for field in fields(table):
        value = getattr(table, field.name)
        if is_dataclass(value):
            nested.append((field.name, value))
        else:
            yield f"{field.name} = {_value(value)}  # {field.metadata['help']}"
    for name, value in nested:
        yield from _table(value, f"{path}.{name}" if path else name)


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    return str(value) if isinstance(value, int) else f"{value:.5g}"
