"""Which frames of each utterance a matrix of packed rows holds.

Policy. All is integers, for the host. A layer that looks at frames `t * stride - before` up to
`+ taps - 1` for its frame t says so by a `Reach`; what a rank needs of its neighbours, and
what it has for them, follows from that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from majelpy.errors import ShapeError


@dataclass(frozen=True)
class Extent:
    """Frames of N utterances, one utterance after another.

    Attributes
    ----------
    offsets : (N + 1,) int64
        First row of each utterance, and the number of rows.
    starts : (N,) int64
        The frame that each utterance's first row is.
    lengths : (N,) int64
        All frames of each utterance, here or not.
    """

    offsets: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    @classmethod
    def whole(cls, lengths: np.ndarray) -> Extent:
        """All frames of utterances of these lengths."""
        return cls.range(np.zeros_like(lengths), lengths, lengths)

    @classmethod
    def range(cls, starts: np.ndarray, stops: np.ndarray, lengths: np.ndarray) -> Extent:
        """The frames ``starts[u] .. stops[u]`` of each utterance."""
        offsets = np.concatenate([[0], np.cumsum(stops - starts)]).astype(np.int64)
        return cls(offsets, starts, lengths)

    @property
    def stops(self) -> np.ndarray:
        """The frame after the last one of each utterance's rows."""
        return np.asarray(self.starts + np.diff(self.offsets))

    def frames(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the utterance and the frame of each row."""
        of = np.repeat(np.arange(len(self.lengths)), np.diff(self.offsets))
        return of, np.arange(len(of)) - self.offsets[of] + self.starts[of]

    def check(self, operation: str, name: str, rows: int) -> None:
        """The extent is one of a matrix of so many rows."""
        count = len(self.lengths)
        fits = len(self.offsets) == count + 1 and len(self.starts) == count
        fits = fits and self.offsets[0] == 0 and self.offsets[-1] == rows
        if not fits or (np.diff(self.offsets) < 0).any():
            raise ShapeError(
                f"{operation}: the extent of {name} has {len(self.offsets)} offsets up to "
                f"{self.offsets[-1:].tolist()}, {len(self.starts)} starts and {count} lengths; "
                f"needs those of {rows} rows"
            )
        outside = np.flatnonzero((self.starts < 0) | (self.stops > self.lengths))
        if len(outside):
            u = int(outside[0])
            raise ShapeError(
                f"{operation}: the extent of {name} has frames {self.starts[u]} to "
                f"{self.stops[u]} of utterance {u}, which has {self.lengths[u]}"
            )

    def holds(self, operation: str, name: str, low: np.ndarray, high: np.ndarray) -> None:
        """The frames ``low[u] .. high[u]`` of each utterance are here."""
        missing = np.flatnonzero((low < high) & ((low < self.starts) | (high > self.stops)))
        if len(missing):
            u = int(missing[0])
            raise ShapeError(
                f"{operation}: {name} has frames {self.starts[u]} to {self.stops[u]} of "
                f"utterance {u}; needs {low[u]} to {high[u]}"
            )


@dataclass(frozen=True)
class Reach:
    """Output frame t looks at the input frames t * stride - before and the taps - 1 after it.

    Attributes
    ----------
    taps, before, stride : int
    """

    taps: int
    before: int
    stride: int = 1

    def out_lengths(self, lengths: np.ndarray) -> np.ndarray:
        """Frames of the output of utterances of these lengths: lengths / stride, rounded up."""
        return np.asarray(-(-np.asarray(lengths) // self.stride))

    def needed(
        self, starts: np.ndarray, stops: np.ndarray, lengths: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the input frames (first, after last) that output frames look at.

        ``lengths`` are those of the input; for no output frames first equals after last.
        """
        low = np.clip(starts * self.stride - self.before, 0, lengths)
        high = np.clip((stops - 1) * self.stride - self.before + self.taps, low, lengths)
        return low, np.where(stops > starts, high, low)

    def fed(
        self, starts: np.ndarray, stops: np.ndarray, lengths: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the output frames (first, after last) that look at any of the input frames."""
        count = self.out_lengths(lengths)
        low = np.clip(-(-(starts + self.before - self.taps + 1) // self.stride), 0, count)
        high = np.clip((stops - 1 + self.before) // self.stride + 1, low, count)
        return low, np.where(stops > starts, high, low)
