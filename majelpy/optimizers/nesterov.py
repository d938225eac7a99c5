"""SGD with Nesterov momentum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from majelpy import ops
from majelpy.array import Array
from majelpy.optimizers.optimizer import Optimizer
from majelpy.settings import setting


class Nesterov(Optimizer):
    """Of Sutskever et al. 2013; see `ops.nesterov`."""

    STATES = ("velocities",)

    @dataclass(frozen=True)
    class Settings:
        """How much of the past stays."""

        momentum: float = setting(0.9, least=0, most=1, help="how much of the velocity stays")

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
        ops.nesterov(
            parameters,
            states["velocities"],
            gradient,
            factor=factor,
            rate=rate,
            momentum=self.settings.momentum,
            decay=self.decay,
        )
