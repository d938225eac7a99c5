"""Elementwise functions of distributed arrays.

Policy. Every elementwise function of the standard, by one `apply`: it runs on what each rank
holds, and nothing moves. Axes of size 1 and missing leading axes are repeated. A partial array
takes only `negative` and `positive`: any other function rounds, so on nodes, of which the ranks
decide how many parts they join, its bits would depend on the ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from majelpy.array import Array
from majelpy.distributed import operators
from majelpy.distributed.array import DistArray
from majelpy.distributed.placement import layout
from majelpy.distributed.propagation import cuts, one_mesh, placements_of, sliced
from majelpy.errors import DTypeError, ShapeError
from majelpy.standard import NAMES, arithmetic, elementary, logic, searching

ELEMENTWISE: dict[str, Callable[..., Array]] = {
    name: getattr(module, name)
    for module in (arithmetic, elementary, logic)
    for name in NAMES[module.__name__.rpartition(".")[2]].split()
} | {"where": searching.where}
"""The functions that `apply` takes, by name."""

_EXACT = ("negative", "positive")


def apply(function: Callable[..., Array], *operands: Any, **options: Any) -> DistArray:
    """Return an elementwise function of distributed arrays and Python numbers.

    Parameters
    ----------
    function
        One of `ELEMENTWISE`, such as ``majelpy.add``.
    operands
        On one mesh, at least one of them a `DistArray`; shapes broadcast.
    options
        Python numbers, as the function takes them.

    Raises
    ------
    PlacementError
        If an operand must be redistributed first; the message says how.
    ShapeError
        If the shapes do not broadcast.
    """
    name = getattr(function, "__name__", str(function))
    if ELEMENTWISE.get(name) is not function:
        raise DTypeError(f"apply: {name} is no elementwise function of majelpy")
    arrays = [x for x in operands if isinstance(x, DistArray)]
    for x in (*operands, *options.values()):
        if not isinstance(x, DistArray | bool | int | float | None):
            raise DTypeError(
                f"{name}: {type(x).__name__} found; needs distributed arrays and Python numbers"
            )
    if not arrays:
        raise DTypeError(f"{name}: no distributed array found; needs one or more")
    if len(operands) == 1 and name in _EXACT and _is_sum(arrays[0]):
        return DistArray(arrays[0].layout, function(arrays[0].local))
    one_mesh(name, *arrays)
    try:
        shape = np.broadcast_shapes(*(x.shape for x in arrays))
    except ValueError:
        found = " and ".join(str(x.shape) for x in arrays)
        raise ShapeError(f"{name}: shapes {found} do not broadcast") from None
    labels = [_labels(x.shape, shape) for x in arrays]
    wanted = cuts(name, [x.layout for x in arrays], labels)
    locals_ = iter(
        [
            sliced(name, number, x, names, wanted)
            for number, (x, names) in enumerate(zip(arrays, labels, strict=True), 1)
        ]
    )
    values = [next(locals_) if isinstance(x, DistArray) else x for x in operands]
    target = layout(name, shape, arrays[0].mesh, placements_of(wanted, {}))
    return DistArray(target, function(*values, **options))


def _is_sum(x: DistArray) -> bool:
    return x.layout.partial is not None and x.layout.partial.operation == "sum"


def _labels(shape: tuple[int, ...], joint: tuple[int, ...]) -> list[int | None]:
    """The axis of the result that each axis is, None where it is repeated."""
    skipped = len(joint) - len(shape)
    return [i if size == joint[i] else None for i, size in enumerate(shape, skipped)]


operators.FUNCTIONS.update(
    (name, partial(apply, function)) for name, function in ELEMENTWISE.items()
)
