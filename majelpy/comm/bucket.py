"""How a flat vector is cut for its way through the network: buckets, and chunks of them.

A bucket bounds the memory of messages in flight; a chunk is the part of a bucket that one
rank adds for all. Cuts fall on multiples of 16 floats, a cache line, so that two ranks
never write the same line. Elements do not see one another, so no cut can change a bit.

A backward pass writes the vector in *pushes*: ranges of columns, each final at once, in an
order that is the same in every step and on every rank. Buckets in that order can leave
while it goes on.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from majelpy.errors import ShapeError
from majelpy.tree import Node, leaf_range

FLOAT_BYTES = 4
LINE = 16  # floats in a cache line of 64 bytes


class Bucket(NamedTuple):
    """Columns ``start <= column < stop``, which are final after so many pushes."""

    start: int
    stop: int
    pushes: int


def buckets(size: int, bucket_bytes: int, pushes: Sequence[Node] = ()) -> list[Bucket]:
    """Return the buckets of a vector of `size` floats, in the order in which they are final.

    Parameters
    ----------
    size
        Number of floats.
    bucket_bytes
        Largest bucket in bytes; rounded down to whole lines of 64 bytes.
    pushes
        Columns ``(first, last)`` of each push. What is between two, nobody writes. Without
        pushes all columns are final together.

    Raises
    ------
    ShapeError
        The vector is empty, a bucket holds no line, or pushes overlap or are not within it.
    """
    if size < 1 or bucket_bytes < LINE * FLOAT_BYTES:
        raise ShapeError(
            f"buckets: {size} floats in buckets of {bucket_bytes} bytes; "
            f"needs at least 1 float and {LINE * FLOAT_BYTES} bytes"
        )
    step = bucket_bytes // (LINE * FLOAT_BYTES) * LINE
    found: list[Bucket] = []
    for number, (start, stop) in enumerate(_whole_vector(size, pushes or [(0, size)]), 1):
        for at in range(start, stop, step):
            low, high = at, min(at + step, stop)
            if found and (high == found[-1].start or low == found[-1].stop):  # as bias and weight
                joined = min(low, found[-1].start), max(high, found[-1].stop)
                if joined[1] - joined[0] <= step:
                    low, high = joined
                    found.pop()
            found.append(Bucket(low, high, number))
    return found


def _whole_vector(size: int, pushes: Sequence[Node]) -> list[Node]:
    """Return the pushes' columns, in their order, each with those up to the next one's first."""
    ascending = sorted(range(len(pushes)), key=lambda i: pushes[i])
    whole = list(pushes)
    low = 0
    for i, after in itertools.zip_longest(ascending, ascending[1:]):
        first, last = pushes[i]
        stop = size if after is None else pushes[after][0]
        if not 0 <= first < last <= stop:
            raise ShapeError(
                f"buckets: a push of columns [{first}, {last}) where the next begins at {stop}; "
                f"needs pushes that do not overlap, within {size} columns"
            )
        whole[i] = (low, stop)
        low = stop
    return whole


def chunk(start: int, stop: int, size: int, position: int) -> tuple[int, int]:
    """Return the chunk ``(start, stop)`` of a bucket that is added at `position` of `size`.

    Chunks are as even as whole lines allow; in a small bucket some are empty.
    """
    lines = -(-(stop - start) // LINE)
    first, last = leaf_range(lines, size, position)
    return min(start + first * LINE, stop), min(start + last * LINE, stop)


def largest_chunk(start: int, stop: int, size: int) -> int:
    """Return a number of floats that no chunk of a bucket of this length, or less, exceeds."""
    lines = -(-(stop - start) // LINE)
    return -(-lines // size) * LINE
