"""Bidirectional vanilla recurrent layer; its output is the sum of the two directions.

Hannun et al. 2014 (arXiv 1412.5567), section 2. Each direction has an input weight of its own,
where the paper shares one.
"""

from __future__ import annotations

from dataclasses import dataclass

from majelpy import ops
from majelpy.array import Array
from majelpy.nn.batch import Batch
from majelpy.nn.parameters import Gradients, Parameter
from majelpy.nn.share import Share, States

DIRECTIONS = 2


@dataclass(frozen=True)
class Saved:
    """What `backward` needs: the layer's input and the states."""

    x: Array
    states: States


class BiRnn:
    """h_f and h_b with h_t = clip(W_ih x_t + b + W_hh h_{t-1}); the output is h_f + h_b.

    Parameters
    ----------
    name : str
    inputs, hidden : int
    share : Share
        Which of the directions, units and frames.
    """

    def __init__(self, name: str, inputs: int, hidden: int, *, recurrent_gain: float, share: Share):
        self._share = share
        self.weight_ih, self.weight_hh = f"{name}.weight_ih", f"{name}.weight_hh"
        self.bias = f"{name}.bias"
        self.inputs, self.hidden, self.recurrent_gain = inputs, hidden, recurrent_gain

    def parameters(self) -> list[Parameter]:
        """Weights of both directions, forward first: (2 hidden, inputs), (2, hidden, hidden)."""
        h = self.hidden
        return [
            Parameter(
                *(self.weight_ih, (DIRECTIONS * h, self.inputs), 2.0, self.inputs),
                *(DIRECTIONS, h),
            ),
            Parameter(
                *(self.weight_hh, (DIRECTIONS, h, h), self.recurrent_gain, h), *(DIRECTIONS, h)
            ),
            Parameter(self.bias, (DIRECTIONS * h,), 0.0, self.inputs, DIRECTIONS, h),
        ]

    def forward(self, x: Array, batch: Batch, weights: dict[str, Array]) -> tuple[Array, Saved]:
        """Return the share of the output (M, hidden) for x (M, inputs), and what backward needs."""
        share = self._share
        products = ops.gemm(x, weights[self.weight_ih], transpose_b=True, parts=share.parts)
        inputs = ops.bias(products, weights[self.bias])
        states = share.recur(inputs, batch, weights[self.weight_hh])
        return share.sum_directions(states.own), Saved(x, states)

    def backward(
        self,
        dy: Array,
        batch: Batch,
        saved: Saved,
        weights: dict[str, Array],
        gradients: Gradients,
    ) -> Array:
        """Push the parameters' gradients and return the gradient by the share of x."""
        share, states, weight = self._share, saved.states, weights[self.weight_hh]
        held, units = weight.shape[:2]
        d = share.recur_back(ops.repeat_directions(dy, held), batch, weight, states)
        rows = gradients.in_order(d)
        before = gradients.in_order(share.previous(states, batch))
        for direction in range(held):
            gradients.gemm(
                *(self.weight_hh, rows, before),
                part=direction,
                a_columns=(direction * units, (direction + 1) * units),
                b_columns=(direction * self.hidden, (direction + 1) * self.hidden),
            )
        gradients.gemm(self.weight_ih, rows, gradients.in_order(saved.x))
        gradients.sum(self.bias, rows)
        return share.direction_gradient(d, weights[self.weight_ih], self.hidden)
