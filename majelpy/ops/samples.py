"""Samples of sound: 16-bit storage, speed, level, noise. Bodies: kernels/samples.h.

Policy. On a CPU only, where loaders run. A level is drawn by 32 random bits that the caller brings.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from majelpy.array import Array, checks, empty, operands
from majelpy.errors import DTypeError, ShapeError
from majelpy.native import address_of, library


def samples(pcm: np.ndarray) -> Array:
    """Return 16-bit samples, (S,) int16, as exact float32 numbers with full scale 1."""
    if pcm.dtype != np.int16 or pcm.ndim != 1:
        raise DTypeError(f"samples: found {pcm.dtype} with {pcm.ndim} axes; needs int16 with 1")
    pcm = np.ascontiguousarray(pcm)
    out = empty(len(pcm))
    library().mj_samples_of(len(pcm), address_of(pcm), out.pointer)
    return out


def pcm(samples: Any) -> np.ndarray:
    """Return samples, (S,) float32, in 16 bits, (S,) int16.

    Each is the nearest multiple of 2^-15 (of two, the even one); what lies beyond full scale
    becomes the largest there is.
    """
    x = _sound("pcm", "samples", samples)
    out = np.empty(x.size, dtype=np.int16)
    library().mj_pcm_of(x.size, x.pointer, address_of(out))
    return out


def after_speed(samples: int, speed: Fraction) -> int:
    """Return the samples that are left of so many at a speed: floor(samples / speed)."""
    return samples * speed.denominator // speed.numerator


def change_speed(samples: Any, speed: Fraction) -> Array:
    """Return the samples of a recording that is played faster or slower, and higher or lower.

    Parameters
    ----------
    samples : (S,) float32
    speed : Fraction
        Above 1 is faster; both its numbers are at most 2^15.

    Returns
    -------
    Array of shape (`after_speed` (S, speed),)

    Notes
    -----
    Order: a canonical sum over the 64 samples around an output, ascending.

    References
    ----------
    J. O. Smith, Digital Audio Resampling; Ko et al. 2015, Audio Augmentation for Speech
    Recognition.
    """
    x = _sound("change_speed", "samples", samples)
    if speed <= 0 or max(speed.numerator, speed.denominator) > 1 << 15:
        raise ShapeError(f"change_speed: speed {speed}; needs one above 0 of numbers up to 2^15")
    out = empty(after_speed(x.size, speed))
    library().mj_change_speed(
        x.size, x.pointer, speed.numerator, speed.denominator, out.size, out.pointer
    )
    return out


def change_level(samples: Any, low: float, high: float, bits: int) -> Array:
    """Return samples, (S,) float32, times a gain of ``low`` to ``high`` decibels, not clipped."""
    x = _sound("change_level", "samples", samples)
    out = empty(x.size)
    library().mj_change_level(x.size, x.pointer, low, high, bits, out.pointer)
    return out


def add_noise(samples: Any, noise: Any, start: int, low: float, high: float, bits: int) -> Array:
    """Return samples with noise added at a signal-to-noise ratio from ``low`` to ``high`` decibels.

    Parameters
    ----------
    samples : (S,) float32
    noise : (L,) float32
        Begins at sample ``start`` and goes round as often as needed.
    start : int
    low, high : float
        Decibels, of the mean powers of the samples and of the noise beside them.
    bits : int
        32 random bits that choose between the two.

    Notes
    -----
    Order: the powers are canonical sums of squares. Silent noise adds nothing.
    """
    x, n = _sound("add_noise", "samples", samples), _sound("add_noise", "noise", noise)
    if not 0 <= start < n.size:
        raise ShapeError(f"add_noise: start {start} in {n.size} samples of noise")
    out = empty(x.size)
    library().mj_add_noise(
        x.size, x.pointer, n.size, n.pointer, start, low, high, bits, out.pointer
    )
    return out


def _sound(operation: str, name: str, x: Any) -> Array:
    array = operands.vector(operation, name, x)
    checks.on_cpu(operation, **{name: array})
    return array
