"""Reduce touchy leaves on this world in many ways; rank 0 prints one JSON line per way.

Arguments: JSON of ``{"hosts": [[ranks]] | null, "cases": [{leaves, size, bucket_bytes,
shared_memory, ...}]}``. A case may have ``overlap``, ``ranges`` (of each rank of a group),
``groups`` (which ranks add together; by default all), ``pushes`` (columns, in order), ``rounded``
(how many columns are kept in bfloat16), ``delays`` (a seed: ranks dawdle between pushes) and
``dies`` (``[rank, "killed" or "raises"]``, in the third step).
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from typing import Any

import numpy as np
from touchy import bfloat16, digest, touchy_leaf

from majelpy import ops
from majelpy.comm.reduce import TreeReducer
from majelpy.comm.world import World

STEPS = 3  # again with the same memory: nothing of the last may be left


def fill(reducer: TreeReducer, size: int, step: int, columns: slice, rounded: int) -> None:
    """Add these columns of this rank's leaves into its slots, as training does."""
    slots = reducer.slots[:, columns]
    few = max(0, rounded - columns.start)

    def kept(x: np.ndarray) -> np.ndarray:
        return np.concatenate([bfloat16(x[:few]), x[few:]])

    top = -1
    mine = [leaf for first, last in reducer.ranges for leaf in range(first, last)]
    for leaf, merges in zip(mine, reducer.merges, strict=True):
        top += 1
        slots[top] = kept(leaf_of(step, leaf, size)[columns])
        for _ in range(merges):
            top -= 1
            left, right = np.ascontiguousarray(slots[top]), np.ascontiguousarray(slots[top + 1])
            added = np.empty_like(left)
            ops.tree_sum([left, right], [0, 1], [added])
            slots[top] = kept(added)


def leaf_of(step: int, leaf: int, size: int) -> np.ndarray:
    """Return a leaf's vector of a step; that of step 1 is another, lest an old sum passes."""
    return touchy_leaf(leaf + 100 * (step % 2), size)


def one_step(
    reducer: TreeReducer, case: dict[str, Any], step: int, delays: random.Random
) -> np.ndarray:
    """Push all columns and return the sum."""
    for number, (first, last) in enumerate(case.get("pushes", [(0, case["size"])])):
        if "delays" in case:
            time.sleep(delays.choice([0, 0, 0.002, 0.01]))
        if "dies" in case and step == STEPS - 1 and number == 1:
            rank, how = case["dies"]
            if rank == WORLD.rank and how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if rank == WORLD.rank:
                raise ZeroDivisionError("a defect")
        fill(reducer, case["size"], step, slice(first, last), case.get("rounded", 0))
        reducer.pushed(first, last)
    return reducer.reduce()


def main() -> None:
    for case in TASK["cases"]:
        groups = case.get("groups", [list(range(WORLD.size))])
        world = WORLD.group(next(group for group in groups if WORLD.rank in group))
        reducer = TreeReducer(
            world,
            case["leaves"],
            case["size"],
            bucket_bytes=case["bucket_bytes"],
            shared_memory=case["shared_memory"],
            overlap=case.get("overlap", False),
            ranges=case.get("ranges") and [[tuple(r) for r in mine] for mine in case["ranges"]],
            rounded=case.get("rounded", 0),
        )
        delays = random.Random(f"{case.get('delays')} {WORLD.rank}")
        found = [digest(one_step(reducer, case, step, delays)) for step in range(STEPS)]
        hidden = reducer.exchange_seconds > reducer.exposed_seconds
        everyone = WORLD.all_gather((found, reducer.sent_bytes, hidden))
        reducer.close()
        if WORLD.rank == 0:
            digests = [sorted({found[step] for found, *_ in everyone}) for step in range(STEPS)]
            line = {
                "digests": digests,
                "sent_bytes": [bytes_ for _, bytes_, _ in everyone],
                "hidden": [hidden for *_, hidden in everyone],
            }
            print(json.dumps(line), flush=True)
    WORLD.exit(0)


if __name__ == "__main__":
    TASK = json.loads(sys.argv[1])
    WORLD = World.start(hosts=TASK["hosts"])
    WORLD.install_excepthook()
    main()
