"""Log power spectrogram. Body: kernels/spectrogram.h; driver: kernels/cpu/spectrogram.cpp."""

from __future__ import annotations

from typing import Any

from majelpy.array import Array, empty, operands
from majelpy.errors import ShapeError


def spectrogram(samples: Any, window: int, hop: int) -> Array:
    """Return log(|X|^2 + 1e-6) of Hann-windowed frames.

    Parameters
    ----------
    samples : (S,) float32
        In [-1, 1].
    window, hop : int
        Samples; the transform has exactly ``window`` points, of any factors.

    Returns
    -------
    Array of shape (1 + (S - window) // hop, window // 2 + 1)

    Raises
    ------
    ShapeError
        If there are fewer samples than one window.

    Notes
    -----
    Order: a Stockham transform that takes off the smallest prime factor first; each butterfly
    sums its inputs in ascending order.
    """
    x = operands.vector("spectrogram", "samples", samples)
    if window < 2 or hop < 1 or x.size < window:
        raise ShapeError(
            f"spectrogram: {x.size} samples, window {window}, hop {hop}; needs window >= 2, "
            f"hop >= 1 and at least one window of samples"
        )
    frames = 1 + (x.size - window) // hop
    on, place = operands.kernels("spectrogram", samples=x)
    out = empty((frames, window // 2 + 1), device=place)
    on.mj_spectrogram(frames, window, hop, x.pointer, out.pointer)
    return out
