"""Measure the machine in a moment, on any number of ranks; rank 0 prints the cluster file."""

from __future__ import annotations

import sys

from majelpy.comm.world import World
from majelpy.plan.measure import Effort, measure
from majelpy.plan.text import toml

QUICK = Effort(
    m=(4, 32), n=(16,), k=(16, 64), utterances=(2,), hidden=(16, 32), labels=(3, 6),
    vector=1 << 12, seconds=1e-4, rounds=1,
)  # fmt: skip

world = World.start()
world.install_excepthook()
cluster, remarks = measure(world, 1, lambda line: print(line, file=sys.stderr), QUICK)
if world.rank == 0:
    print(toml(cluster, remarks), end="")
world.barrier()
