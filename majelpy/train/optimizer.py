"""The optimizer of a run: its states, its step, and the noisy weights that gradients are taken at.

Policy. A state is a vector beside the parameters, one number each, under a name that checkpoints
know. Noise is a function of (seed, step, name of the parameter, place in the whole of it), so ranks
that hold a share of a parameter see the same noise as one that holds it all. Numbers come from
bodies (kernels/optim.h, kernels/mj_random.h).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from majelpy import ops
from majelpy.array import Array, zeros
from majelpy.memory import Place
from majelpy.nn.parameters import Layout
from majelpy.recipes.recipe import Recipe

STATES: Mapping[str, tuple[str, ...]] = {
    "nesterov": ("velocities",),
    "adam": ("first_moments", "second_moments"),
    "adagrad": ("squares",),
}
"""Names of each optimizer's states; they start at 0."""


class Optimizer:
    """States of one rank's share of the parameters.

    Parameters
    ----------
    recipe : Recipe
    layout : Layout
        Of the share.
    place : Place

    Attributes
    ----------
    states : dict of str to (layout.size,) float32
    """

    def __init__(self, recipe: Recipe, layout: Layout, place: Place):
        self._settings, self._seed = recipe.optimizer, recipe.seed
        self.states = {
            name: zeros(layout.size, device=place) for name in STATES[recipe.optimizer.kind]
        }
        self._noisy: Array | None = None
        if self._settings.weight_noise:
            self._noisy = zeros(layout.size, device=place)
            self._pieces = list(pieces(layout))

    def update(
        self, parameters: Array, gradient: Array, step: int, *, factor: Array, rate: Array
    ) -> None:
        """Change what is trained of the parameters, by its gradient, in a step counted from 1.

        ``factor`` multiplies the gradient (norm clipping) and ``rate`` is the learning rate, (1,)
        each; all lie on one place.
        """
        settings, count = self._settings, gradient.size
        parameters = parameters[:count]
        states = {name: state[:count] for name, state in self.states.items()}
        decay, epsilon = settings.decay, settings.epsilon
        if settings.kind == "nesterov":
            ops.nesterov(
                *(parameters, states["velocities"], gradient),
                factor=factor,
                rate=rate,
                momentum=settings.momentum,
                decay=decay,
            )
        elif settings.kind == "adagrad":
            ops.adagrad(
                *(parameters, states["squares"], gradient),
                factor=factor,
                rate=rate,
                epsilon=epsilon,
                decay=decay,
            )
        else:
            beta1, beta2 = settings.beta1, settings.beta2
            ops.adam(
                *(parameters, states["first_moments"], states["second_moments"], gradient),
                factor=factor,
                rate=rate,
                shares=ops.average_shares(step, beta1=beta1, beta2=beta2, device=parameters.place),
                beta1=beta1,
                beta2=beta2,
                epsilon=epsilon,
                decay=decay,
            )

    def weights(self, parameters: Array, step: int) -> Array:
        """Return the weights that the gradient of a step, from 1, is taken at.

        They are the parameters themselves, or a copy with noise (Graves 2011, Practical
        variational inference for neural networks) that the next call overwrites.
        """
        if self._noisy is None:
            return parameters
        for stream, first, start, count in self._pieces:
            ops.noisy(
                parameters[start : start + count],
                self._settings.weight_noise,
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
