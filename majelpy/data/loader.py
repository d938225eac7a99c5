"""Minibatches that are read before the steps that need them.

Policy. What a minibatch holds depends on its step alone, so when it is read, and by which thread,
changes no bit. The thread that trains begins each reading, since it alone makes memory on a place;
readers do the rest, several minibatches at a time, and use no kernel threads but themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from majelpy.native import compute_alone

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
    """

    def __init__(self, begin: Callable[[int], Callable[[], Read]], ahead: int):
        self._begin, self._ahead = begin, ahead
        self._readers = ThreadPoolExecutor(ahead, initializer=compute_alone) if ahead else None
        self._coming: dict[int, Future[Read]] = {}
        self.waited_seconds = 0.0

    def take(self, step: int, steps: int) -> Read:
        """Return what a step needs; the reading of the next, below ``steps``, is begun."""
        begun = time.perf_counter()
        coming = self._coming.pop(step, None)
        found = coming.result() if coming is not None else self._begin(step)()
        self.waited_seconds = time.perf_counter() - begun
        if self._readers is not None:
            for later in range(step + 1, min(step + 1 + self._ahead, steps)):
                if later not in self._coming:
                    self._coming[later] = self._readers.submit(self._begin(later))
        return found

    def forget(self) -> None:
        """Let go of what is read ahead, when its readers are done."""
        for coming in self._coming.values():
            coming.exception()  # whoever needs it will meet it again
        self._coming.clear()

    def close(self) -> None:
        """End the readers."""
        if self._readers is not None:
            self._readers.shutdown(cancel_futures=True)
