"""Context window: each frame beside its neighbours (Hannun et al. 2014, section 2, layer 1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from majelpy import ops
from majelpy.array import Array
from majelpy.nn.layer import Layer, Pass
from majelpy.nn.parameters import Gradients
from majelpy.nn.share import Share, select
from majelpy.nn.signal import Columns, Signal
from majelpy.settings import setting


class Context(Layer):
    """Frames t-c..t+c of the input side by side, +0 beyond an utterance's ends."""

    learns = False

    @dataclass(frozen=True)
    class Settings:
        """What a recipe says of the layer beside its kind."""

        frames: int = setting(5, least=0, most=100, help="frames on each side")

    def __init__(self, settings: Any, name: str, number: int, inputs: Columns, share: Share):
        super().__init__(settings, name, number, inputs, share)
        if inputs.cut:
            raise self.unfit("the input: make it the first layer")
        self.outputs = Columns((2 * settings.frames + 1) * inputs.units, cut=False)

    def forward(self, x: Signal, pass_: Pass) -> tuple[Signal, Any]:
        batch, frames = x.batch, self.settings.frames
        needs = partial(ops.Reach(2 * frames + 1, frames).needed, lengths=batch.lengths)
        read = self.share.frames(x.whole, batch, batch.lengths, needs)
        y = select(ops.context(read.rows, read.of.offsets, frames), read.of, read.to)
        return Signal(self.share, batch.within(read.to), self.outputs.units, whole=y), None

    def backward(
        self, dy: Array, saved: Any, pass_: Pass, gradients: Gradients, *, needed: bool
    ) -> Array | None:
        return None  # it is the first layer
