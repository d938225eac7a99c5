"""Ranks that talk, agree, fail, die or run into one another, as the first argument says."""

from __future__ import annotations

import json
import os
import signal
import sys

from majelpy.comm.world import RankFailed, World
from majelpy.errors import ShapeError


def talk(world: World) -> None:
    """Print what each rank sees."""
    seen = {
        "size": world.size,
        "hosts": world.hosts,
        "local": world.all_gather((world.local_rank, world.local_size)),
        "broadcast": world.all_gather(world.broadcast(world.rank + 10, root=1)),
        "gather": world.gather(world.rank),
        "others_gather": world.all_gather(world.gather(0) is None),
    }
    world.agree(None)
    if world.rank == 0:
        print(json.dumps(seen))
    world.exit(0)


def agree(world: World) -> None:
    """Bring an error on ranks 1 and 2; all leave together with code 2."""
    try:
        world.agree(ShapeError(f"mine {world.rank}") if world.rank in (1, 2) else None)
    except RankFailed as error:
        assert str(error) == "rank 1 failed: ShapeError: mine 1", error
    except ShapeError as error:
        print(f"rank {world.rank} raises {error}", file=sys.stderr)
    world.exit(2)


def agree_uncaught(world: World) -> None:
    """Bring an error on rank 1 and catch it nowhere."""
    world.agree(ShapeError("mine 1") if world.rank == 1 else None)


def defect(world: World) -> None:
    """Divide by zero on rank 1 while the others wait for it."""
    if world.rank == 1:
        raise ZeroDivisionError("a defect")
    world.barrier()


def bad_input(world: World) -> None:
    """Raise an error of majelpy on all ranks at once."""
    raise ShapeError(f"a bad shape, says {world.rank}")


def killed(world: World) -> None:
    """Be killed on rank 1 while the others wait for it."""
    if world.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    world.barrier()


if __name__ == "__main__":
    start = World.start()
    start.install_excepthook()
    globals()[sys.argv[1]](start)
