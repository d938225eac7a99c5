"""Reduce touchy leaves on this world in many ways; rank 0 prints one JSON line per way.

Arguments: JSON of ``{"hosts": [[ranks]] | null, "cases": [{leaves, size, bucket_bytes,
shared_memory}]}``.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from touchy import digest, touchy_leaf

from majelpy import ops
from majelpy.comm.reduce import TreeReducer
from majelpy.comm.world import World


def fill(reducer: TreeReducer, size: int) -> None:
    """Add this rank's leaves into its slots, as training does."""
    top = -1
    for leaf, merges in zip(range(reducer.first, reducer.last), reducer.merges, strict=True):
        top += 1
        reducer.slots[top] = touchy_leaf(leaf, size)
        for _ in range(merges):
            top -= 1
            added = np.empty(size, np.float32)
            ops.tree_sum(reducer.slots[top : top + 2], [0, 1], [added])
            reducer.slots[top] = added


def main() -> None:
    task = json.loads(sys.argv[1])
    world = World.start(hosts=task["hosts"])
    world.install_excepthook()
    for case in task["cases"]:
        reducer = TreeReducer(
            world,
            case["leaves"],
            case["size"],
            bucket_bytes=case["bucket_bytes"],
            shared_memory=case["shared_memory"],
        )
        digests = []
        for _ in range(2):  # again with the same memory: nothing of the last may be left
            fill(reducer, case["size"])
            digests += world.all_gather(digest(reducer.reduce()))
        sent = sum(world.all_gather(reducer.sent_bytes))
        reducer.close()
        if world.rank == 0:
            print(json.dumps({"digests": sorted(set(digests)), "sent_bytes": sent}), flush=True)
    world.exit(0)


if __name__ == "__main__":
    main()
