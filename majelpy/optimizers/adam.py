"""Adam with decoupled decay (AdamW)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from majelpy import ops
from majelpy.array import Array
from majelpy.optimizers.optimizer import Optimizer
from majelpy.settings import setting


class Adam(Optimizer):
    """Of Kingma and Ba 2015, Loshchilov and Hutter 2019; see `ops.adam`."""

    STATES = ("first_moments", "second_moments")

    @dataclass(frozen=True)
    class Settings:
        """How much of the past stays, and what keeps the step finite."""

        beta1: float = setting(
            0.9, least=0, most=0.999999, help="how much of the first moment stays"
        )
        beta2: float = setting(
            0.999, least=0, most=0.999999, help="how much of the second moment stays"
        )
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
        own, place = self.settings, parameters.place
        ops.adam(
            parameters,
            states["first_moments"],
            states["second_moments"],
            gradient,
            factor=factor,
            rate=rate,
            weights=ops.moment_weights(number, beta1=own.beta1, beta2=own.beta2, device=place),
            beta1=own.beta1,
            beta2=own.beta2,
            epsilon=own.epsilon,
            decay=self.decay,
        )
