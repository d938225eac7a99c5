"""Values of bfloat16 on their way: float32 in memory, 16 bits each in messages.

Policy. Only moves of bits: a float32 that was rounded to bfloat16 (kernels/mj_sum.h) has its value
in the upper half of its word and zeros in the lower.
"""

from __future__ import annotations

import numpy as np

_HALF = 16  # bits


def pack(values: np.ndarray, carrier: np.ndarray) -> None:
    """Put the upper halves of `values`, (n,) float32, into `carrier`, (n,) uint16."""
    np.right_shift(values.view(np.uint32), _HALF, out=carrier, casting="unsafe")


def unpack(values: np.ndarray, carrier: np.ndarray) -> None:
    """Let `values`, (n,) float32, be what was packed into `carrier`, (n,) uint16."""
    np.left_shift(carrier, _HALF, out=values.view(np.uint32), dtype=np.uint32)
