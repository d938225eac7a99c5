"""How the persistent recurrent kernel is cut into blocks (kernels/gpu/rnn_persistent.cu).

Policy. No choice changes a bit. A step's time is estimated from what a block computes, reads from
shared memory and fetches of the state, and the shape with the least time is taken; the numbers of
the estimate are an H100's, and only their proportions matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from majelpy import tree
from majelpy.gpu import build
from majelpy.gpu.launcher import ceil_div
from majelpy.gpu.leaves import CHUNK

PASS = build.constant("MJ_PASS")
LANE_ROWS, LANE_TILES = build.constant("MJ_LANE_ROWS"), build.constant("MJ_LANE_TILES")

TILES = {7: (4,), 4: (2, 4, 8), 2: (1, 2, 4, 8)}
"""Columns of a thread, and how many rows it may have with them; 7 suits 27 columns in 7 chunks, a
layer of 1760 units on 66 blocks.
"""

MOST_STAGES = build.constant("MJ_MOST_STAGES")

FETCHED, NEARBY, LATENCY = 24, 64, 800
"""Bytes a cycle that a multiprocessor gets from the second-level cache where all fetch, and where
few do; cycles from asking to having."""

STALL, BARRIER, UNIT, MEETING = 20, 50, 700, 3000
"""Cycles that a lone warp waits for shared memory, of a barrier of a block, of a unit's step, and
of a meeting of blocks."""


@dataclass(frozen=True)
class Sums:
    """Recurrent sums of a step: ``gates`` sums a unit, over ``states`` states (the kernel's STATE)
    of ``hidden`` terms in ``chunks`` chunks, the longest of ``longest`` terms.
    """

    hidden: int
    gates: int
    states: int
    chunks: int
    longest: int

    @classmethod
    def of(cls, hidden: int, parts: int, gates: int, states: int) -> Sums:
        lengths = [last - first for first, last in tree.parts(hidden, parts)]
        chunks = sum(ceil_div(length, CHUNK) for length in lengths)
        return cls(hidden, gates, states, chunks, min(CHUNK, max(lengths)))


@dataclass(frozen=True)
class Shape:
    """Blocks, threads and shared memory of a launch; the kernel explains its words."""

    sums: Sums
    columns: int
    groups: int
    at_once: int
    """Directions of a launch."""
    members: int
    """Utterances of the largest group."""
    tile: int
    """Columns of a thread."""
    warps: int
    quads: int
    ring: int

    @property
    def blocks(self) -> int:
        """Blocks of a team."""
        return ceil_div(self.sums.hidden, self.columns)

    @property
    def slots(self) -> int:
        return self.sums.states * self.sums.chunks

    @property
    def tiles(self) -> int:
        """Tiles that are summed over the same state."""
        return ceil_div(self.sums.gates // self.sums.states * self.columns, self.tile)

    @property
    def apart(self) -> int:
        """Floats between tiles: each begins 16 bytes further on in the banks than the last."""
        own = ceil_div(self.sums.hidden, 4) * 4 * self.tile
        return own + (4 - own) % 32

    @property
    def live(self) -> int:
        """Utterances of a pass, while all run."""
        return min(self.members, PASS)

    @property
    def rows(self) -> int:
        least = max(self.live, LANE_ROWS * TILES[self.tile][0])
        return next(rows for rows in (8, 16, PASS) if rows >= least)

    @property
    def stage(self) -> int:
        """Bytes of a stage."""
        return 16 * self.slots * self.quads * self.rows

    @property
    def sweep(self) -> int:
        return ceil_div(self.sums.longest, 4 * self.quads)

    @property
    def thread_rows(self) -> int:
        """The kernel's choice while all utterances run: the fewest for which the warps suffice."""
        choices = TILES[self.tile]
        fit = [r for r in choices if r * LANE_ROWS >= self.live or self._needed(r) <= self.warps]
        return fit[0] if fit else choices[-1]

    def _needed(self, thread_rows: int) -> int:
        """Warps that hold all sums of a pass."""
        tiles = ceil_div(self.slots * self.tiles, LANE_TILES)
        return tiles * ceil_div(self.live, thread_rows * LANE_ROWS)

    @property
    def rounds(self) -> int:
        return ceil_div(self._needed(self.thread_rows), self.warps)

    @property
    def sums_at(self) -> int:
        """Floats from the ring to the chunk sums, which lie in it if there is but one round."""
        return self.ring * self.stage // 4 if self.rounds > 1 else 0

    @property
    def kept(self) -> int:
        """Bytes of what a block keeps over all steps: weights, slots, utterances."""
        weights = 4 * self.sums.states * self.tiles * self.apart
        return weights + 16 * self.slots + 24 * ceil_div(self.members, 2) * 2

    @property
    def shared(self) -> int:
        """Bytes of shared memory of a block."""
        sums = 4 * self.slots * self.rows * self.tiles * self.tile
        return self.kept + max(self.ring * self.stage, 4 * self.sums_at + sums)

    def cycles(self, multiprocessors: int) -> int:
        """Estimate a step: what of computing, shared memory and fetching takes longest, then what
        waits: for the first stage, at barriers, for the units, for the other blocks.
        """
        rows, needed, terms = self.thread_rows, self._needed(self.thread_rows), self.sums.longest
        quad = 4 * rows * self.tile + rows + self.tile + 2
        issued = max(quad + STALL, ceil_div(needed, 4) * quad) * terms // 4
        near = needed * 2 * (rows + self.tile) * terms // 4
        state = 4 * self.live * self.sums.states * self.sums.hidden
        busy = self.blocks * self.groups * self.at_once
        speed = min(NEARBY, FETCHED * multiprocessors // busy)
        part = state // self.sweep
        flying = max(1, min(self.ring - 1, self.sweep) * part)
        fetched = self.rounds * max(state // speed, LATENCY * state // flying)
        waits = self.rounds * (LATENCY + part // speed + BARRIER * self.sweep)
        units = UNIT * ceil_div(self.live * self.columns, 32 * self.warps)
        passes = ceil_div(self.members, PASS)
        return MEETING + passes * (max(issued, near, fetched) + waits + units)


def shapes(
    sums: Sums, multiprocessors: int, shared_bytes: int, utterances: int, at_once: int
) -> Iterator[Shape]:
    """Yield all ways to cut a layer that fit, each with as many stages as there is room for."""
    blocks = multiprocessors // at_once
    for groups in range(1, min(blocks, utterances) + 1):
        columns, members = ceil_div(sums.hidden, blocks // groups), ceil_div(utterances, groups)
        for tile in TILES:
            for warps in (4, 8, 12, 16):
                for quads in (16, 8, 4, 2, 1):
                    cut = (columns, groups, at_once, members, tile, warps, quads)
                    shape = Shape(sums, *cut, ring=2)
                    room = (shared_bytes - shape.kept) // shape.stage
                    most = max(2, min(room, shape.sweep, MOST_STAGES))
                    for ring in {2, most} if shape.rounds > 1 else {most}:
                        shape = replace(shape, ring=ring)
                        if shape.shared <= shared_bytes:
                            yield shape


@cache
def persistent_shape(
    multiprocessors: int,
    shared_bytes: int,
    directions: int,
    utterances: int,
    hidden: int,
    parts: int,
    gates: int,
    states: int,
) -> Shape | None:
    """Return how to cut a layer, or None if not even one direction fits on the chip.

    Weighed are: more groups of utterances, so that a block has more columns and all blocks
    together fetch less of the state, against the memory of the weights; larger tiles, which read
    less shared memory, against more warps, which hide one another's waiting; longer stages, with
    fewer barriers, against an earlier begin. Directions run side by side if that fits, else one
    after another.
    """
    sums = Sums.of(hidden, parts, gates, states)
    for at_once in (directions, 1):
        fits = shapes(sums, multiprocessors, shared_bytes, utterances, at_once)
        best = min(fits, key=lambda shape: shape.cycles(multiprocessors), default=None)
        if best is not None:
            return best
    return None
