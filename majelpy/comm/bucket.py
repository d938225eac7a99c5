"""How a flat vector is cut for its way through the network: buckets, and chunks of them.

A bucket bounds the memory of messages in flight; a chunk is the part of a bucket that one
rank adds for all. Cuts fall on multiples of 16 floats, a cache line, so that two ranks
never write the same line. Elements do not see one another, so no cut can change a bit.
"""

from __future__ import annotations

from majelpy.comm.tree import leaf_range
from majelpy.errors import ShapeError

FLOAT_BYTES = 4
LINE = 16  # floats in a cache line of 64 bytes


def buckets(size: int, bucket_bytes: int) -> list[tuple[int, int]]:
    """Return the buckets ``(start, stop)`` of a vector of `size` floats, in order.

    Parameters
    ----------
    size
        Number of floats.
    bucket_bytes
        Largest bucket in bytes; rounded down to whole lines of 64 bytes.

    Raises
    ------
    ShapeError
        The vector is empty, or a bucket holds no line.
    """
    if size < 1 or bucket_bytes < LINE * FLOAT_BYTES:
        raise ShapeError(
            f"buckets: {size} floats in buckets of {bucket_bytes} bytes; "
            f"needs at least 1 float and {LINE * FLOAT_BYTES} bytes"
        )
    step = bucket_bytes // (LINE * FLOAT_BYTES) * LINE
    return [(start, min(start + step, size)) for start in range(0, size, step)]


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
