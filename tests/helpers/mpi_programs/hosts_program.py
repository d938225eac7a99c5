"""Reduce touchy leaves over real hosts; rank 0 prints one JSON line of what all ranks saw.

Arguments: JSON of ``{"leaves", "size", "bucket_bytes", "rounds"}``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from reduce_program import fill
from touchy import digest

from majelpy.comm.reduce import TreeReducer
from majelpy.comm.world import World

SHARED = Path("/dev/shm")


def main() -> None:
    task = json.loads(sys.argv[1])
    world = World.start()
    world.install_excepthook()
    reducer = TreeReducer(world, task["leaves"], task["size"], bucket_bytes=task["bucket_bytes"])
    digests = set()
    for _ in range(task["rounds"]):
        fill(reducer, task["size"], 0, slice(0, task["size"]), 0)
        digests.add(digest(reducer.reduce()))
    (SHARED / f"rank-{world.rank}").touch()
    world.barrier()
    seen = {
        "hosts": world.hosts,
        "names": world.all_gather(world.host),
        "files": world.all_gather(sorted(path.name for path in SHARED.glob("rank-*"))),
        "digests": sorted({one for found in world.all_gather(sorted(digests)) for one in found}),
        "sent_bytes": world.all_gather(reducer.sent_bytes),
    }
    reducer.close()
    if world.rank == 0:
        print(json.dumps(seen), flush=True)
    world.exit(0)


if __name__ == "__main__":
    main()
