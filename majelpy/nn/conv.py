"""Convolutions over frames: the 2-d front end, and row convolution.

Amodei et al. 2016 (arXiv 1512.02595), sections 3.4 and 3.7.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from majelpy import ops
from majelpy.array import Array
from majelpy.errors import RecipeError
from majelpy.nn.layer import Layer, Pass
from majelpy.nn.norm import Normaliser
from majelpy.nn.parameters import Gradients, Parameter, over_items
from majelpy.nn.share import Frames, Share
from majelpy.nn.signal import Columns, Signal
from majelpy.settings import setting


@dataclass(frozen=True)
class Saved:
    """Input and output, the frames read, and what batch normalisation keeps."""

    x: Signal
    read: Frames
    y: Array
    norm: Any


class Conv(Layer):
    """Convolution over time and frequency, and the clipped rectifier.

    Every rank that shares the model computes all channels, and keeps its columns of what follows.
    """

    @dataclass(frozen=True)
    class Settings:
        """What a recipe says of the layer beside its kind."""

        channels: int = setting(least=1, most=4096, help="outputs at each place of frequency")
        kernel: tuple[int, ...] = setting(least=1, most=512, help="frames and features seen")
        stride: tuple[int, ...] = setting(
            (1, 1), least=1, most=64, help="frames and features from one output to the next"
        )
        batch_norm: bool = setting(False, help="normalise before the rectifier")

    def __init__(self, settings: Any, name: str, number: int, inputs: Columns, share: Share):
        super().__init__(settings, name, number, inputs, share)
        if not inputs.features:
            raise self.unfit("places of frequency: those of the features, or of a conv layer")
        for key, value in (("kernel", settings.kernel), ("stride", settings.stride)):
            if len(value) != 2:
                raise RecipeError(f"{key} is {list(value)}; needs two integers: time, frequency")
        places = -(-inputs.features // settings.stride[1])
        units = places * settings.channels
        self.outputs = Columns(units, places, inputs.stride * settings.stride[0])
        self.weight, self.bias = f"{name}.weight", f"{name}.bias"
        self._norm = Normaliser(name, (1, 1, units), share) if settings.batch_norm else None
        self._reach = ops.conv_reach(settings.kernel[0], settings.stride[0])
        self._stride = (settings.stride[0], settings.stride[1])

    def parameters(self) -> list[Parameter]:
        """Weight (channels, time, frequency, input channels), and a bias for each column."""
        inputs, units = self.inputs.units // self.inputs.features, self.outputs.units
        shape = (self.settings.channels, *self.settings.kernel, inputs)
        fan_in = self.settings.kernel[0] * self.settings.kernel[1] * inputs
        weight = Parameter(self.weight, shape, 2.0, fan_in)
        if self._norm is not None:
            return [weight, *self._norm.parameters()]
        return [weight, Parameter(self.bias, (units,), 0.0, fan_in, units=units)]

    def forward(self, x: Signal, pass_: Pass) -> tuple[Signal, Any]:
        lengths, share = x.batch.lengths, self.share
        needs = partial(self._reach.needed, lengths=lengths)
        read = share.frames(x.whole, x.batch, self._reach.out_lengths(lengths), needs)
        weight, features = pass_.weight(self.weight), self.inputs.features
        sums = ops.conv_frames(
            pass_.operand(read.rows),
            read.of,
            read.to,
            weight,
            features=features,
            stride=self._stride,
        )
        batch, own = x.batch.within(read.to), share.own_columns(sums, self.outputs.units)
        norm = None
        if self._norm is not None:
            y, norm = self._norm.forward(own, batch, pass_, clipped=True)
        else:
            y = ops.bias(own, pass_.weights[self.bias], clipped=True)
        return Signal(share, batch, self.outputs.units, own=y), Saved(x, read, y, norm)

    def backward(
        self, dy: Array, saved: Any, pass_: Pass, gradients: Gradients, *, needed: bool
    ) -> Array | None:
        share, read, before = self.share, saved.read, saved.x.batch
        batch = before.within(read.to)
        rows = share.rows(batch)
        d = ops.rectify_backward(dy, saved.y)
        if self._norm is not None:
            d = self._norm.backward(d, saved.norm, pass_, gradients)
        else:
            gradients.sum(self.bias, rows.of(d), rows.leaves)
        d = pass_.operand(share.gather(d, self.outputs.units))
        features, (taps, width) = self.inputs.features, self.settings.kernel
        sums = ops.conv_frames_weight_gradient(
            d,
            pass_.operand(read.rows),
            read.of,
            read.to,
            rows.items,
            features=features,
            kernel=(taps, width),
            stride=self._stride,
        )
        gradients.items(self.weight, sums, over_items(rows.leaves))
        if not needed:
            return None
        fed = partial(self._reach.fed, lengths=before.lengths)
        by = share.frames(d, batch, before.lengths, fed)
        weight = pass_.weight(self.weight)
        dx = ops.conv_frames_input_gradient(
            by.rows,
            by.of,
            by.to,
            weight,
            features=features,
            stride=self._stride,
        )
        return share.own_columns(dx, self.inputs.units)


class RowConv(Layer):
    """y_t = sum over k of w_k x_{t+k}, unit by unit: what a model of one direction sees ahead."""

    @dataclass(frozen=True)
    class Settings:
        """What a recipe says of the layer beside its kind."""

        future: int = setting(20, least=0, most=1000, help="frames ahead that each frame sees")

    def __init__(self, settings: Any, name: str, number: int, inputs: Columns, share: Share):
        super().__init__(settings, name, number, inputs, share)
        self.outputs = inputs.shared()
        self.weight = f"{name}.weight"
        self._reach = ops.row_conv_reach(settings.future + 1)

    def parameters(self) -> list[Parameter]:
        """Weight (future + 1, units)."""
        taps, units = self._reach.taps, self.inputs.units
        return [Parameter(self.weight, (taps, units), 1.0, taps, groups=taps, units=units)]

    def forward(self, x: Signal, pass_: Pass) -> tuple[Signal, Any]:
        lengths = x.batch.lengths
        needs = partial(self._reach.needed, lengths=lengths)
        read = self.share.frames(x.own, x.batch, lengths, needs)
        weight = pass_.weight(self.weight)
        y = ops.row_conv(pass_.operand(read.rows), read.of, read.to, weight)
        batch = x.batch.within(read.to)
        return Signal(self.share, batch, self.outputs.units, own=y), (batch, read)

    def backward(
        self, dy: Array, saved: Any, pass_: Pass, gradients: Gradients, *, needed: bool
    ) -> Array | None:
        batch, read = saved
        rows, dy = self.share.rows(batch), pass_.operand(dy)
        sums = ops.row_conv_weight_gradient(
            dy,
            pass_.operand(read.rows),
            read.of,
            read.to,
            rows.items,
            taps=self._reach.taps,
        )
        gradients.items(self.weight, sums, over_items(rows.leaves))
        if not needed:
            return None
        fed = partial(self._reach.fed, lengths=batch.lengths)
        by = self.share.frames(dy, batch, batch.lengths, fed)
        return ops.row_conv_input_gradient(by.rows, by.of, by.to, pass_.weight(self.weight))
