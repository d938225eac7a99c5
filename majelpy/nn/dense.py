"""Dense layer: y = clip(W x + b), and the logits, without the clipped rectifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from majelpy import ops
from majelpy.array import Array
from majelpy.nn.layer import Layer, Pass
from majelpy.nn.norm import Normaliser
from majelpy.nn.parameters import Gradients, Parameter
from majelpy.nn.share import Share
from majelpy.nn.signal import Columns, Signal
from majelpy.settings import setting


@dataclass(frozen=True)
class Saved:
    """The input, this rank's share of the output, and what batch normalisation keeps."""

    x: Signal
    y: Array
    norm: Any


class Dense(Layer):
    """An affine map of each frame, and the clipped rectifier min(max(y, 0), 20)."""

    @dataclass(frozen=True)
    class Settings:
        """What a recipe says of the layer beside its kind."""

        units: int = setting(least=1, most=1 << 16, help="outputs")
        batch_norm: bool = setting(False, help="normalise before the rectifier, in place of b")

    gain = 2.0

    def __init__(self, settings: Any, name: str, number: int, inputs: Columns, share: Share):
        super().__init__(settings, name, number, inputs, share)
        self.outputs = inputs.of_units(settings.units)
        self.weight, self.bias = f"{name}.weight", f"{name}.bias"
        self._parts = share.parts if inputs.cut else 1
        rows = (1, 1, settings.units)
        self._norm = Normaliser(name, rows, share) if settings.batch_norm else None

    def parameters(self) -> list[Parameter]:
        """Weight (units, inputs) and bias (units,)."""
        units, inputs = self.outputs.units, self.inputs.units
        held = units if self.outputs.cut else 0
        weight = Parameter(self.weight, (units, inputs), self.gain, inputs, units=held)
        if self._norm is not None:
            return [weight, *self._norm.parameters()]
        return [weight, Parameter(self.bias, (units,), 0.0, inputs, units=held)]

    def forward(self, x: Signal, pass_: Pass) -> tuple[Signal, Any]:
        products, norm = self._products(x, pass_), None
        if self._norm is not None:
            y, norm = self._norm.forward(products, x.batch, pass_, clipped=True)
        else:
            y = ops.bias(products, pass_.weights[self.bias], clipped=True)
        return Signal(self.share, x.batch, self.outputs.units, own=y), Saved(x, y, norm)

    def _products(self, x: Signal, pass_: Pass) -> Array:
        weight = pass_.weight(self.weight)
        return ops.gemm(pass_.operand(x.whole), weight, transpose_b=True, parts=self._parts)

    def backward(
        self, dy: Array, saved: Any, pass_: Pass, gradients: Gradients, *, needed: bool
    ) -> Array | None:
        d = ops.rectify_backward(dy, saved.y)
        if self._norm is not None:
            d = self._norm.backward(d, saved.norm, pass_, gradients)
        self._push(d, saved.x, pass_, gradients)
        if not needed:
            return None
        weight = pass_.weight(self.weight)
        return self.share.unit_gradient(pass_.operand(d), weight, self.outputs.units)

    def _push(self, d: Array, x: Signal, pass_: Pass, gradients: Gradients) -> None:
        rows = self.share.rows(x.batch)
        ordered = rows.of(d)
        inputs = pass_.operand(rows.of(x.whole))
        gradients.gemm(self.weight, pass_.operand(ordered), inputs, rows.leaves)
        if self._norm is None:
            gradients.sum(self.bias, ordered, rows.leaves)


class Logits(Dense):
    """The last layer: log-probabilities of the alphabet. Its outputs are not shared among ranks."""

    gain = 1.0

    def __init__(self, settings: Any, name: str, number: int, inputs: Columns, share: Share):
        super().__init__(settings, name, number, inputs, share)
        self.outputs = Columns(settings.units, stride=inputs.stride, cut=False)

    def forward(self, x: Signal, pass_: Pass) -> tuple[Signal, Any]:
        logits = ops.bias(self._products(x, pass_), pass_.weights[self.bias])
        log_probs = ops.log_softmax(logits)
        return Signal(self.share, x.batch, self.outputs.units, whole=log_probs), x

    def backward(
        self, dy: Array, saved: Any, pass_: Pass, gradients: Gradients, *, needed: bool
    ) -> Array | None:
        """As `Layer.backward`; dy is by the logits, before the softmax."""
        self._push(dy, saved, pass_, gradients)
        weight = self.share.own_columns(pass_.weight(self.weight), self.inputs.units)
        return ops.gemm(pass_.operand(dy), weight) if needed else None
