"""What a command does on all ranks: get ready alone, then work together.

Policy. A rank that cannot get ready tells the others before any of them waits for it; the lowest of
those says why and the rest are silent. Whoever fails at work, where others may wait, ends the world
with one message. `RankFailed` is code 2 without a word (majelpy/cli/__init__.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from majelpy.cli import line
from majelpy.comm.world import RankFailed, World
from majelpy.errors import MajelError


@contextmanager
def ready(world: World) -> Iterator[None]:
    """Within it a rank gets ready by itself; at its end all ranks learn whether all are.

    Raises
    ------
    MajelError, OSError
        On the lowest rank that is not.
    RankFailed
        On the others.
    """
    error: Exception | None = None
    try:
        yield
    except (MajelError, OSError) as found:
        error = found
    world.agree(error)


@contextmanager
def at_work(world: World, command: str) -> Iterator[None]:
    """Within it all ranks work together; one that fails ends the world, or raises if alone."""
    try:
        yield
    except RankFailed:
        raise
    except (MajelError, OSError) as found:
        if world.size == 1:
            raise
        world.abort(line(command, found).removeprefix("majel "), 2)
