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
        """What a recipe says of the layer beside its kind."""

        units: int = setting(least=1, most=1 << 16, help="units of each direction")
        gain: float = setting(
            0.5, least=0, most=4, help="variance of the recurrent weight at the start x its fan-in"
        )
        batch_norm: bool = setting(False, help="normalise the input's products, in place of b")

    cell: ClassVar[ops.Cell] = ops.RNN
    directions: ClassVar[int] = 1
    gain = 2.0

    def __init__(self, settings: Any, name: str, number: int, inputs: Columns, share: Share):
        super().__init__(settings, name, number, inputs, share)
        self.outputs = inputs.of_units(settings.units)
        self.weight_ih, self.weight_hh = f"{name}.weight_ih", f"{name}.weight_hh"
        self.bias = f"{name}.bias"
        self._parts = share.parts if inputs.cut else 1
        self._rows = (self.directions, self.cell.gates, settings.units)
        self._norm = Normaliser(name, self._rows, share) if settings.batch_norm else None

    def parameters(self) -> list[Parameter]:
        """Weights of all directions, forward first: (D G units, inputs), (D, G units, units)."""
        h, inputs, d = self.outputs.units, self.inputs.units, self.directions
        tall = self.cell.gates * h
        weights = [
            Parameter(self.weight_ih, (d * tall, inputs), self.gain, inputs, *self._rows),
            Parameter(self.weight_hh, (d, tall, h), self.settings.gain, h, *self._rows),
        ]
        if self._norm is not None:
            return [*weights, *self._norm.parameters()]
        return [*weights, Parameter(self.bias, (d * tall,), 0.0, inputs, *self._rows)]

    def forward(self, x: Signal, pass_: Pass) -> tuple[Signal, Any]:
        share = self.share
        weight = pass_.weight(self.weight_ih)
        products = ops.gemm(pass_.operand(x.whole), weight, transpose_b=True, parts=self._parts)
        norm = None
        if self._norm is not None:
            inputs, norm = self._norm.forward(products, x.batch, pass_)
        else:
            inputs = ops.bias(products, pass_.weights[self.bias])
        weight, cell = pass_.weight(self.weight_hh), pass_.cell(self.cell)
        states = share.recur(inputs, x.batch, weight, cell, self.directions)
        y = share.sum_directions(states.own, self.directions)
        return Signal(share, x.batch, self.outputs.units, own=y), Saved(x, states, norm)

    def backward(
        self, dy: Array, saved: Saved, pass_: Pass, gradients: Gradients, *, needed: bool
    ) -> Array | None:
        share, states, batch = self.share, saved.states, saved.x.batch
        weight, hidden = pass_.weight(self.weight_hh), self.outputs.units
        held, tall = weight.shape[:2]
        by_states = dy if held == 1 else ops.repeat_directions(dy, held)
        cell = pass_.cell(self.cell)
        d, ds = share.recur_back(by_states, batch, weight, states, cell, self.directions)
        rows = share.rows(batch)
        ordered = rows.of(d)
        sums = pass_.operand(rows.of(ds) if self.cell.apart else ordered)
        before = pass_.operand(rows.of(share.previous(states, batch, self.directions)))
        for direction in range(held):
            gradients.gemm(
                self.weight_hh,
                sums,
                before,
                rows.leaves,
                part=direction,
                a_columns=(direction * tall, (direction + 1) * tall),
                b_columns=(direction * hidden, (direction + 1) * hidden),
            )
        if self._norm is not None:
            d = self._norm.backward(d, saved.norm, pass_, gradients)
            ordered = rows.of(d)
        else:
            gradients.sum(self.bias, ordered, rows.leaves)
        inputs = pass_.operand(rows.of(saved.x.whole))
        gradients.gemm(self.weight_ih, pass_.operand(ordered), inputs, rows.leaves)
        if not needed:
            return None
        weight, d = pass_.weight(self.weight_ih), pass_.operand(d)
        return share.direction_gradient(d, weight, hidden, self.directions, self.cell.gates)


class BiRnn(Rnn):
    """The same in both directions: h_f + h_b."""

    directions = 2


class Gru(Rnn):
    """Gated recurrent units (`ops.rnn_forward`), from the first frame to the last."""

    cell, gain = ops.GRU, 1.0


class BiGru(Gru):
    """The same in both directions: h_f + h_b."""

    directions = 2


class Lstm(Rnn):
    """Long short-term memory (`ops.rnn_forward`), from the first frame to the last."""

    cell, gain = ops.LSTM, 1.0


class BiLstm(Lstm):
    """The same in both directions: h_f + h_b."""

    directions = 2
