"""Memory of a rank: what a training takes from the pool, and what lies outside of it.

Policy. The arrays that live at the peak of a step are listed as majelpy/nn/model.py makes them,
each rounded up to a power of two as the pool does. Features kept by `--cache-bytes` and the
interpreter itself do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from majelpy import tree
from majelpy.comm.bucket import FLOAT_BYTES
from majelpy.memory.pool import SMALLEST
from majelpy.nn.signal import Columns
from majelpy.plan.compute import parameters
from majelpy.plan.kinds import units_of
from majelpy.plan.layers import learning, works
from majelpy.plan.layout import Layout
from majelpy.plan.work import Recurrence
from majelpy.plan.workload import Leaf, Workload
from majelpy.recipes.launch import Launch

_PANEL = 32  # columns of a packed panel, with the widest vectors
_PACKED = 64 * _PANEL * 256  # floats that a product packs at most (kernels/cpu/gemm.cpp)


@dataclass(frozen=True)
class Memory:
    """Bytes of a rank.

    Attributes
    ----------
    pool : int
        Peak of the pool: parameters, the optimizer's states and activations.
    slots : int
        Gradient vectors: the stack of leaves, and the host's result.
    workspace : int
        What the kernels pack.
    """

    pool: int
    slots: int
    workspace: int

    @property
    def total(self) -> int:
        return self.pool + self.slots + self.workspace


def block(floats: int) -> int:
    """Bytes of the block that the pool gives for so many floats."""
    return max(SMALLEST, 1 << (FLOAT_BYTES * floats - 1).bit_length()) if floats else 0


@lru_cache(maxsize=4096)
def most_slots(leaves: int, parts: int, data: int, way: str) -> int:
    """Slots of the rank that needs most; by time a rank cannot add the halves of leaves it has."""
    most = 0
    for rank in range(data):
        first, last = tree.leaf_range(leaves, data, rank)
        ranges = [(first * parts, last * parts)]
        if way == "time":
            ranges = [(n * parts, n * parts + parts // 2) for n in range(first, last)]
        most = max(most, tree.stack(leaves * parts, ranges).depth)
    return most


def memory(work: Workload, layout: Layout, leaves: Sequence[Leaf]) -> Memory:
    """Return the memory of a rank that computes these leaves, and sums for its host."""
    vector = parameters(work, layout)
    rows = most_slots(work.leaves, work.parts, layout.data, layout.way) + (layout.ranks > 1)
    pool = (1 + work.states) * block(vector) + _activations(work, layout, leaves)
    return Memory(pool, FLOAT_BYTES * rows * vector, _workspace(work, layout, leaves))


def _activations(work: Workload, layout: Layout, leaves: Sequence[Leaf]) -> int:
    """Bytes at the peak: what layers below keep for the backward pass, and the layer at work."""
    utterances = [u for leaf in leaves for u in leaf]

    def rows(columns: Columns, *widths: int) -> int:
        frames = sum(-(-u.after(columns.stride) // layout.slices) for u in utterances)
        return sum(block(frames * width) for width in widths)

    layers = works(work.model, layout)
    features = layers[0][0].inputs
    # This minibatch and those that are read meanwhile, an utterance at a time.
    kept = (1 + Launch().prefetch) * rows(features, features.units)
    kept += block(max((u.frames for u in utterances), default=0) * features.units)
    signal = peak = 0  # signal: of the layer's input, unless it is kept below
    after = []
    for layer, found in layers:
        inputs, outputs, arrays = layer.inputs, layer.outputs, found.arrays
        if arrays.whole and units_of(inputs, layout) < inputs.units:
            signal += rows(inputs, inputs.units)
        made = rows(outputs, units_of(outputs, layout))
        own = rows(outputs, *arrays.kept)
        peak = max(peak, kept + signal + own + made + rows(outputs, *arrays.forward))
        kept += own + (signal if arrays.keeps_input else 0) + (made if arrays.keeps_output else 0)
        signal = 0 if arrays.keeps_output else made
        after.append(kept)
    logits = layers[-1][0].outputs
    gradient = rows(logits, logits.units)
    peak = max(peak, kept + signal + gradient)
    first = learning(work.model)
    for place in reversed(range(first, len(layers))):
        layer, found = layers[place]
        inputs = layer.inputs
        own = rows(layer.outputs, *found.arrays.backward)
        own += block(len(leaves) * work.parts // layout.slices * found.arrays.by_leaf)
        last = rows(inputs, inputs.units) if place > first else 0  # the gradient by the input
        if work.parts > 1:
            own += rows(layer.outputs, *found.arrays.ordered)
            if found.recurrence and last:
                last = _by_gates(found.recurrence, last, partial(rows, layer.outputs))
            last = max(last, rows(layer.outputs, found.arrays.beside))
        last = max(last, rows(layer.outputs, found.arrays.freed))
        peak = max(peak, after[place] + gradient + own + last)
        gradient = rows(inputs, units_of(inputs, layout))
    return peak


def _by_gates(steps: Recurrence, gradient: int, rows: Callable[[int], int]) -> int:
    """Bytes of a gradient by the input, where parts add those of each direction and gate."""
    if steps.directions == steps.gates == 1:
        return gradient
    total = 2 * gradient + max(gradient, rows(steps.units))
    if steps.directions > 1 < steps.gates:
        total += gradient + rows(steps.gates * steps.units)
    return total


def _workspace(work: Workload, layout: Layout, leaves: Sequence[Leaf]) -> int:
    """Bytes that one thread keeps: packed weights of a recurrent layer, the lattice of CTC."""
    stride = work.model.stride
    packed = _PACKED
    for _, found in works(work.model, layout):
        if found.recurrence:
            panels = -(-found.recurrence.units // _PANEL) * _PANEL
            packed = max(packed, found.recurrence.directions * found.recurrence.hidden * panels)
    lattice = max(
        ((5 * u.after(stride) + 7) * (2 * u.labels + 1) for leaf in leaves for u in leaf),
        default=0,
    )
    return FLOAT_BYTES * (packed + lattice)
