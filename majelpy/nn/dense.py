"""Dense layer: y = x W^T + b, with the clipped rectifier or without."""

from __future__ import annotations

from majelpy import ops
from majelpy.array import Array
from majelpy.nn.parameters import Gradients, Parameter
from majelpy.nn.share import Share


class Dense:
    """Affine map of each frame.

    Parameters
    ----------
    name : str
    inputs, outputs : int
    clipped : bool
        Apply min(max(y, 0), 20).
    share : Share
        Which of the outputs, if they are units; the logits are not.
    of_units : bool
        The inputs are units of a layer.
    """

    def __init__(
        self,
        name: str,
        inputs: int,
        outputs: int,
        *,
        clipped: bool,
        share: Share,
        of_units: bool = True,
    ):
        self._share, self._units = share, outputs if clipped else 0
        self._parts = share.parts if of_units else 1
        self.weight, self.bias = f"{name}.weight", f"{name}.bias"
        self.inputs, self.outputs, self.clipped = inputs, outputs, clipped

    def parameters(self) -> list[Parameter]:
        """Weight (outputs, inputs) and bias (outputs,)."""
        gain = 2.0 if self.clipped else 1.0
        return [
            Parameter(
                *(self.weight, (self.outputs, self.inputs), gain, self.inputs), units=self._units
            ),
            Parameter(self.bias, (self.outputs,), 0.0, self.inputs, units=self._units),
        ]

    def forward(self, x: Array, weights: dict[str, Array]) -> Array:
        """Return the share of y, (M, outputs), for x (M, inputs)."""
        products = ops.gemm(x, weights[self.weight], transpose_b=True, parts=self._parts)
        return ops.bias(products, weights[self.bias], clipped=self.clipped)

    def push(self, dy: Array, x: Array, y: Array, gradients: Gradients) -> Array:
        """Push the parameters' gradients; return the gradient before the rectifier."""
        d = ops.clip_backward(dy, y) if self.clipped else dy
        rows = gradients.in_order(d)
        gradients.gemm(self.weight, rows, gradients.in_order(x))
        gradients.sum(self.bias, rows)
        return d

    def input_gradient(self, d: Array, weights: dict[str, Array]) -> Array:
        """Return the gradient by the share of x, from that before the rectifier."""
        if not self._units:
            first, last = self._share.units(self.inputs)
            weight = weights[self.weight]
            return ops.gemm(d, weight if last - first == self.inputs else weight[:, first:last])
        return self._share.unit_gradient(d, weights[self.weight], self.outputs)

    def backward(
        self, dy: Array, x: Array, y: Array, weights: dict[str, Array], gradients: Gradients
    ) -> Array:
        """Push the parameters' gradients and return the gradient by x."""
        return self.input_gradient(self.push(dy, x, y, gradients), weights)
