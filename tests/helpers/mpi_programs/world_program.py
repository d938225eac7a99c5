"""Ranks that talk, agree, fail, die or run into one another, as the first argument says."""

from __future__ import annotations

import json
import os
import signal
import sys

import numpy as np

from majelpy.comm.tags import Tag
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
        "sends_from_gpu": len(set(world.all_gather(world.sends_from_gpu()))),
    }
    world.agree(None)
    if world.rank == 0:
        print(json.dumps(seen))
    world.exit(0)


def groups(world: World) -> None:
    """Print what each rank of the groups 0, 2 and 1, 3 sees; rank 3 is alone in another."""
    mine = world.group([0, 2] if world.rank % 2 == 0 else [1, 3])
    box = np.full(1, world.rank)
    other = np.zeros(1, box.dtype)
    tag = Tag.NEIGHBOURS
    messages = [mine.send(box, 1 - mine.rank, tag), mine.receive(other, 1 - mine.rank, tag)]
    while not mine.done(messages):
        mine.wait_some(messages)
    seen = (mine.rank, mine.size, mine.hosts, mine.all_gather(world.rank), int(other[0]))
    everyone = world.all_gather(seen)
    alone = world.group([world.rank])
    assert (alone.rank, alone.size, alone.hosts) == (0, 1, ((0,),))
    mine.agree(None)
    said = ""
    try:
        mine.agree(ShapeError("mine") if world.rank == 3 else None)
    except (RankFailed, ShapeError) as error:
        said = str(error)
    said_by_all = world.all_gather(said)
    if world.rank == 0:
        print(json.dumps({"seen": everyone, "said": said_by_all}), flush=True)
    world.barrier()
    if world.rank == 3:
        alone.abort("alone and lost", 2)
    world.barrier()


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
    start = World.start(json.loads(sys.argv[2]) if len(sys.argv) > 2 else None)
    start.install_excepthook()
    globals()[sys.argv[1]](start)
