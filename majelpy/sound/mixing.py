"""Integer signal processing for made-up recordings: resampling, trimming, level and noise.

Policy: whole numbers throughout, so that the samples are the same on every machine. The
one exception is the table of filter coefficients, which is rounded to whole numbers; a test
shows that no coefficient is near enough to a rounding boundary for a libm to matter.
"""

from __future__ import annotations

import functools
import hashlib
import math

import numpy as np
from numpy.typing import NDArray

_TAPS = 32
_UNIT = 1 << 15
_PASS = 0.9  # of the band up to half the lower rate


class Draw:
    """Whole random numbers that are a function of a key only (SHAKE-256 of it)."""

    def __init__(self, key: str) -> None:
        self._key = key

    def below(self, purpose: str, n: int) -> int:
        """Return a number in 0..n-1, one per purpose."""
        data = hashlib.shake_256(f"{self._key}|{purpose}".encode()).digest(8)
        return int.from_bytes(data, "little") % n

    def bell(self, purpose: str, count: int) -> NDArray[np.int64]:
        """Return noise: int64, (count,), each the sum of four uniform numbers, centred."""
        data = hashlib.shake_256(f"{self._key}|{purpose}".encode()).digest(8 * count)
        uniform = np.frombuffer(data, "<u2").reshape(count, 4).astype(np.int64)
        total: NDArray[np.int64] = uniform.sum(axis=1)
        return total - 2 * 65535


@functools.cache
def filter_table(rate_in: int, rate_out: int) -> tuple[tuple[float, ...], ...]:
    """Return the low-pass filter's coefficients for each phase, before rounding.

    A sinc under a raised-cosine window, `_TAPS` taps per phase, for input at `rate_in` Hz.
    """
    phases = rate_out // math.gcd(rate_in, rate_out)
    cutoff = _PASS * min(1.0, rate_out / rate_in)
    table = []
    for phase in range(phases):
        row = []
        for tap in range(_TAPS):
            at = tap - (_TAPS // 2 - 1) - phase / phases
            x = math.pi * cutoff * at
            sinc = math.sin(x) / x if x else 1.0
            window = 0.5 + 0.5 * math.cos(2 * math.pi * at / _TAPS)
            row.append(_UNIT * cutoff * sinc * window)
        table.append(tuple(row))
    return tuple(table)


@functools.cache
def _rounded_table(rate_in: int, rate_out: int) -> NDArray[np.int64]:
    rows = filter_table(rate_in, rate_out)
    return np.array([[round(value) for value in row] for row in rows], np.int64)


def resample(samples: NDArray[np.int16], rate_in: int, rate_out: int) -> NDArray[np.int64]:
    """Return int64 samples (S',) at `rate_out` Hz from int16 samples (S,) at `rate_in`."""
    common = math.gcd(rate_in, rate_out)
    up, down = rate_out // common, rate_in // common
    table = _rounded_table(rate_in, rate_out)
    count = len(samples) * up // down
    at = np.arange(count, dtype=np.int64) * down
    first, phase = at // up, at % up
    padded = np.pad(samples.astype(np.int64), (_TAPS // 2 - 1, _TAPS))
    total = np.full(count, _UNIT // 2, np.int64)
    for tap in range(_TAPS):
        total += padded[first + tap] * table[phase, tap]
    return total >> 15


def trim(samples: NDArray[np.int64], before: int, after: int) -> NDArray[np.int64]:
    """Return the samples with silence cut off at both ends and some put back, in samples.

    Silence is what stays below 1/200 of the peak.
    """
    loud = np.flatnonzero(np.abs(samples) * 200 > np.abs(samples).max())
    return np.pad(samples[loud[0] : loud[-1] + 1], (before, after))


def mix(
    samples: NDArray[np.int64], noise: NDArray[np.int64], peak: int, ratio: int
) -> NDArray[np.int16]:
    """Return speech at a peak level under noise of a given strength: int16, (S,).

    Parameters
    ----------
    samples, noise : ndarray, int64, (S,)
        Both are brought to their levels here.
    peak : int
        Greatest absolute sample of the speech, up to 32767.
    ratio : int
        Power of the speech by power of the noise; 1000 is 30 dB.
    """
    speech = samples * peak // int(np.abs(samples).max())
    power = int((speech * speech).sum())
    noise_power = int((noise * noise).sum())
    gain = math.isqrt((power << 32) // (noise_power * ratio))  # in units of 2^-16
    mixed = speech + ((noise * gain + (1 << 15)) >> 16)
    return np.clip(mixed, -32768, 32767).astype(np.int16)
