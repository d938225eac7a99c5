"""Places: where an array's memory lies and its operations run.

Policy. A `Place` is a value; it holds no handle and starts no device.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from majelpy import arguments
from majelpy.errors import RecipeError


class Place(NamedTuple):
    """A processor with its memory.

    Attributes
    ----------
    kind : str
        ``"cpu"`` or ``"gpu"``.
    number : int
        Which GPU of this host; 0 for the CPU.
    """

    kind: str = "cpu"
    number: int = 0

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.number}"


CPU = Place("cpu")


def parse_place(text: str) -> Place:
    """Return the place of that name: ``cpu``, ``gpu:0``, ``gpu:1``, ...; ``gpu`` is ``gpu:0``.

    Raises
    ------
    RecipeError
        If it is no such name.
    ArgumentError
        If it is no text.
    """
    arguments.require(text, str, "place", "a text such as 'cpu' or 'gpu:0'")
    if text == "cpu":
        return CPU
    found = re.fullmatch(r"gpu(?::(\d{1,4}))?", text)
    if not found:
        raise RecipeError(f"place: {text!r} is not available; needs 'cpu' or 'gpu:' and a number")
    return Place("gpu", int(found.group(1) or 0))
