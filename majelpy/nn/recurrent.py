"""Recurrent layers; the output of a bidirectional one is the sum of its two directions.

Hannun et al. 2014 (arXiv 1412.5567), section 2. Each direction has an input weight of its own,
where the paper shares one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from majelpy import ops
from majelpy.array import Array
from majelpy.nn.layer import Layer, Pass
from majelpy.nn.norm import Normaliser
from majelpy.nn.parameters import Gradients, Parameter
from majelpy.nn.share import Share, States
from majelpy.nn.signal import Columns, Signal
from majelpy.settings import setting


@dataclass(frozen=True)
class Saved:
    """The layer's input, its states, and what batch normalisation keeps."""

    x: Signal
    states: States
    norm: Any


class Rnn(Layer):
    """h_t = clip(W_ih x_t + b + W_hh h_{t-1}), from the first frame to the last."""

    @dataclass(frozen=True)
    class Settings:
        """Of the recipe."""

        units: int = setting(least=1, most=1 << 16, help="units of each direction")
        gain: float = setting(
            0.5, least=0, most=4, help="variance of the recurrent weight at the start x its fan-in"
        )
        batch_norm: bool = setting(False, help="normalise the input's products, in place of b")

    directions: ClassVar[int] = 1

    def __init__(self, settings: Any, name: str, number: int, inputs: Columns, share: Share):
        super().__init__(settings, name, number, inputs, share)
        self.outputs = inputs.of_units(settings.units)
        self.weight_ih, self.weight_hh = f"{name}.weight_ih", f"{name}.weight_hh"
        self.bias = f"{name}.bias"
        self._parts = share.parts if inputs.cut else 1
        self._rows = (self.directions, 1, settings.units)
        self._norm = Normaliser(name, self._rows, share) if settings.batch_norm else None

    def parameters(self) -> list[Parameter]:
        """Weights of all directions, forward first: (D units, inputs), (D, units, units)."""
        h, inputs, d = self.outputs.units, self.inputs.units, self.directions
        weights = [
            Parameter(self.weight_ih, (d * h, inputs), 2.0, inputs, *self._rows),
            Parameter(self.weight_hh, (d, h, h), self.settings.gain, h, *self._rows),
        ]
        if self._norm is not None:
            return [*weights, *self._norm.parameters()]
        return [*weights, Parameter(self.bias, (d * h,), 0.0, inputs, *self._rows)]

    def forward(self, x: Signal, run: Pass) -> tuple[Signal, Any]:
        share = self.share
        products = ops.gemm(
            x.whole, run.weights[self.weight_ih], transpose_b=True, parts=self._parts
        )
        norm = None
        if self._norm is not None:
            inputs, norm = self._norm.forward(products, x.batch, run)
        else:
            inputs = ops.bias(products, run.weights[self.bias])
        states = share.recur(inputs, x.batch, run.weights[self.weight_hh], self.directions)
        y = share.sum_directions(states.own, self.directions)
        return Signal(share, x.batch, self.outputs.units, own=y), Saved(x, states, norm)

    def backward(
        self, dy: Array, saved: Saved, run: Pass, gradients: Gradients, *, needed: bool
    ) -> Array | None:
        share, states, batch = self.share, saved.states, saved.x.batch
        weight, hidden = run.weights[self.weight_hh], self.outputs.units
        held, units = weight.shape[:2]
        by_states = dy if held == 1 else ops.repeat_directions(dy, held)
        d = share.recur_back(by_states, batch, weight, states, self.directions)
        rows = share.rows(batch)
        ordered = rows.of(d)
        before = rows.of(share.previous(states, batch, self.directions))
        for direction in range(held):
            gradients.gemm(
                *(self.weight_hh, ordered, before, rows.leaves),
                part=direction,
                a_columns=(direction * units, (direction + 1) * units),
                b_columns=(direction * hidden, (direction + 1) * hidden),
            )
        if self._norm is not None:
            d = self._norm.backward(d, saved.norm, run, gradients)
            ordered = rows.of(d)
        else:
            gradients.sum(self.bias, ordered, rows.leaves)
        gradients.gemm(self.weight_ih, ordered, rows.of(saved.x.whole), rows.leaves)
        if not needed:
            return None
        return share.direction_gradient(d, run.weights[self.weight_ih], hidden, self.directions)


class BiRnn(Rnn):
    """The same in both directions: h_f + h_b."""

    directions = 2
