"""What a checkpoint says beside its tensors, as values that can be relied on.

Policy. A digest proves that a description is whole, not that majelpy wrote it, so each value is
held against its type and its bounds before it is used, as a recipe's settings are.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from majelpy.errors import CheckpointError, RecipeError
from majelpy.nn.layers import listed
from majelpy.runs.checkpoint import Checkpoint
from majelpy.settings import parse, setting


def _ends(value: Any, where: str, source: str) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or any(type(v) is not int or v < 1 for v in value):
        raise RecipeError(f"{where} is {value!r}; needs a list of steps")
    return tuple(value)


def _characters(value: Any, where: str, source: str) -> str:
    # JSON can spell half a character, which nobody can print.
    if not isinstance(value, str) or any("\ud800" <= character <= "\udfff" for character in value):
        raise RecipeError(f"{where} is {value!r}; needs a text")
    return value


def _content(value: Any, where: str, source: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RecipeError(f"{where} is {value!r}; needs tables of settings")
    return value


def _parts(value: Any, where: str, source: str) -> int:
    if type(value) is not int or value not in (1 << n for n in range(7)):
        raise RecipeError(f"{where} is {value!r}; needs a power of two of at most 64")
    return value


def _rate(value: Any, where: str, source: str) -> int:
    if type(value) is not int or not (value == 0 or 1000 <= value <= 192000):
        raise RecipeError(f"{where} is {value!r}; needs 0, or 1000 to 192000")
    return value


@dataclass
class ScheduleState:
    """What the ends of epochs so far leave behind.

    Attributes
    ----------
    best_step, best : int
        Step and wrong characters of the best evaluation; -1 before the first one.
    waited : int
        Epochs since then, without the first ``schedule.hold``.
    level : int
        The same, since the rate was last annealed if that was later.
    annealed : int
        How often a plateau has annealed the rate.
    ends : tuple of int
        Steps of the last epochs' ends, ascending: what an average is of.
    """

    best_step: int = setting(-1, least=-1, help="step of the best evaluation")
    best: int = setting(-1, least=-1, help="its wrong characters")
    waited: int = setting(0, least=0, help="epochs since then")
    level: int = setting(0, least=0, help="the same, since the rate was annealed")
    annealed: int = setting(0, least=0, help="how often the rate was annealed")
    ends: tuple[int, ...] = setting((), read=_ends, help="steps of the last epochs' ends")


@dataclass(frozen=True)
class Description:
    """See majelpy.train.setup, which writes it, and majelpy.train.trainer."""

    schedule: ScheduleState
    content: dict[str, Any] = setting(read=_content, help="what trained it: the recipe's content")
    alphabet: str = setting(read=_characters, help="characters in the order of their labels")
    features: int = setting(least=1, most=1 << 24, help="of a frame")
    rate: int = setting(read=_rate, help="sample rate; 0: trained on .npy features")
    layers: tuple[Any, ...] = setting(read=listed, help="of the model, with all their settings")
    parts: int = setting(read=_parts, help="model.parts of the recipe")
    precision: str = setting(
        "float32", choices=("float32", "bfloat16"), help="model.precision of the recipe"
    )
    result: str = setting(
        "last", choices=("last", "best", "average"), help="schedule.result of the recipe"
    )
    skipped: int = setting(0, least=0, help="steps just skipped in a row")


def describe(checkpoint: Checkpoint) -> Description:
    """Return the description of a checkpoint.

    Raises
    ------
    CheckpointError
        If a value is missing, of another type or out of bounds.
    """
    known = {f.name for f in fields(Description)}
    found = {name: value for name, value in checkpoint.description.items() if name in known}
    try:
        described: Description = parse(Description, found, f"checkpoint of step {checkpoint.step}")
    except RecipeError as error:
        raise CheckpointError(str(error)) from None
    return described
