"""Leaves of terms, as launches see them: their chunks, and how they are merged.

Policy. Host arrays come in; what kernels need of them is uploaded once, when it is first asked for.
"""

from __future__ import annotations

import itertools
from functools import cached_property

import numpy as np

from majelpy.gpu import build
from majelpy.gpu.launcher import Buffer, Launcher

CHUNK = build.constant("MJ_CHUNK")
"""Terms of a chunk."""


def chunks(offsets: np.ndarray) -> np.ndarray:
    """Return how many chunks each leaf has, from the first row of each and where the last ends."""
    return -(-np.diff(offsets) // CHUNK)


class Leaves:
    """Sums over rows (terms), cut into leaves that a stack program merges.

    Parameters
    ----------
    on : Launcher
    offsets : np.ndarray, int64
        First row of each leaf, and where the last ends.
    merges : np.ndarray, int32, optional
        How often the top two of the stack are added after each leaf; never if not given.

    Attributes
    ----------
    count, chunks, terms : int
    """

    def __init__(self, on: Launcher, offsets: np.ndarray, merges: np.ndarray | None = None):
        self._on, self._offsets = on, np.asarray(offsets, dtype=np.int64)
        self.count = len(offsets) - 1
        self._merges = np.zeros(self.count, dtype=np.int32) if merges is None else merges
        self.of_leaf = chunks(self._offsets)
        self.chunks = int(self.of_leaf.sum())
        self.terms = int(self._offsets[-1] - self._offsets[0])

    @cached_property
    def offsets(self) -> Buffer:
        """First row of each leaf, and where the last ends."""
        return self._on.upload(self._offsets)

    @cached_property
    def merges(self) -> Buffer:
        """Merges after each leaf."""
        return self._on.upload(self._merges)

    @cached_property
    def starts(self) -> Buffer:
        """First row of each chunk, and where the last ends."""
        rows = [np.arange(a, b, CHUNK) for a, b in itertools.pairwise(self._offsets)]
        return self._on.upload(np.concatenate([*rows, self._offsets[-1:]]).astype(np.int64))

    @cached_property
    def first(self) -> Buffer:
        """First chunk of each leaf, and how many chunks there are."""
        return self._on.upload(np.concatenate([[0], np.cumsum(self.of_leaf)]).astype(np.int64))
