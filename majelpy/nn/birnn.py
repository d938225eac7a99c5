"""Bidirectional vanilla recurrent layer; its output is the sum of the two directions.

Hannun et al. 2014 (arXiv 1412.5567), section 2. Each direction has an input weight of its own,
where the paper shares one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from majelpy import ops
from majelpy.array import Array
from majelpy.nn.parameters import Gradients, Parameter

DIRECTIONS = 2


@dataclass(frozen=True)
class Saved:
    """What `backward` needs: the layer's input and the states of both directions."""

    x: Array
    h: Array


class BiRnn:
    """h_f and h_b with h_t = clip(W_ih x_t + b + W_hh h_{t-1}); the output is h_f + h_b.

    Parameters
    ----------
    name : str
    inputs, hidden : int
    """

    def __init__(self, name: str, inputs: int, hidden: int, *, recurrent_gain: float):
        self.weight_ih, self.weight_hh = f"{name}.weight_ih", f"{name}.weight_hh"
        self.bias = f"{name}.bias"
        self.inputs, self.hidden, self.recurrent_gain = inputs, hidden, recurrent_gain

    def parameters(self) -> list[Parameter]:
        """Weights of both directions, forward first: (2 hidden, inputs), (2, hidden, hidden)."""
        h = self.hidden
        return [
            Parameter(self.weight_ih, (DIRECTIONS * h, self.inputs), 2.0, self.inputs),
            Parameter(self.weight_hh, (DIRECTIONS, h, h), self.recurrent_gain, h),
            Parameter(self.bias, (DIRECTIONS * h,), 0.0, self.inputs),
        ]

    def forward(
        self, x: Array, offsets: np.ndarray, weights: dict[str, Array]
    ) -> tuple[Array, Saved]:
        """Return the output (M, hidden) for x (M, inputs), and what backward needs."""
        products = ops.gemm(x, weights[self.weight_ih], transpose_b=True)
        inputs = ops.bias(products, weights[self.bias])
        h = ops.rnn_forward(inputs, offsets, weights[self.weight_hh])
        return ops.sum_directions(h, DIRECTIONS), Saved(x, h)

    def backward(
        self,
        dy: Array,
        offsets: np.ndarray,
        saved: Saved,
        weights: dict[str, Array],
        gradients: Gradients,
    ) -> Array:
        """Push the parameters' gradients and return the gradient by x."""
        both = ops.repeat_directions(dy, DIRECTIONS)
        d = ops.rnn_backward(both, offsets, weights[self.weight_hh], saved.h)
        before = ops.rnn_previous(saved.h, offsets, DIRECTIONS)
        for direction in range(DIRECTIONS):
            columns = (direction * self.hidden, (direction + 1) * self.hidden)
            gradients.gemm(
                self.weight_hh, d, before, part=direction, a_columns=columns, b_columns=columns
            )
        gradients.gemm(self.weight_ih, d, saved.x)
        gradients.sum(self.bias, d)
        return ops.gemm(d, weights[self.weight_ih])
