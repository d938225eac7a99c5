"""Dense layer: y = x W^T + b, with the clipped rectifier or without."""

from __future__ import annotations

from majelpy import ops
from majelpy.array import Array
from majelpy.nn.parameters import Gradients, Parameter


class Dense:
    """Affine map of each frame.

    Parameters
    ----------
    name : str
    inputs, outputs : int
    clipped : bool
        Apply min(max(y, 0), 20).
    """

    def __init__(self, name: str, inputs: int, outputs: int, *, clipped: bool):
        self.weight, self.bias = f"{name}.weight", f"{name}.bias"
        self.inputs, self.outputs, self.clipped = inputs, outputs, clipped

    def parameters(self) -> list[Parameter]:
        """Weight (outputs, inputs) and bias (outputs,)."""
        gain = 2.0 if self.clipped else 1.0
        return [
            Parameter(self.weight, (self.outputs, self.inputs), gain, self.inputs),
            Parameter(self.bias, (self.outputs,), 0.0, self.inputs),
        ]

    def forward(self, x: Array, weights: dict[str, Array]) -> Array:
        """Return y, (M, outputs), for x (M, inputs)."""
        products = ops.gemm(x, weights[self.weight], transpose_b=True)
        return ops.bias(products, weights[self.bias], clipped=self.clipped)

    def push(self, dy: Array, x: Array, y: Array, gradients: Gradients) -> Array:
        """Push the parameters' gradients; return the gradient before the rectifier."""
        d = ops.clip_backward(dy, y) if self.clipped else dy
        gradients.gemm(self.weight, d, x)
        gradients.sum(self.bias, d)
        return d

    def input_gradient(self, d: Array, weights: dict[str, Array]) -> Array:
        """Return the gradient by x, from that before the rectifier."""
        return ops.gemm(d, weights[self.weight])

    def backward(
        self, dy: Array, x: Array, y: Array, weights: dict[str, Array], gradients: Gradients
    ) -> Array:
        """Push the parameters' gradients and return the gradient by x."""
        return self.input_gradient(self.push(dy, x, y, gradients), weights)
