"""Whether a recording is silent or clipped, told while it is read.

Policy. Samples are compared, never calculated with. Clipped means that three or more samples in a
row lie at one end of the scale: a single peak that reaches it is no fault.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_RUN = 3
_FULL = {"PCM_S8": 127 / 128, "PCM_U8": 127 / 128, "ULAW": 32124 / 32768, "ALAW": 32256 / 32768}
"""Largest samples of formats whose full scale is less than that of 16 bits."""


class Level:
    """What is known of the samples so far.

    Parameters
    ----------
    subtype : str
        How they are stored, in libsndfile's words.

    Attributes
    ----------
    silent : bool
        Whether all are 0.
    clipped : bool
    """

    def __init__(self, subtype: str) -> None:
        self.silent, self.clipped = True, False
        self._full = np.float32(_FULL.get(subtype, 32767 / 32768))
        self._last = np.zeros(0, np.int8)

    def hear(self, samples: NDArray[np.float32]) -> None:
        """Take in the samples that come next, (S,)."""
        self.silent = self.silent and not samples.any()
        if self.clipped:
            return
        ends = (samples >= self._full).astype(np.int8) - (samples <= -self._full).astype(np.int8)
        ends = np.concatenate([self._last, ends])
        alike = ends[_RUN - 1 :] != 0
        for back in range(1, _RUN):
            alike &= ends[_RUN - 1 :] == ends[_RUN - 1 - back : len(ends) - back]
        self.clipped = bool(alike.any())
        self._last = ends[-(_RUN - 1) :]
