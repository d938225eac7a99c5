"""The steps that need most memory, computed once before the first, so that a run that begins ends.

Policy. Memory of a step grows with the frames that a rank computes, and whose frames those are is a
function of seed and epoch; so the largest step of the whole run is known at the start. Where speeds
are drawn, each utterance counts, and is rehearsed, at the lowest of them. A small step is rehearsed
first: it tells what a frame costs, and whether the largest one can be held at all. Then the
largest, the largest batch of an evaluation and what is gathered for a checkpoint, each beside the
largest minibatches that can have been read by then (majelpy/data/loader.py). Afterwards the pool
has been as full as it will be. Nothing of it is kept: not a bit of the run changes.
Looking through a million epochs would take minutes, so a long run is looked through piece by piece:
where one ends, the next is looked through and rehearsed likewise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from majelpy.comm.world import World
from majelpy.data.minibatches import cut
from majelpy.errors import PoolError
from majelpy.memory import CPU
from majelpy.memory.free_memory import free_bytes
from majelpy.memory.pool import Pool
from majelpy.train.trainer import Trainer
from majelpy.wording import byte_size, byte_sizes, counted

EPOCHS, UTTERANCES = 1000, 1 << 21
"""How many are looked through at a time, at most, but one epoch; that takes a second or two."""

_REMEDY = (
    "start more ranks or hosts, lower data.batch or the sizes of [model], or prepare the corpus "
    "without its longest utterances"
)


@dataclass(frozen=True)
class Rehearsed:
    """What the largest step before ``until`` needs, of the rank whose pool is fullest."""

    peak: int
    capacity: int
    rank: int
    step: int
    frames: int
    until: int

    def __str__(self) -> str:
        return (
            f"rehearsed step {self.step}, the largest to come with {counted(self.frames, 'frame')} "
            f"on rank {self.rank}: at most {byte_size(self.peak)} of the pool's "
            f"{byte_size(self.capacity)} are used at a time"
        )


def rehearse(trainer: Trainer, pool: Pool, world: World, watch: Callable[[], None]) -> Rehearsed:
    """Compute the largest of the steps to come, or of those looked through, and throw the results
    away; all ranks call it together.

    Parameters
    ----------
    trainer : Trainer
        With steps left to do.
    pool : Pool
        That of the trainer's place.
    world : World
    watch : callable
        Computes the largest batch of an evaluation.

    Raises
    ------
    PoolError
        If the largest step cannot be held; on the rank that cannot.
    """
    until = trainer.read_until = horizon(trainer)
    step, frames = most_frames(trainer, until)
    stats = pool.statistics
    before = stats.asked_peak = stats.asked
    light = _lightest(trainer)
    with trainer.reading_ahead(light):
        trainer.rehearse(light)
    needed = (stats.asked_peak - before) * frames // max(1, trainer.frames(light))
    what = (
        f"train: step {step + 1} computes {counted(frames, 'frame')} on rank {world.rank}, which "
        f"needs about {byte_size(needed)} besides {byte_size(before)} in use"
    )
    _check_room(world, pool, needed, what)
    try:
        with trainer.reading_ahead(step):
            trainer.rehearse(step)
            watch()
            if not trainer.team.mesh.whole_everywhere:
                trainer.checkpoint()
    except PoolError as error:
        raise PoolError(f"{what}; {_REMEDY} ({error})") from None
    peak = stats.peak + stats.fallback_peak
    mine = Rehearsed(peak, pool.capacity, world.rank, step + 1, frames, until)
    return max(world.all_gather(mine), key=lambda found: (found.peak, -found.rank))


def horizon(trainer: Trainer) -> int:
    """The step (from 0) that the look at the steps to come ends before; the same on all ranks."""
    epochs = max(1, min(EPOCHS, UTTERANCES // len(trainer.data)))
    end = (trainer.step // trainer.steps_per_epoch + epochs) * trainer.steps_per_epoch
    return min(end, trainer.steps)


def most_frames(trainer: Trainer, until: int) -> tuple[int, int]:
    """Return the step to come, from 0 and before ``until``, in which this rank computes most
    frames, and how many.

    Notes
    -----
    No leaf has more than an equal share of the minibatch and its longest utterance, by the lengths
    that it is cut by, so that most minibatches need not be cut.
    """
    lengths, most, leaves = trainer.data.lengths, trainer.data.longest, trainer.recipe.data.leaves
    first, last = trainer.team.leaves
    stretch = float((most / np.maximum(lengths, 1)).max())
    best = (trainer.step, -1)
    for step in range(trainer.step, until):
        members = trainer.members(step)
        whole, longest = int(lengths[members].sum()), int(lengths[members].max())
        if stretch * min(whole, (last - first) * (whole // leaves + 1 + longest)) <= best[1]:
            continue
        found = sum(int(most[leaf].sum()) for leaf in cut(members, lengths, leaves)[first:last])
        if found > best[1]:
            best = (step, found)
    return best


def _lightest(trainer: Trainer) -> int:
    """The step of the epoch at hand with fewest frames in all, if it can give each leaf some."""
    begin = trainer.step // trainer.steps_per_epoch * trainer.steps_per_epoch
    steps = range(begin, begin + trainer.steps_per_epoch)
    lengths, leaves = trainer.data.longest, trainer.recipe.data.leaves
    sums = {step: int(lengths[trainer.members(step)].sum()) for step in steps}
    full = [step for step in steps if len(trainer.members(step)) >= leaves]
    return min(full or steps, key=lambda step: (sums[step], step))


def _check_room(world: World, pool: Pool, needed: int, what: str) -> None:
    """Raise PoolError if a host has not the ordinary memory that its ranks are about to take."""
    # A CPU's pool takes pages as it uses them; a GPU's only what goes beyond its region.
    more = needed if pool.place == CPU else max(0, needed - pool.free)
    everyone = world.all_gather((world.host, more, free_bytes()))
    here = [(more, free) for host, more, free in everyone if host == world.host]
    wanted, free = sum(more for more, _ in here), min(free for _, free in here)
    if more and wanted > free:
        ranks = counted(len(here), "rank")
        need, there = byte_sizes(wanted, free)
        raise PoolError(
            f"{what}; {world.host} needs {need} of ordinary memory for {ranks}, and {there} are "
            f"free; {_REMEDY}"
        )
