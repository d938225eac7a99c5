"""Adagrad."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from majelpy import ops
from majelpy.array import Array
from majelpy.optimizers.optimizer import Optimizer
from majelpy.settings import setting


class Adagrad(Optimizer):
    """Of Duchi et al. 2011; see `ops.adagrad`."""

    STATES = ("squares",)

    @dataclass(frozen=True)
    class Settings:
        """What keeps the step finite."""

        epsilon: float = setting(
            1e-8, least=1e-20, help="added to the root that the step is divided by"
        )

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
        """See `Optimizer.step`."""
        ops.adagrad(
            parameters,
            states["squares"],
            gradient,
            factor=factor,
            rate=rate,
            epsilon=self.settings.epsilon,
            decay=self.decay,
        )
