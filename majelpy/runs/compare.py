"""Comparison of two runs, bit for bit.

Policy. Three verdicts. The same bits: every step up to the end has its line in both ledgers, all
are equal, and so is the newest checkpoint that both have. Different: the first difference is named.
Neither: all that both have is the same, and one lacks what the other has; that is not the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from majelpy.errors import CheckpointError
from majelpy.recipes.content import differences, few
from majelpy.runs import checkpoint as checkpoints
from majelpy.runs import ledger
from majelpy.runs.run_folder import RunFolder
from majelpy.wording import counted


@dataclass(frozen=True)
class _Side:
    """One of the two runs, and what it has."""

    name: str
    run: RunFolder
    lines: ledger.Lines
    saved: set[int]

    @property
    def end(self) -> int:
        return max(self.lines.last, *self.saved, 0)


def _side(name: str, folder: str) -> _Side:
    run = RunFolder(folder)
    saved = set(checkpoints.steps(run.checkpoints))
    # Without a ledger, checkpoints still show that it is a run.
    lines = ledger.read(run.ledger) if saved else ledger.require(run.ledger)
    return _Side(name, run, lines, saved)


def compare_runs(a: str, b: str) -> tuple[list[str], bool]:
    """Return lines that say what was found, the verdict last, and whether the bits are the same.

    Raises
    ------
    CheckpointError
        If a folder is no run, there is nothing that both have, or a checkpoint is damaged.
    """
    sides = _side("A", a), _side("B", b)
    left, right = (side.lines.entries for side in sides)
    common = sorted(left.keys() & right.keys())
    saved = max(sides[0].saved & sides[1].saved, default=None)
    if not common and saved is None:
        raise CheckpointError(f"compare: {a} and {b} have no step in common")
    recipes = _recipes(*sides)
    said = [*recipes, *_faults(*sides)]
    different = [_first_line(left, right, common)]
    if saved is not None:
        paths = (checkpoints.path_of(side.run.checkpoints, saved) for side in sides)
        different.append(first_difference(*map(checkpoints.read, paths)))
    if any(different):
        return _shown([*said, *(line for line in different if line)]), False
    had = [f"{counted(len(common), 'step')} of the ledgers"] if common else []
    had += [] if saved is None else [f"the checkpoint of step {saved}"]
    what = f"{', though the recipes differ' if recipes else ''}: {' and '.join(had)}"
    lacking = _lacking(*sides)
    if lacking:
        return _shown([*said, f"cannot say: {lacking}; else the same bits{what}"]), False
    if sides[0].end != sides[1].end:
        ends = f"A ends at step {sides[0].end}, B at step {sides[1].end}"
        return _shown([*said, f"the same bits as far as both go{what}; {ends}"]), False
    return _shown([*said, f"the same bits{what}"]), True


def _shown(lines: list[str]) -> list[str]:
    return [f"compare: {line}" for line in lines]


def _recipes(a: _Side, b: _Side) -> list[str]:
    """What differs in the recipes that trained the runs."""
    first, second = a.run.content(), b.run.content()
    lines = differences(first, second, (a.name, b.name)) if first and second else []
    return [f"the recipes differ: {line}" for line in lines]


def _faults(*sides: _Side) -> list[str]:
    """What is wrong with the folders: with ledgers, and with what says what trained the run."""
    found = []
    for side in sides:
        found += ledger.faults(side.run.ledger, side.lines)
        found += [side.lines.torn] if side.lines.torn else []
        content = side.run.content()
        if content is None:
            found.append(f"{side.run.path}: nothing says what trained {side.name}")
        elif edited := side.run.edited(content):
            found.append(f"{side.run.recipe}: not what trained {side.name}: {few(edited)}")
    return found


def _first_line(
    left: dict[int, dict[str, object]], right: dict[int, dict[str, object]], common: list[int]
) -> str | None:
    """Words for the first step whose lines differ; None if there is none."""
    for step in common:
        x, y = left[step], right[step]
        if x != y:
            keys = [key for key in sorted({*x, *y}) if x.get(key) != y.get(key)]
            values = ", ".join(f"{key} {x.get(key)} and {y.get(key)}" for key in keys)
            return f"ledgers differ in step {step}: {values}"
    return None


def _lacking(*sides: _Side) -> str:
    """The steps up to its end that have no line in a ledger."""
    gaps = ((side.name, side.lines.missing(side.end)) for side in sides)
    return "; ".join(f"{', '.join(steps)} missing in {name}" for name, steps in gaps if steps)


def first_difference(a: checkpoints.Checkpoint, b: checkpoints.Checkpoint) -> str | None:
    """Words for the first tensor that differs, by name; None if all are the same."""
    for name in sorted({*a.tensors, *b.tensors}):
        x, y = a.tensors.get(name), b.tensors.get(name)
        shown = name.removeprefix("parameters/")
        if x is None or y is None or x.shape != y.shape:
            shapes = [None if t is None else t.shape for t in (x, y)]
            return f"{shown} has shapes {shapes[0]} and {shapes[1]} in step {a.step}"
        differ = x.view(np.uint32) != y.view(np.uint32)
        if differ.any():
            at = tuple(int(i) for i in np.argwhere(differ)[0])
            place = f"({', '.join(map(str, at))})"
            return (
                f"{shown} differs at {place} in step {a.step}: {float(x[at]).hex()} and "
                f"{float(y[at]).hex()} ({_ulps(x[at], y[at])}); "
                f"{int(differ.sum())} of {x.size} values differ"
            )
    return None


def _ulps(x: np.float32, y: np.float32) -> str:
    """Distance in units of the last place, counted over the ordered bit patterns."""
    a, b = (int(np.float32(v).view(np.int32)) for v in (x, y))
    ordered = [v if v >= 0 else -(v & 0x7FFF_FFFF) for v in (a, b)]
    return f"{abs(ordered[0] - ordered[1])} ulp"
