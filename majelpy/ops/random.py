"""Counter-based random numbers (Philox 4x32-10). Body: kernels/mj_random.h.

Policy. A number is a function of (seed, stream, place in the array) alone: no state, no rank.
"""

from __future__ import annotations

import numpy as np

from majelpy.array import Array, empty
from majelpy.native import library


def _key(seed: int) -> int:
    """The seed's 64 bits as the signed integer that the kernel's argument is."""
    low = seed & 0xFFFF_FFFF_FFFF_FFFF
    return low - (1 << 64) if low >> 63 else low


def uniform(count: int, *, gain: float, fan_in: int, seed: int, stream: int) -> Array:
    """Return ``count`` uniform float32 numbers around 0 of variance ``gain / fan_in``.

    They are multiples of 2^-23 times the bound sqrt(3 gain / fan_in), rounded once.
    """
    out = empty(count)
    library().mj_uniform_array(count, _key(seed), stream, gain, fan_in, out.pointer)
    return out


def words(count: int, *, seed: int, stream: int) -> np.ndarray:
    """Return ``count`` random uint32 words."""
    blocks = -(-count // 4)
    out = np.empty(4 * blocks, dtype=np.uint32)
    library().mj_philox_words(blocks, _key(seed), stream, out.ctypes.data)
    return out[:count]


def permutation(count: int, *, seed: int, stream: int) -> np.ndarray:
    """Return a random order of 0..count-1, int64: by 64-bit keys, equal keys in order."""
    keys = words(2 * count, seed=seed, stream=stream).reshape(count, 2).astype(np.uint64)
    return np.argsort((keys[:, 0] << np.uint64(32)) | keys[:, 1], kind="stable").astype(np.int64)
