"""How far a long piece of work is: a bar on a terminal, a line now and then elsewhere.

Policy. What is not a terminal (mpirun's pipe, a log file) gets a line at most every `SECONDS`, so
work that is soon done says nothing. The time left is that of the work so far, drawn out.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from tqdm import tqdm

from majelpy.wording import clock, counted

T = TypeVar("T")

SECONDS = 10.0
"""Least time between two lines."""


class Pace:
    """How fast work goes.

    Parameters
    ----------
    total : int
        Pieces of work at the end.
    done : int
        Pieces that were done before.
    """

    def __init__(self, total: int, done: int = 0):
        self._total, self._before, self.done = total, done, done
        self.begin()

    def begin(self) -> None:
        """Count time from now on."""
        self._start = self._told = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the begin."""
        return time.monotonic() - self._start

    @property
    def left(self) -> float:
        """Seconds that the rest will take."""
        here = self.done - self._before
        return (self._total - self.done) * self.elapsed / here if here else 0.0

    def told(self) -> None:
        """Note that a line was said."""
        self._told = time.monotonic()

    def due(self) -> bool:
        """Return whether it is time for a line; then it counts as said."""
        if time.monotonic() - self._told < SECONDS:
            return False
        self.told()
        return True


def say(text: str) -> None:
    """Write a line to standard error, above a bar if there is one."""
    tqdm.write(text, file=sys.stderr)
    sys.stderr.flush()


class Telling:
    """Tells of work that is counted.

    Parameters
    ----------
    what : str
        Who works: the start of each line.
    noun, plural : str
        What is counted; the plural may be left out where it is the noun and s.
    total : int, optional
        How many there will be, where that is known.
    shown : bool
        False where another rank speaks.
    """

    def __init__(
        self,
        what: str,
        noun: str,
        total: int | None = None,
        plural: str = "",
        *,
        shown: bool = True,
    ):
        self._what, self._noun, self._total, self._plural = what, noun, total, plural
        self._lines = shown and not sys.stderr.isatty()
        self._pace = Pace(total or 0)
        self._bar = tqdm(
            total=total, desc=what, unit=noun, disable=self._lines or not shown, leave=False
        )

    def done(self, count: int = 1) -> None:
        """Count so many more."""
        self._pace.done += count
        self._bar.update(count)
        if self._lines and self._pace.due():
            say(f"{self._what}: {self._so_far()}")

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items, and count each when its work is done."""
        for item in items:
            yield item
            self.done()

    def _so_far(self) -> str:
        if self._total is None:
            return counted(self._pace.done, self._noun, self._plural)
        whole = counted(self._total, self._noun, self._plural)
        return f"{self._pace.done} of {whole}, {clock(self._pace.left)} left"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()
