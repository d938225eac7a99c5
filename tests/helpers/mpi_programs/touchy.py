"""Leaf vectors in which any reassociation shows, made from integers alone.

Mixed signs, magnitudes 2^-20 to 2^20, denormals and signed zeros; every eighth element is
a denormal or a zero in all leaves, so that denormal sums are not drowned. Any rank makes
any leaf, and the parent test makes them all.
"""

from __future__ import annotations

import hashlib

import numpy as np


def touchy_leaf(leaf: int, size: int) -> np.ndarray:
    """Return the vector of a leaf: shape (size,), float32."""
    noise = hashlib.shake_256(f"leaf {leaf} of {size}".encode()).digest(5 * size)
    raw = np.frombuffer(noise, np.uint32, size)
    kind = np.frombuffer(noise, np.uint8, size, 4 * size) % 16
    small = (kind < 2) | (np.arange(size) % 8 == 7)
    exponent = np.where(small, 0, 127 - 20 + (raw >> 23 & 0xFF) % 41).astype(np.uint32)
    mantissa = np.where(kind == 0, 0, raw & 0x7FFFFF).astype(np.uint32)
    return (raw & 0x80000000 | exponent << 23 | mantissa).view(np.float32)


def bfloat16(x: np.ndarray) -> np.ndarray:
    """Return float32 numbers rounded to bfloat16, by its definition: 8 bits of a fraction.

    The last place of a number below 2^-126 is 2^-133.
    """
    wide = x.astype(np.float64)
    place = np.ldexp(1.0, np.maximum(np.frexp(wide)[1] - 8, -133))
    rounded = np.rint(wide / place) * place
    with np.errstate(over="ignore"):  # from 2^128 on it is infinite
        return rounded.astype(np.float32)


def digest(vector: np.ndarray) -> str:
    """Return the SHA-256 of a vector's bytes."""
    return hashlib.sha256(vector.tobytes()).hexdigest()
