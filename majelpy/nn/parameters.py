"""Parameters of a model in one flat vector.

Policy. Parameters lie in name order, each from a multiple of 16 floats on, so that optimizer and
reduction see one vector. A rank may hold a share of each (majelpy/nn/share.py); checkpoint and
digest see the whole. Nobody writes the gaps between them: they are +0 from the start. Behind those
that the optimizer trains lie those that follow statistics of the leaves. Gradients have the same
layout, with the sums of these statistics, and with the loss in a place of its own at the end: all
go through the same tree.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from majelpy import ops, tree
from majelpy.array import Array, zeros
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
        Starts uniform with variance gain / fan_in; with a gain of 0 all of it is ``start``.
    directions, groups, units : int
        Its rows, the one or two first axes, are directions times groups times the units of a layer;
        0 units: no rank has a share of it.
    start : float
    tracked : bool
        It is not trained, but follows a statistic of the leaves.
    """

    name: str
    shape: tuple[int, ...]
    gain: float
    fan_in: int
    directions: int = 1
    groups: int = 1
    units: int = 0
    start: float = 0.0
    tracked: bool = False

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def stream(self) -> int:
        """The stream of its random numbers."""
        return int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:7])


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
        As this rank holds them: those trained, then those tracked, in name order.
    trained, size : int
        Length of the trained part of the parameter vector, and of all of it, gaps included.
    loss : int
        Place of the loss in a gradient vector.
    gradient_size : int
        Length of a gradient vector.
    """

    def __init__(self, parameters: Sequence[Parameter], share: Share | None = None):
        self._share = share or Share()
        ordered = sorted(parameters, key=lambda p: (p.tracked, p.name))
        self._whole = {p.name: p for p in ordered}
        self.parameters = [self._held(p) for p in ordered]
        self._places: dict[str, tuple[int, Parameter]] = {}
        self.size = self.trained = 0
        for parameter in self.parameters:
            if parameter.name in self._places:
                raise ShapeError(f"layout: two parameters are named {parameter.name!r}")
            self._places[parameter.name] = (self.size, parameter)
            self.size += -(-parameter.size // ALIGNMENT) * ALIGNMENT
            if not parameter.tracked:
                self.trained = self.size
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
        """Name and view of each parameter, in the order of `parameters`."""
        for parameter in self.parameters:
            yield parameter.name, self.view(vector, parameter.name)

    def _held(self, whole: Parameter) -> Parameter:
        """What this rank holds of a parameter."""
        if not whole.units:
            return whole
        (low, high), (first, last) = self._held_of(whole)
        rows = (high - low) * whole.groups * (last - first)
        leading: tuple[int, ...] = (rows,)
        if whole.shape[0] != whole.directions * whole.groups * whole.units:
            outer = whole.shape[0] * (high - low) // whole.directions
            leading = (outer, rows // outer)
        shape = (*leading, *whole.shape[len(leading) :])
        return replace(whole, shape=shape, directions=high - low, units=last - first)

    def _held_of(self, whole: Parameter) -> tuple[tuple[int, int], tuple[int, int]]:
        """The directions and the units of a parameter that this rank holds."""
        return self._share.directions(whole.directions), self._share.units(whole.units)

    def of_whole(self, name: str, tensor: np.ndarray) -> np.ndarray:
        """View this rank's share of a whole parameter."""
        whole = self._whole[name]
        if not whole.units:
            return tensor
        directions, units = self._held_of(whole)
        cut = tensor.reshape(whole.directions, whole.groups, whole.units, -1)
        return cut[slice(*directions), :, slice(*units)]

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
            if not whole.gain:
                self.view(vector, whole.name).numpy()[...] = whole.start
            else:
                numbers = ops.uniform(
                    whole.size, gain=whole.gain, fan_in=whole.fan_in, seed=seed, stream=whole.stream
                )
                self.put_whole(vector, whole.name, numbers.numpy().reshape(whole.shape))
        return vector

    def blocks(self) -> list[tuple[int, int, int]]:
        """Return the blocks that the gradient's norm is summed in, as this rank holds them.

        With one part the block is all that is trained; with more, each part of each parameter (and
        direction) is one. A block is its number among all ranks', first element, and elements.
        """
        parts = self._share.parts
        if parts == 1:
            return [(0, 0, self.trained)]
        found, number = [], 0
        for name, whole in self._whole.items():
            start, held = self._places[name]
            if whole.tracked:
                continue
            if not whole.units:
                found.append((number, start, held.size))
                number += 1
                continue
            (low, high), _ = self._held_of(whole)
            row = whole.size // (whole.directions * whole.groups * whole.units)
            bounds = tree.parts(whole.units, parts)
            first = bounds[self._share.unit_parts[0]][0]
            for direction in range(whole.directions):
                for group in range(whole.groups):
                    for part, (a, b) in enumerate(bounds):
                        inside = self._share.unit_parts[0] <= part < self._share.unit_parts[1]
                        if low <= direction < high and inside:
                            before = (direction - low) * whole.groups + group
                            at = start + (before * held.units + a - first) * row
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
    pushed : callable, optional
        Called with the first and the last column, exclusive, of what was pushed. Nobody writes
        these columns again in this step.
    rounded : bool
        Whether the tree keeps gradients in bfloat16 (majelpy/ops/leaves.py); never statistics and
        the loss.

    Attributes
    ----------
    named : set of str
        Parameters of which something was pushed.
    """

    def __init__(
        self,
        layout: Layout,
        slots: Any,
        pushed: Callable[[int, int], None] | None = None,
        rounded: bool = False,
    ):
        self.layout, self.slots = layout, slots
        self._pushed, self._rounded = pushed, rounded
        self.named: set[str] = set()

    def gemm(
        self, name: str, a: Array, b: Array, leaves: ops.Leaves, *, part: int = 0, **columns: Any
    ) -> None:
        """Push a^T b, the ``part``-th matrix of the named parameter's gradient.

        Parameters
        ----------
        a, b : (M, columns)
            Rows in the order of the leaves: `Rows.of`.
        leaves : Leaves
            `Rows.leaves`.
        columns
            ``a_columns``, ``b_columns`` of `ops.gemm_leaves`.
        """
        start, parameter = self.layout.place(name)
        self.named.add(name)
        size = math.prod(parameter.shape[-2:])
        start += part * size
        ops.gemm_leaves(a, b, leaves, self.slots, start, rounded=self._rounded, **columns)
        self._tell(start, size)

    def sum(self, name: str, x: Array, leaves: ops.Leaves) -> None:
        """Push the column sums of x, the gradient or statistic of the named parameter."""
        start, parameter = self.layout.place(name)
        self.named.add(name)
        rounded = self._rounded and not parameter.tracked
        ops.sum_leaves(x, leaves, self.slots, start, rounded=rounded)
        self._tell(start, parameter.size)

    def items(self, name: str, sums: Array, leaves: ops.Leaves) -> None:
        """Push the gradient or statistic of the named parameter, a row for each item.

        Parameters
        ----------
        sums : (I, parameter's size)
            Of all items; a rank pushes the first of them, as many as ``leaves`` have.
        leaves : Leaves
            Over the rows: `over_items`, or `Share.once` for sums of whole leaves.
        """
        self.sum(name, sums[: int(leaves.offsets[-1])], leaves)

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


def over_items(leaves: ops.Leaves) -> ops.Leaves:
    """Return the same items over a matrix with a row for each."""
    return ops.Leaves(np.arange(len(leaves.merges) + 1, dtype=np.int64), leaves.merges)


def digest(parameters: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over whole parameters in name order: name, shape and little-endian floats."""
    found = hashlib.sha256()
    for name, value in sorted(parameters.items()):
        found.update(f"{name} {value.shape}\n".encode())
        found.update(np.ascontiguousarray(value, dtype="<f4").data)
    return found.hexdigest()
