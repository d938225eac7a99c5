"""Parameters of a model in one flat vector.

Policy. Parameters lie in name order, each from a multiple of 16 floats on, so that optimizer and
reduction see one vector. A rank may hold a share of each (majelpy/nn/share.py); checkpoint and
digest see the whole. Nobody writes the gaps between them: they are +0
from the start. Gradients have the same layout, with the loss in a place of its own behind them: it
goes through the same tree.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from majelpy import ops
from majelpy.array import Array, zeros
from majelpy.array.indexing import take
from majelpy.comm import tree
from majelpy.errors import ShapeError
from majelpy.nn.share import Share

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
    groups, units : int
        Its rows are ``groups`` times the units of a layer; 0 units: no rank has a share of it.
    """

    name: str
    shape: tuple[int, ...]
    gain: float
    fan_in: int
    groups: int = 1
    units: int = 0

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Layout:
    """Places of a share's parameters in its flat vector.

    Parameters
    ----------
    parameters : sequence of Parameter
        The whole ones.
    share : Share, optional
        What this rank holds of them; all of it by default.

    Attributes
    ----------
    parameters : list of Parameter
        As this rank holds them, in name order.
    size : int
        Length of the parameter vector, gaps included.
    loss : int
        Place of the loss in a gradient vector.
    gradient_size : int
        Length of a gradient vector.
    """

    def __init__(self, parameters: Sequence[Parameter], share: Share | None = None):
        self._share = share or Share()
        self._whole = {p.name: p for p in sorted(parameters, key=lambda p: p.name)}
        self.parameters = [self._held(p) for p in sorted(parameters, key=lambda p: p.name)]
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

    def _held(self, whole: Parameter) -> Parameter:
        """What this rank holds of a parameter."""
        if not whole.units:
            return whole
        groups, (first, last) = self._groups(whole), self._share.units(whole.units)
        count = groups[1] - groups[0], last - first
        at = 1 if whole.shape[0] == whole.groups * whole.units else 2
        rows = (math.prod(count),) if at == 1 else count
        return replace(whole, shape=(*rows, *whole.shape[at:]), groups=count[0], units=count[1])

    def _groups(self, whole: Parameter) -> tuple[int, int]:
        return self._share.directions if whole.groups == 2 else (0, whole.groups)

    def of_whole(self, name: str, tensor: np.ndarray) -> np.ndarray:
        """View this rank's share of a whole parameter."""
        whole = self._whole[name]
        if not whole.units:
            return tensor
        groups, units = self._groups(whole), self._share.units(whole.units)
        cut = tensor.reshape(whole.groups, whole.units, -1)
        return cut[slice(*groups), slice(*units)]

    def put_whole(self, vector: Array, name: str, tensor: np.ndarray) -> None:
        """Let the named parameter of a flat vector, on the CPU, be its share of a whole one."""
        held = self.view(vector, name).numpy()
        held[...] = self.of_whole(name, tensor).reshape(held.shape)

    def whole_shape(self, name: str) -> tuple[int, ...]:
        """Shape of a parameter, all shares together."""
        return self._whole[name].shape

    def initial(self, seed: int) -> Array:
        """Return the parameters that training starts from, on the CPU.

        Each parameter has a stream of random numbers of its own.
        """
        vector = zeros(self.size)
        for whole in self._whole.values():
            if whole.gain:
                stream = int.from_bytes(hashlib.sha256(whole.name.encode()).digest()[:7])
                numbers = ops.uniform(
                    whole.size, gain=whole.gain, fan_in=whole.fan_in, seed=seed, stream=stream
                )
                self.put_whole(vector, whole.name, numbers.numpy().reshape(whole.shape))
        return vector

    def blocks(self) -> list[tuple[int, int, int]]:
        """Return the blocks that the gradient's norm is summed in, as this rank holds them.

        With one part the block is the whole vector; with more, each part of each parameter (and
        direction) is one. A block is its number among all ranks', first element, and elements.
        """
        parts = self._share.parts
        if parts == 1:
            return [(0, 0, self.size)]
        found, number = [], 0
        for name, whole in self._whole.items():
            start, held = self._places[name]
            if not whole.units:
                found.append((number, start, held.size))
                number += 1
                continue
            (low, high), row = self._groups(whole), whole.size // whole.groups // whole.units
            bounds = tree.parts(whole.units, parts)
            first = bounds[self._share.unit_parts[0]][0]
            for group in range(whole.groups):
                for part, (a, b) in enumerate(bounds):
                    inside = self._share.unit_parts[0] <= part < self._share.unit_parts[1]
                    if low <= group < high and inside:
                        at = start + ((group - low) * held.units + a - first) * row
                        found.append((number, at, (b - a) * row))
                    number += 1
        return found


class Gradients:
    """Where a rank's layers put gradients: the slots of its leaves (majelpy/ops/leaves.py).

    Parameters
    ----------
    layout : Layout
    slots : (depth, layout.gradient_size) float32
        On the place of the activations.
    leaves : Leaves
        Over frames.
    order : Array of int64, optional
        The rows in the order of the leaves; by default they are.
    pushed : callable, optional
        Called with the first and the last column, exclusive, of what was pushed. Nobody writes
        these columns again in this step.
    rounded : bool
        Whether the tree keeps gradients in bfloat16 (majelpy/ops/leaves.py); never the loss.
    """

    def __init__(
        self,
        layout: Layout,
        slots: Any,
        leaves: ops.Leaves,
        order: Array | None = None,
        pushed: Callable[[int, int], None] | None = None,
        rounded: bool = False,
    ):
        self.layout = layout
        self.slots = slots
        self.leaves = leaves
        self._order = order
        self._pushed = pushed
        self._rounded = rounded

    def in_order(self, x: Array) -> Array:
        """Return the rows of x in the order of the leaves, as the others need them."""
        return x if self._order is None else take(x, self._order, axis=0)

    def gemm(self, name: str, a: Any, b: Any, *, part: int = 0, **columns: Any) -> None:
        """Push a^T b, the ``part``-th matrix of the named parameter's gradient."""
        start, parameter = self.layout.place(name)
        size = math.prod(parameter.shape[-2:])
        start += part * size
        to = (self.leaves, self.slots, start)
        ops.gemm_leaves(a, b, *to, rounded=self._rounded, **columns)
        self._tell(start, size)

    def sum(self, name: str, x: Any) -> None:
        """Push the column sums of x, the gradient of the named parameter."""
        start, parameter = self.layout.place(name)
        to = (self.leaves, self.slots, start)
        ops.sum_leaves(x, *to, rounded=self._rounded)
        self._tell(start, parameter.size)

    def loss(self, losses: Array, leaves: ops.Leaves) -> None:
        """Push the sums of the utterances' losses, (N,); the leaves are over utterances.

        A rank without the first time part has no losses to push.
        """
        mine = losses[: int(leaves.offsets[-1])]
        ops.sum_leaves(mine.reshape(mine.size, 1), leaves, self.slots, self.layout.loss)
        self._tell(self.layout.loss, 1)

    def _tell(self, start: int, size: int) -> None:
        if self._pushed is not None:
            self._pushed(start, start + size)


def digest(parameters: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over whole parameters in name order: name, shape and little-endian floats."""
    found = hashlib.sha256()
    for name, value in sorted(parameters.items()):
        found.update(f"{name} {value.shape}\n".encode())
        found.update(np.ascontiguousarray(value, dtype="<f4").data)
    return found.hexdigest()
