"""Dropout: some numbers become +0 in training, the rest is scaled up (Hannun et al. 2014, 2.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from majelpy import ops
from majelpy.array import Array
from majelpy.nn.layer import Layer, Pass
from majelpy.nn.parameters import Gradients
from majelpy.nn.share import Share
from majelpy.nn.signal import Columns, Signal
from majelpy.settings import setting


class Dropout(Layer):
    """A number's fate depends on seed, epoch, layer, utterance, frame and column alone."""

    learns = False

    @dataclass(frozen=True)
    class Settings:
        """What a recipe says of the layer beside its kind."""

        rate: float = setting(least=0, most=0.9, help="fraction that is dropped (1/256 steps)")

    def __init__(self, settings: Any, name: str, number: int, inputs: Columns, share: Share):
        super().__init__(settings, name, number, inputs, share)
        self.outputs = inputs

    def forward(self, x: Signal, pass_: Pass) -> tuple[Signal, Any]:
        if pass_.training is None or not self.settings.rate:
            return x, None
        batch = x.batch
        drop = ops.Dropout(
            self.settings.rate,
            pass_.training.seed,
            pass_.training.epoch,
            batch.offsets,
            batch.ids,
            batch.starts,
        )
        if not self.inputs.cut:  # the input, which all ranks have
            y = drop.apply(x.whole, self.number)
            return Signal(self.share, batch, self.outputs.units, whole=y), drop
        return x.with_own(self._apply(drop, x.own)), drop

    def backward(
        self, dy: Array, saved: Any, pass_: Pass, gradients: Gradients, *, needed: bool
    ) -> Array | None:
        return dy if saved is None else self._apply(saved, dy)

    def _apply(self, drop: ops.Dropout, x: Array) -> Array:
        return drop.apply(x, self.number, self.share.units(self.inputs.units)[0])
