"""Spectrogram features and their statistics over a corpus.

Policy. Windows of 20 ms every 10 ms, the transform as long as the window, so a feature is 50 Hz
wide at any rate (Hannun et al. 2014, section 3; Amodei et al. 2016, section 5.1). Numbers come
from kernel bodies only; this file knows lengths.
"""

from __future__ import annotations

import numpy as np

from majelpy import ops
from majelpy.array import Array
from majelpy.errors import AudioError
from majelpy.wording import counted


def window_length(rate: int) -> int:
    """Return the samples of a window of 20 ms at ``rate`` Hz."""
    return rate // 50


def hop_length(rate: int) -> int:
    """Return the samples between windows, 10 ms at ``rate`` Hz."""
    return rate // 100


def spectrogram(samples: np.ndarray, rate: int) -> np.ndarray:
    """Return the log power spectrogram of a recording.

    Parameters
    ----------
    samples : (S,) float32
        In [-1, 1].
    rate : int
        Hz, at least 100.

    Returns
    -------
    (T, F) float32

    Raises
    ------
    AudioError
        If the recording is shorter than one window.
    """
    window = window_length(rate)
    if len(samples) < window:
        raise AudioError(
            f"spectrogram: {counted(len(samples), 'sample')} at {rate} Hz; needs at least {window} "
            "(20 ms)"
        )
    return ops.spectrogram(samples, window, hop_length(rate)).numpy()


class Statistics:
    """Mean and scale of each feature over many utterances, added one at a time.

    Notes
    -----
    Order: canonical sums within an utterance, of deviations from the first utterance's mean;
    utterances by the tree that majelpy.tree describes, built as they come.
    """

    def __init__(self) -> None:
        self._center: Array | None = None
        self._count = 0
        self._utterances = 0
        self._stack: list[list[np.ndarray]] = []

    def add(self, frames: np.ndarray) -> None:
        """Take in the frames of one utterance, (T, F) float32."""
        if self._center is None:
            zero = np.zeros(frames.shape[1], dtype=np.float32)
            self._center = ops.mean_of(zero, ops.sum_rows(frames), len(frames))
        self._stack.append(
            [
                ops.sum_deviations(frames, self._center).numpy(),
                ops.sum_deviations(frames, self._center, squared=True).numpy(),
            ]
        )
        self._count += len(frames)
        self._utterances += 1
        # Two neighbouring subtrees of equal size stand for a node of the tree: merge them.
        done = self._utterances
        while done % 2 == 0:
            self._merge()
            done //= 2

    def _merge(self) -> None:
        right = self._stack.pop()
        self._stack[-1] = [
            ops.add(a, b).numpy() for a, b in zip(self._stack[-1], right, strict=True)
        ]

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and scale, both (F,) float32.

        Raises
        ------
        AudioError
            If no utterance was added.
        """
        if self._center is None:
            raise AudioError("statistics: no utterance was added; needs at least 1")
        while len(self._stack) > 1:
            self._merge()
        sums, squares = self._stack[0]
        mean = ops.mean_of(self._center, sums, self._count)
        scale = ops.scale_of(sums, squares, self._count)
        return mean.numpy(), scale.numpy()
