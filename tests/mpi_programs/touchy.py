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


def digest(vector: np.ndarray) -> str:
    """Return the SHA-256 of a vector's bytes."""
    return hashlib.sha256(vector.tobytes()).hexdigest()
