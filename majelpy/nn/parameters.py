"""Parameters of a model in one flat vector.

Policy. Parameters lie in name order, each from a multiple of 16 floats on, so that optimizer,
reduction, checkpoint and digest see one vector. Nobody writes the gaps between them: they are +0
from the start. Gradients have the same layout, with the loss in a place of its own behind them: it
goes through the same tree.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from majelpy import ops
from majelpy.array import CPU, Array, zeros
from majelpy.errors import ShapeError

ALIGNMENT = 16


@dataclass(frozen=True)
class Parameter:
    """Description of one parameter.

    Attributes
    ----------
    name : str
    shape : tuple of int
    gain, fan_in : float, int
        Starts uniform with variance gain / fan_in; a gain of 0 starts at 0.
    """

    name: str
    shape: tuple[int, ...]
    gain: float
    fan_in: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Layout:
    """Places of parameters in the flat vector.

    Attributes
    ----------
    size : int
        Length of the parameter vector, gaps included.
    loss : int
        Place of the loss in a gradient vector.
    gradient_size : int
        Length of a gradient vector.
    """

    def __init__(self, parameters: Sequence[Parameter]):
        self.parameters = sorted(parameters, key=lambda p: p.name)
        self._places: dict[str, tuple[int, Parameter]] = {}
        self.size = 0
        for parameter in self.parameters:
            if parameter.name in self._places:
                raise ShapeError(f"layout: two parameters are named {parameter.name!r}")
            self._places[parameter.name] = (self.size, parameter)
            self.size += -(-parameter.size // ALIGNMENT) * ALIGNMENT
        self.loss = self.size
        self.gradient_size = self.size + ALIGNMENT

    def place(self, name: str) -> tuple[int, Parameter]:
        """First element of that parameter, and its description."""
        return self._places[name]

    def view(self, vector: Array, name: str) -> Array:
        """The named parameter within a flat vector."""
        start, parameter = self._places[name]
        return vector[start : start + parameter.size].reshape(*parameter.shape)

    def items(self, vector: Array) -> Iterator[tuple[str, Array]]:
        """Name and view of each parameter, in name order."""
        for parameter in self.parameters:
            yield parameter.name, self.view(vector, parameter.name)

    def initial(self, seed: int) -> Array:
        """Return the parameters that training starts from, on the CPU.

        Each parameter has a stream of random numbers of its own.
        """
        vector = zeros(self.size)
        for parameter in self.parameters:
            if parameter.gain:
                stream = int.from_bytes(hashlib.sha256(parameter.name.encode()).digest()[:7])
                self.view(vector, parameter.name).numpy()[...] = (
                    ops.uniform(
                        parameter.size,
                        gain=parameter.gain,
                        fan_in=parameter.fan_in,
                        seed=seed,
                        stream=stream,
                    )
                    .numpy()
                    .reshape(parameter.shape)
                )
        return vector

    def digest(self, vector: Array) -> str:
        """SHA-256 over the parameters in name order: name, shape and little-endian floats."""
        digest = hashlib.sha256()
        for name, value in self.items(vector.to_device(CPU)):
            digest.update(f"{name} {value.shape}\n".encode())
            digest.update(value.numpy().astype("<f4", copy=False).tobytes())
        return digest.hexdigest()


class Gradients:
    """Where a rank's layers put gradients: the slots of its leaves (majelpy/ops/leaves.py).

    Parameters
    ----------
    layout : Layout
    slots : (depth, layout.gradient_size) float32
        On the place of the activations.
    leaves : Leaves
        Over frames.
    pushed : callable, optional
        Called with the first and the last column, exclusive, of what was pushed. Nobody writes
        these columns again in this step.
    """

    def __init__(
        self,
        layout: Layout,
        slots: Any,
        leaves: ops.Leaves,
        pushed: Callable[[int, int], None] | None = None,
    ):
        self.layout = layout
        self.slots = slots
        self.leaves = leaves
        self._pushed = pushed

    def gemm(self, name: str, a: Any, b: Any, *, part: int = 0, **columns: Any) -> None:
        """Push a^T b, the ``part``-th matrix of the named parameter's gradient."""
        start, parameter = self.layout.place(name)
        size = math.prod(parameter.shape[-2:])
        start += part * size
        ops.gemm_leaves(a, b, self.leaves, self.slots, start, **columns)
        self._tell(start, size)

    def sum(self, name: str, x: Any) -> None:
        """Push the column sums of x, the gradient of the named parameter."""
        start, parameter = self.layout.place(name)
        ops.sum_leaves(x, self.leaves, self.slots, start)
        self._tell(start, parameter.size)

    def loss(self, losses: Array, leaves: ops.Leaves) -> None:
        """Push the sums of the utterances' losses, (N,); the leaves are over utterances."""
        ops.sum_leaves(losses.reshape(losses.size, 1), leaves, self.slots, self.layout.loss)
        self._tell(self.layout.loss, 1)

    def _tell(self, start: int, size: int) -> None:
        if self._pushed is not None:
            self._pushed(start, start + size)
