"""Leaves of a minibatch and their slots, as kernels take them."""

from __future__ import annotations

import numpy as np

from majelpy import ops
from majelpy import tree as comm_tree

LEAF_ROWS = [3, 0, 256, 1, 0, 257, 14, 600, 0, 5, 33]


def leaves_of(rows: list[int], total: int | None = None, first: int = 0) -> ops.Leaves:
    """Return the leaves of one rank, `rows` frames each, of a minibatch of `total` leaves."""
    offsets = np.cumsum([0, *rows], dtype=np.int64)
    merges = comm_tree.merges(total or len(rows), first, first + len(rows))
    return ops.Leaves(offsets, np.array(merges, dtype=np.int32))


def slots_of(total: int, first: int, last: int, size: int) -> np.ndarray:
    return np.full((comm_tree.depth(total, first, last), size), np.float32(7))
