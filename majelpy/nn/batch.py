"""The utterances of a minibatch that one rank computes.

Policy. Activations are packed: a matrix with a row a frame, utterances one after another, the
utterances of a leaf next to one another. There is no padding, so none can enter a sum
(docs/decisions/0001-packed-frames.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from majelpy.array import Array
from majelpy.memory import Place
from majelpy.ops import Extent, Leaves


@dataclass(frozen=True)
class Batch:
    """Frames and labels.

    Attributes
    ----------
    frames : (M, F) float32
        Normalised features, on the place that is to compute.
    offsets : (N + 1,) int64
        First row of each utterance, and M.
    labels : list of N lists of int
    names : list of N str
    ids : (N,) int64
        Place of each utterance in the training data.
    leaf_utterances : (K + 1,) int64
        First utterance of each leaf of this rank, and N.
    merges : (K,) int32
        Tree program of this rank's leaves, or of their parts.
    starts, lengths : (N,) int64
        The frame that each utterance's first row is, and all its frames, here or not.
    """

    frames: Array
    offsets: np.ndarray
    labels: Sequence[Sequence[int]]
    names: Sequence[str]
    ids: np.ndarray
    leaf_utterances: np.ndarray
    merges: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray

    @classmethod
    def unlabelled(cls, frames: Array, offsets: np.ndarray, names: Sequence[str] = ()) -> Batch:
        """One leaf of utterances with these offsets, without labels."""
        count = len(offsets) - 1
        return cls(
            frames=frames,
            offsets=offsets,
            labels=[[] for _ in range(count)],
            names=names or [str(n) for n in range(count)],
            ids=np.zeros(count, dtype=np.int64),
            leaf_utterances=np.array([0, count], dtype=np.int64),
            merges=np.zeros(1, dtype=np.int32),
            starts=np.zeros(count, dtype=np.int64),
            lengths=np.diff(offsets),
        )

    def to_device(self, place: Place) -> Batch:
        """The batch with its frames on that place; all else is for the host."""
        return self.with_frames(self.frames.to_device(place))

    def with_frames(self, frames: Array) -> Batch:
        """The batch with the same frames elsewhere."""
        return replace(self, frames=frames)

    @property
    def extent(self) -> Extent:
        """Which frames of each utterance the rows are."""
        return Extent(self.offsets, self.starts, self.lengths)

    def within(self, extent: Extent) -> Batch:
        """The batch whose rows are other frames: of a layer with a stride, or of a share."""
        return replace(self, offsets=extent.offsets, starts=extent.starts, lengths=extent.lengths)

    def leaf_rows(self) -> np.ndarray:
        """First row of each leaf, and the number of rows: (K + 1,) int64."""
        return np.ascontiguousarray(self.offsets[self.leaf_utterances])

    def leaf_lengths(self) -> np.ndarray:
        """Frames of each leaf, here or not: (K,) int64."""
        return np.diff(offsets_of(self.lengths)[self.leaf_utterances])

    def frame_leaves(self) -> Leaves:
        """Leaf boundaries over frames."""
        return Leaves(self.leaf_rows(), self.merges)


def numbers(start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Return the numbers from ``start`` up to ``stop`` of each pair, one pair after another."""
    counts = stop - start
    before = np.cumsum(counts) - counts  # numbers of the pairs before
    found: np.ndarray = np.repeat(start - before, counts) + np.arange(int(counts.sum()))
    return found


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """Return the first row of each utterance with so many rows, and the number of rows."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
