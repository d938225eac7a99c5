"""Places: where an array's memory lies and its operations run.

Policy. A `Place` is a value; it holds no handle and starts no device.
"""

from __future__ import annotations

from dataclasses import dataclass

from majelpy.errors import RecipeError


@dataclass(frozen=True)
class Place:
    """A processor with its memory.

    Attributes
    ----------
    kind : str
        ``"cpu"``.
    """

    kind: str = "cpu"

    def __str__(self) -> str:
        return self.kind


CPU = Place("cpu")


def parse_place(text: str) -> Place:
    """Return the place of that name.

    Raises
    ------
    RecipeError
        If there is no such place in this build.
    """
    if text != "cpu":
        raise RecipeError(f"place: {text!r} is not available; this build has 'cpu'")
    return CPU
