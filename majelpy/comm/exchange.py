"""A reduction under way: the steps of `majelpy.comm.schedule`, each as far as it has come.

Policy. Nothing here waits but `finish`: a step goes on, in `poll`, when the messages that it
needs have come. So it can begin while the rank still computes, and is looked after between
kernels, by the one thread that calls MPI. Steps take turns in lanes; those of a lane follow
one another, so that they may use the same buffers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from majelpy.array import kernels
from majelpy.comm.schedule import LANES, Message, Step, Work
from majelpy.comm.shared_memory import SharedMemory
from majelpy.comm.world import World
from majelpy.memory import CPU, Place

_LATER: list[Any] = []
"""What a step waits for while a GPU is at work: no message, but the next look."""


@dataclass
class _Way:
    """What is left of a step, and the messages that it waits for."""

    left: Iterator[list[Any]]
    messages: list[Any] = field(default_factory=list)


class Exchange:
    """Runs steps, the same number on all ranks.

    Parameters
    ----------
    world
        The ranks.
    memory
        Of this rank's host.
    steps
        Of this rank.
    place
        Where they add.

    Attributes
    ----------
    steps
        Those that were given; others may take their place between reductions.
    begun
        How many steps were begun.
    sent_bytes
        Bytes that this rank has sent in messages so far.
    """

    def __init__(
        self, world: World, memory: SharedMemory, steps: Sequence[Step], place: Place = CPU
    ) -> None:
        self._world, self._memory, self.steps, self._place = world, memory, steps, place
        self._lanes: list[deque[_Way]] = [deque() for _ in range(LANES)]
        self.begun = self.sent_bytes = 0

    def begin(self, arrivals: list[Any]) -> None:
        """Begin the next step; it goes on when those messages are there."""
        way = _Way(self._go(self.steps[self.begun], arrivals))
        self._lanes[self.begun % LANES].append(way)
        self.begun += 1

    def poll(self) -> bool:
        """Go on as far as is possible without waiting; return whether all begun is done."""
        for lane in self._lanes:
            while lane and self._world.done(lane[0].messages):
                found = next(lane[0].left, None)
                if found is None:
                    lane.popleft()
                    continue
                lane[0].messages = found
                if found is _LATER:
                    break
        return not any(self._lanes)

    def finish(self) -> None:
        """Do all that was begun, and be ready for the steps from the first on."""
        while not self.poll():
            waits = [lane[0].messages for lane in self._lanes if lane]
            if not any(messages is _LATER for messages in waits):
                self._world.wait_some([m for messages in waits for m in messages])
        self.begun = 0

    def _go(self, step: Step, arrivals: list[Any]) -> Iterator[list[Any]]:
        """Do a step; yield what has to be done before it goes on."""
        yield arrivals
        self._memory.arrived()
        receives = self._receive(step.node_receives)
        others = self._receive(step.result_receives)
        yield from self._do(step.node_work)
        others += self._send(step.node_sends)
        yield receives
        yield from self._do(step.root_work)
        yield others + self._send(step.root_sends)
        for do in step.result_work:
            do()

    def _do(self, work: Work) -> Iterator[list[Any]]:
        """Add and pack; on a GPU go on when that is done, for what it writes may be sent then."""
        for do in work:
            do()
        if work and self._place != CPU:
            mark = kernels.device(self._place).point()
            while not kernels.device(self._place).passed(mark):
                yield _LATER

    def _send(self, messages: Sequence[Message]) -> list[Any]:
        self.sent_bytes += sum(message.data.nbytes for message in messages)
        return [self._world.send(m.data, m.rank, m.tag) for m in messages]

    def _receive(self, messages: Sequence[Message]) -> list[Any]:
        return [self._world.receive(m.data, m.rank, m.tag) for m in messages]
