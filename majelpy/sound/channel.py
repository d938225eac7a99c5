"""One channel out of those of a recording.

Policy. Channels that are equal are one. Of channels that differ the user says which is meant, or
that it is their mean: the canonical sum over the channels in their order, divided by their number.
Channels count from 0, as in NeMo's and Lhotse's manifests.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from majelpy.errors import AudioError
from majelpy.standard.statistics import mean
from majelpy.wording import counted

MIX = "mix"
"""In place of a channel's number: the mean of all."""

Channel = int | str | None
"""A number, `MIX`, or None: the one that there is, or that all are."""

NEEDED = f"a number from 0, or {MIX}"


def parse(text: str) -> int | str:
    """Return the channel that a text means.

    Raises
    ------
    ValueError
        If it means none.
    """
    if text == MIX:
        return MIX
    if not (text.isascii() and text.isdigit()) or len(text) > 4:
        raise ValueError(f"channel {text!r}; needs {NEEDED}")
    return int(text)


def one_of(block: NDArray[np.float32], channel: Channel, start: int = 0) -> NDArray[np.float32]:
    """Return one channel of some frames.

    Parameters
    ----------
    block : (S, C) float32
    channel : int, `MIX` or None
    start : int
        Number of the first of these frames, for messages.

    Returns
    -------
    (S,) float32, contiguous

    Raises
    ------
    AudioError
        If there is no such channel, or none was asked for and they differ.
    """
    count = block.shape[1]
    if isinstance(channel, int) and channel >= count:
        has = counted(count, "channel")
        raise AudioError(f"channel {channel}; the recording has {has}, counted from 0")
    if channel == MIX and count > 1:
        return mean(np.ascontiguousarray(block), axis=1).numpy()
    if channel is None and count > 1:
        first = block[:, :1]
        unequal = (block != first) & ~(np.isnan(block) & np.isnan(first))
        if unequal.any():
            at = start + int(np.argmax(unequal.any(axis=1)))
            raise AudioError(
                f"{count} channels that differ, first at sample {at}; choose one by its number "
                f"from 0 (--channel N), or their mean (--channel {MIX})"
            )
    return np.ascontiguousarray(block[:, channel if isinstance(channel, int) else 0])
