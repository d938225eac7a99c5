"""Decoding: from the labels of frames to the labels of a text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def greedy(best: NDArray[np.integer]) -> list[int]:
    """Return the labels of the best path: repeats collapsed, then blanks removed.

    Parameters
    ----------
    best : ndarray, integer, (T,)
        The best label of each frame; 0 is the blank.

    References
    ----------
    Graves et al. 2006, section 3.2 (best path decoding).
    """
    if not len(best):
        return []
    first_of_run = np.concatenate(([True], best[1:] != best[:-1]))
    return [int(label) for label in best[first_of_run] if label != 0]
