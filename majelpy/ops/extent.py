"""Which frames of each utterance some packed rows are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Extent:
    """The rows of utterance n, from ``offsets[n]`` on, are its frames from ``starts[n]`` on.

    Attributes
    ----------
    offsets : (N + 1,) int64
        First row of each utterance, and the number of rows.
    starts, lengths : (N,) int64
        The frame that each utterance's first row is, and all its frames, here or not.
    """

    offsets: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    @property
    def stops(self) -> np.ndarray:
        """The frame after each utterance's last row, (N,)."""
        found: np.ndarray = self.starts + np.diff(self.offsets)
        return found
