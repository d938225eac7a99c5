"""Comparison of two runs, bit for bit."""

from __future__ import annotations

import numpy as np

from majelpy.errors import CheckpointError
from majelpy.recipes.recipe import differences
from majelpy.runs import checkpoint as checkpoints
from majelpy.runs.ledger import entries
from majelpy.runs.run_folder import RunFolder


def compare_runs(a: str, b: str) -> tuple[list[str], bool]:
    """Return lines that say what was compared and what differs first, and whether all is the same.

    Raises
    ------
    CheckpointError
        If a folder has no ledger, or there is nothing that both have.
    """
    first, second = RunFolder(a), RunFolder(b)
    left, right = (
        {entry["step"]: entry for entry in entries(folder.ledger)} for folder in (first, second)
    )
    common = sorted(left.keys() & right.keys())
    # Lost contents are no difference of bits.
    contents = first.content() or {}, second.content() or {}
    recipes = differences(*contents) if all(contents) else []
    lines = [f"compare: the recipes differ: {line}" for line in recipes]
    same = True
    for step in common:
        x, y = left[step], right[step]
        if x != y:
            keys = [key for key in sorted({*x, *y}) if x.get(key) != y.get(key)]
            lines.append(
                f"compare: ledgers differ in step {step}: "
                + ", ".join(f"{key} {x.get(key)} and {y.get(key)}" for key in keys)
            )
            same = False
            break
    steps = set(checkpoints.steps(first.checkpoints)) & set(checkpoints.steps(second.checkpoints))
    if not common and not steps:
        raise CheckpointError(f"compare: {a} and {b} have no step in common")
    if steps:
        step = max(steps)
        difference = first_difference(
            checkpoints.read(checkpoints.path_of(first.checkpoints, step)),
            checkpoints.read(checkpoints.path_of(second.checkpoints, step)),
        )
        if difference:
            lines.append(f"compare: {difference}")
            same = False
    if same:
        checkpoint = f" and the checkpoint of step {max(steps)}" if steps else ""
        lines.append(f"compare: the same bits: {len(common)} steps of the ledgers{checkpoint}")
    if left.keys() != right.keys():
        ends = " and ".join(str(max(ledger, default=0)) for ledger in (left, right))
        lines.append(f"compare: only these steps are in both; the ledgers end at step {ends}")
    return lines, same


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
