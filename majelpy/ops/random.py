"""Counter-based random numbers (Philox 4x32-10). Body: kernels/mj_random.h.

Policy. A number is a function of (seed, stream, place in the array) alone: no state, no rank.
Numbers that stand alone are made on the CPU; dropout works where its operand lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from majelpy.array import Array, checks, empty, operands
from majelpy.array.kernels import signed
from majelpy.errors import ShapeError
from majelpy.native import library


def uniform(count: int, *, gain: float, fan_in: int, seed: int, stream: int) -> Array:
    """Return ``count`` uniform float32 numbers around 0 of variance ``gain / fan_in``.

    They are multiples of 2^-23 times the bound sqrt(3 gain / fan_in), rounded once.
    """
    out = empty(count)
    library().mj_uniform_array(count, signed(seed), stream, gain, fan_in, out.pointer)
    return out


def words(count: int, *, seed: int, stream: int) -> np.ndarray:
    """Return ``count`` random uint32 words."""
    blocks = -(-count // 4)
    out = np.empty(4 * blocks, dtype=np.uint32)
    library().mj_philox_words(blocks, signed(seed), stream, out.ctypes.data)
    return out[:count]


def permutation(count: int, *, seed: int, stream: int) -> np.ndarray:
    """Return a random order of 0..count-1, int64: by 64-bit keys, equal keys in order."""
    keys = words(2 * count, seed=seed, stream=stream).reshape(count, 2).astype(np.uint64)
    return np.argsort((keys[:, 0] << np.uint64(32)) | keys[:, 1], kind="stable").astype(np.int64)


@dataclass(frozen=True)
class Dropout:
    """Which numbers of a batch's activations are dropped.

    Attributes
    ----------
    rate : float
        Of the numbers; taken in steps of 1/256.
    seed, epoch : int
        Epoch below 2^24.
    offsets : (N + 1,) int64
        First row of each utterance.
    ids : (N,) int64
        What identifies each utterance in the corpus, below 2^32.
    starts : (N,) int64, optional
        Frame that each utterance's first row is; frame 0 by default.
    """

    rate: float
    seed: int
    epoch: int
    offsets: np.ndarray
    ids: np.ndarray
    starts: np.ndarray | None = None

    def apply(self, x: Any, layer: int, first: int = 0) -> Array:
        """Return x, (rows, columns), with dropped numbers +0 and the rest scaled up.

        The gradient is the same function: apply it to dy with the same ``layer``. The columns
        of x are those of the layer from ``first`` on, a multiple of 16.

        References
        ----------
        Hannun et al. 2014, section 2.1; a number's fate depends on seed, epoch, layer, utterance,
        frame and column alone.
        """
        a = operands.matrix("dropout", "x", x)
        offsets = checks.offsets("dropout", self.offsets, a.shape[0])
        if len(self.ids) != len(offsets) - 1 or not 0 <= self.rate < 1 or first % 16:
            raise ShapeError(
                f"dropout: rate {self.rate}, {len(self.ids)} ids for {len(offsets) - 1} "
                f"utterances, columns from {first} on; needs a rate in [0, 1), an id each and a "
                "multiple of 16"
            )
        zero = np.zeros(len(self.ids), dtype=np.int64)
        starts = zero if self.starts is None else np.ascontiguousarray(self.starts, dtype=np.int64)
        ids = np.ascontiguousarray(self.ids, dtype=np.int64)
        on, place = operands.kernels("dropout", x=a)
        out = empty(a.shape, device=place)
        on.mj_dropout_rows(
            len(ids),
            offsets.ctypes.data,
            starts.ctypes.data,
            ids.ctypes.data,
            first,
            a.shape[1],
            signed(self.seed),
            layer,
            self.epoch,
            int(self.rate * 256),
            a.pointer,
            out.pointer,
        )
        return out


def noisy(
    weights: Array,
    deviation: float,
    *,
    seed: int,
    stream: int,
    step: int,
    first: int = 0,
    out: Array | None = None,
) -> Array:
    """Return weights with normal noise of a standard deviation; they may stay in place.

    Parameters
    ----------
    weights : (count,) float32
        The numbers of a parameter from ``first`` on; below 2^34.
    step : int
        From 1, below 2^31; every step has numbers of its own.
    out : (count,) float32, optional
        Written instead of a new array.

    Notes
    -----
    Philox counts (stream, step, place / 4); each block of it gives four numbers by Box and Muller
    1958. The largest possible magnitude is 5.77 deviations.
    """
    w = operands.vector("noisy", "weights", weights)
    result = empty(w.shape, device=w.place) if out is None else out
    checks.same_shape("noisy", w, operands.vector("noisy", "out", result))
    on, _ = operands.kernels("noisy", weights=w, out=result)
    on.mj_noise_array(
        w.size,
        first,
        signed(seed),
        stream,
        step,
        deviation,
        w.pointer,
        result.pointer,
    )
    return result
