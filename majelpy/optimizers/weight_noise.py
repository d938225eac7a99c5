"""Noisy weights: what a gradient is taken at where the recipe has weight noise.

Policy. Noise is a function of (seed, step, name of the parameter, place in the whole of it), so
ranks that hold a share of a parameter see the same noise as one that holds it all. Numbers come
from bodies (kernels/optim.h, kernels/mj_random.h).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from majelpy import ops
from majelpy.array import Array, zeros
from majelpy.memory import Place
from majelpy.nn.parameters import Layout


class WeightNoise:
    """Normal noise on the weights of a share, of some standard deviation; 0 for none.

    References
    ----------
    Graves 2011, Practical variational inference for neural networks.
    """

    def __init__(self, deviation: float, seed: int, layout: Layout, place: Place):
        self._deviation, self._seed = deviation, seed
        self._noisy: Array | None = None
        if deviation:
            self._noisy = zeros(layout.size, device=place)
            self._pieces = list(pieces(layout))

    def weights(self, parameters: Array, step: int) -> Array:
        """Return the weights that the gradient of a step, from 1, is taken at.

        They are the parameters themselves, or a copy with noise that the next call overwrites.
        """
        if self._noisy is None:
            return parameters
        for stream, first, start, count in self._pieces:
            ops.noisy(
                parameters[start : start + count],
                self._deviation,
                seed=self._seed,
                stream=stream,
                step=step,
                first=first,
                out=self._noisy[start : start + count],
            )
        return self._noisy


def pieces(layout: Layout) -> Iterator[tuple[int, int, int, int]]:
    """Yield what a share holds of the whole parameters, in runs of neighbouring numbers.

    A run is the parameter's stream of random numbers, the place in the whole parameter, the place
    in the flat vector, and how many numbers.
    """
    for held in layout.parameters:
        start, _ = layout.place(held.name)
        if held.tracked:
            continue
        row = held.size // max(held.directions * held.groups * held.units, 1)
        rows = np.arange(math.prod(layout.whole_shape(held.name)) // row)
        here = layout.of_whole(held.name, rows).reshape(-1)
        for run in np.split(here, np.flatnonzero(np.diff(here) != 1) + 1):
            yield held.stream, int(run[0]) * row, start, len(run) * row
            start += len(run) * row
