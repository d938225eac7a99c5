"""Minibatches that are read before the steps that need them.

Policy. What a minibatch holds depends on its step alone, so when it is read, and by which thread,
changes no bit. The thread that trains begins each reading, since it alone makes memory on a place;
readers do the rest, several minibatches at a time, and use no kernel threads but themselves. What
they need meanwhile comes from a pool of their own, and what they have read is the taker's alone: so
how full the place's pool is depends on the steps, and not on who was faster.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from majelpy.memory.pool import Pool, apart
from majelpy.native import compute_alone

READER_BYTES = 64 << 20
"""Addresses of the readers' pool for each of them; a longer recording takes ordinary memory."""

Read = TypeVar("Read")


class ReadAhead(Generic[Read]):
    """Reads what a step needs, and ahead of it.

    Parameters
    ----------
    begin : callable
        Given a step, returns the function that a reader calls for what that step needs.
    ahead : int
        Steps that are read ahead, each by a thread of its own; 0: none.

    Attributes
    ----------
    waited_seconds : float
        What the last `take` took: waiting for a reader, or reading.
    pool : Pool
        Where arrays on the CPU lie that are made while reading.
    """

    def __init__(self, begin: Callable[[int], Callable[[], Read]], ahead: int):
        self._begin, self._ahead = begin, ahead
        self._readers = ThreadPoolExecutor(ahead, initializer=compute_alone) if ahead else None
        self._coming: dict[int, tuple[_Reading[Read], Future[None]]] = {}
        self.waited_seconds = 0.0
        self.pool = Pool(max(ahead, 1) * READER_BYTES, report=_nothing)

    def take(self, step: int, steps: int) -> Read:
        """Return what a step needs; the reading of the next, below ``steps``, is begun."""
        begun = time.perf_counter()
        if step in self._coming:
            reading, done = self._coming.pop(step)
            done.result()
        else:
            reading = _Reading(self._begin(step), self.pool)
            reading()
        found = reading.taken()
        self.waited_seconds = time.perf_counter() - begun
        if self._readers is not None:
            for later in range(step + 1, min(step + 1 + self._ahead, steps)):
                if later not in self._coming:
                    reading = _Reading(self._begin(later), self.pool)
                    self._coming[later] = (reading, self._readers.submit(reading))
        return found

    def close(self) -> None:
        """End the readers."""
        if self._readers is not None:
            self._readers.shutdown(cancel_futures=True)


class _Reading(Generic[Read]):
    """What a step needs, on its way from the reader to the taker.

    Notes
    -----
    A reader's thread holds the result of what it called, and the function, for some time after the
    other thread has been told. So that no memory lives on there, neither holds any by then.
    """

    def __init__(self, read: Callable[[], Read], pool: Pool) -> None:
        self._to_do, self._pool, self._found = [read], pool, list[Read]()

    def __call__(self) -> None:
        with apart(self._pool):
            self._found.append(self._to_do.pop()())

    def taken(self) -> Read:
        return self._found.pop()


def _nothing(line: str) -> None:
    """Take the pool's line that it is full: nobody can raise it, and ordinary memory serves."""
