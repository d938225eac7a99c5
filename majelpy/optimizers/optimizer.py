"""What an optimizer is: settings of its own, states beside the parameters, a step.

Policy. A module an optimizer; its class and its line in `OPTIMIZERS` (majelpy/optimizers) are all
that there is to it: recipes, checkpoints, the plan and `--set` follow from them. A state
is a vector with one number for each parameter, under a name that checkpoints know, and starts at 0.
A step calls operations whose order is fixed (majelpy.ops, functions of arrays) and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from majelpy.array import Array, zeros
from majelpy.memory import Place


class Optimizer:
    """The states of one rank's share of the parameters, and how a gradient changes both.

    Parameters
    ----------
    settings
        Of the recipe's table [optimizer]: shared ones, and under ``own`` this class's `Settings`.
    size : int
        Numbers of the share.
    place : Place

    Attributes
    ----------
    STATES : tuple of str
        Names of the states.
    states : dict of str to (size,) float32
    """

    STATES: ClassVar[tuple[str, ...]] = ()

    @dataclass(frozen=True)
    class Settings:
        """What this optimizer has of its own."""

    def __init__(self, settings: Any, size: int, place: Place):
        self.decay: float = settings.decay
        self.settings: Any = settings.own
        self.states = {name: zeros(size, device=place) for name in self.STATES}

    def update(
        self, parameters: Array, gradient: Array, number: int, *, factor: Array, rate: Array
    ) -> None:
        """Change what is trained of the parameters, by its gradient, in a step counted from 1.

        ``factor`` multiplies the gradient (norm clipping) and ``rate`` is the learning rate, (1,)
        each; all lie on one place.
        """
        count = gradient.size
        states = {name: state[:count] for name, state in self.states.items()}
        self.step(parameters[:count], states, gradient, number, factor=factor, rate=rate)

    def step(
        self,
        parameters: Array,
        states: Mapping[str, Array],
        gradient: Array,
        number: int,
        *,
        factor: Array,
        rate: Array,
    ) -> None:
        """Change parameters and states in place; arguments as of `update`, all of one size."""
        raise NotImplementedError
