"""The sum of gradients by the tree's definition, for the cases of reduce_program.py."""

from __future__ import annotations

from functools import cache

import numpy as np
from touchy import bfloat16, digest, touchy_leaf

from majelpy import tree

STEPS = 3


PUSHES = [
    [4992, 5003],
    [2900, 4990],
    [2880, 2890],
    [1000, 1777],
    [1777, 2880],
    [992, 1000],
    [0, 992],
]
"""Columns as a backward pass writes them: from the end on, with gaps that nobody writes."""


def tree_sum(size: int, first: int, last: int, base: int = 0, rounded: int = 0) -> np.ndarray:
    """Return the sum by the tree's definition; NumPy's adds round as IEEE says.

    In the first `rounded` columns leaves and sums are rounded to bfloat16.
    """
    if last - first == 1:
        node = touchy_leaf(base + first, size)
    else:
        middle = first + tree.split(last - first)
        left = tree_sum(size, first, middle, base, rounded)
        node = left + tree_sum(size, middle, last, base, rounded)
    return np.concatenate([bfloat16(node[:rounded]), node[rounded:]])


@cache
def expected(leaves: int, size: int, pushed: bool = False, rounded: int = 0) -> list[str]:
    """Return the sum's digest in each step; columns that are not pushed are +0."""
    written = np.full(size, not pushed)
    for first, last in PUSHES if pushed else ():
        written[first:last] = True
    sums = [tree_sum(size, 0, leaves, base, rounded) for base in (0, 100)]
    return [digest(np.where(written, sums[step % 2], np.float32(0))) for step in range(STEPS)]
