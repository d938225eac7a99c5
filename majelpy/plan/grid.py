"""Rates measured at the points of a grid, and between them.

Policy. Sizes act by their ratios, so the position between two points is that of their logarithms;
rates are interpolated linearly. Outside of the grid the nearest edge counts.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Sequence


def interpolate(
    axes: Sequence[Sequence[float]], values: Sequence[float], point: Sequence[float]
) -> float:
    """Return the value at a point; exact at the points of the grid.

    Parameters
    ----------
    axes : sequence of sequences of float
        Ascending positive coordinates of each axis.
    values : sequence of float
        A value a point, the last axis fastest.
    point : sequence of float
        A coordinate an axis.
    """
    corners = [_neighbours(axis, x) for axis, x in zip(axes, point, strict=True)]
    total = 0.0
    for corner in itertools.product(*corners):
        index, weight = 0, 1.0
        for axis, (position, share) in zip(axes, corner, strict=True):
            index, weight = index * len(axis) + position, weight * share
        total += weight * values[index]
    return total


def _neighbours(axis: Sequence[float], x: float) -> list[tuple[int, float]]:
    """Positions on an axis with their weights: two, or one at its ends."""
    if x <= axis[0]:
        return [(0, 1.0)]
    if x >= axis[-1]:
        return [(len(axis) - 1, 1.0)]
    above = bisect_right(axis, x)
    low, high = axis[above - 1], axis[above]
    share = math.log(x / low) / math.log(high / low)
    return [(above - 1, 1.0 - share), (above, share)]
