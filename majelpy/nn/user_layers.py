"""Calls of layers of one's own: what goes wrong in one is told in one line that names it.

Policy. Such a file may raise anything and return anything. What it raises becomes a `RecipeError`
with its line, errors of operations keep their class and get the layer's name, and what it returns
is checked before the next layer reads it. Layers of majelpy are called as they are.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from majelpy.array import Array
from majelpy.errors import DTypeError, MajelError, RangeError, RecipeError, ShapeError
from majelpy.nn.parameters import Parameter
from majelpy.nn.signal import Columns, Signal
from majelpy.wording import counted


@contextmanager
def naming(table: Mapping[str, Any], where: str) -> Iterator[None]:
    """Name the layer ``where`` in what its own code raises."""
    try:
        yield
    except (ShapeError, DTypeError, RangeError) as error:
        if "sha256" not in table:
            raise
        raise type(error)(f"{where}: {error}") from None
    except (MajelError, MemoryError):
        raise
    except Exception as error:  # whatever a user's file raises
        if "sha256" not in table:
            raise
        file = table["layer"].rpartition(":")[0]
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if _is(f, file)]
        place = f"line {lines[-1]}: " if lines else ""
        text = " ".join(str(error).split())
        raise RecipeError(f"{where}: {place}{type(error).__name__}: {text}") from None


def _is(frame: traceback.FrameSummary, file: str) -> bool:
    return frame.filename.rpartition("/")[2] == file


def check_outputs(outputs: Any) -> None:
    """Raise `RecipeError` unless ``__init__`` has set what the layer gives."""
    if not isinstance(outputs, Columns):
        raise RecipeError(f"its outputs are {outputs!r}; needs __init__ to set them to Columns")


def check_parameters(found: Any, where: str) -> None:
    """Raise `RecipeError` unless it is a list of parameters."""
    if not isinstance(found, list) or not all(isinstance(p, Parameter) for p in found):
        raise RecipeError(f"{where}: parameters() gives {found!r}; needs a list of Parameter")


def check_forward(found: Any, where: str, units: int) -> None:
    """Raise `RecipeError` unless it is a signal of the layer's units, and what it saves."""
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[0], Signal):
        raise RecipeError(f"{where}: forward gives {_shown(found)}; needs (Signal, saved)")
    signal = found[0]
    if signal.units != units:
        raise RecipeError(
            f"{where}: forward gives {counted(signal.units, 'column')}; its outputs are {units}"
        )
    first, last = signal.share.units(units)
    _check(signal.own, where, "forward", (int(signal.batch.offsets[-1]), last - first))


def check_backward(found: Any, where: str, units: tuple[int, int]) -> None:
    """Raise `RecipeError` unless it has the columns of this rank's inputs, ``units`` of all."""
    rows = len(found) if isinstance(found, Array) and found.ndim == 2 else "rows"
    _check(found, where, "backward", (rows, units[1] - units[0]))


def check_pushed(parameters: Iterable[Parameter], pushed: set[str], where: str) -> None:
    """Raise `RecipeError` unless backward has pushed the gradient of each parameter."""
    missing = sorted({p.name for p in parameters} - pushed)
    if missing:
        raise RecipeError(
            f"{where}: backward pushes no gradient of {', '.join(missing)}; needs gradients.sum, "
            "gemm or items of each parameter"
        )


def _check(found: Any, where: str, method: str, shape: tuple[Any, ...]) -> None:
    if not isinstance(found, Array) or found.shape != shape or str(found.dtype) != "float32":
        raise RecipeError(f"{where}: {method} gives {_shown(found)}; needs float32 of {shape}")


def _shown(found: Any) -> str:
    if isinstance(found, Array):
        return f"{found.dtype} of {found.shape}"
    return type(found).__name__
