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
from majelpy.mesh import Mesh
from majelpy.nn.signal import Columns
from majelpy.plan.kinds import units_of
from majelpy.plan.layers import works
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
def most_slots(mesh: Mesh, leaves: int, parts: int) -> int:
    """Slots of the rank that needs most; by time a rank cannot add the halves of leaves it has."""
    everyone = range(0, mesh.ranks, 1 if mesh.slices > 1 else mesh.model)
    items = (mesh.items(leaves, parts, position) for position in everyone)
    return max(tree.stack(leaves * parts, ranges).depth for ranges in items)


def memory(work: Workload, mesh: Mesh, leaves: Sequence[Leaf]) -> Memory:
    """Return the memory of a rank that computes these leaves, and sums for its host."""
    layout = work.model(mesh).layout
    rows = most_slots(mesh, work.leaves, work.parts) + (mesh.ranks > 1)
    pool = (1 + work.states) * block(layout.size) + _activations(work, mesh, leaves)
    slots = FLOAT_BYTES * rows * layout.gradient_size
    return Memory(pool, slots, _workspace(work, mesh, leaves))


def _activations(work: Workload, mesh: Mesh, leaves: Sequence[Leaf]) -> int:
    """Bytes at the peak: what layers below keep for the backward pass, and the layer at work."""
    utterances, model = [u for leaf in leaves for u in leaf], work.model(mesh)

    def rows(columns: Columns, *widths: int) -> int:
        frames = sum(-(-u.after(columns.stride) // mesh.slices) for u in utterances)
        return sum(block(frames * width) for width in widths)

    layers = works(model, mesh.way)
    features = layers[0][0].inputs
    # This minibatch and those that are read meanwhile, an utterance at a time.
    kept = (1 + Launch().prefetch) * rows(features, features.units)
    kept += block(max((u.frames for u in utterances), default=0) * features.units)
    signal = peak = 0  # signal: of the layer's input, unless it is kept below
    after = []
    for layer, found in layers:
        inputs, outputs, arrays = layer.inputs, layer.outputs, found.arrays
        if arrays.whole and units_of(inputs, model.share) < inputs.units:
            signal += rows(inputs, inputs.units)
        made = rows(outputs, units_of(outputs, model.share))
        own = rows(outputs, *arrays.kept)
        peak = max(peak, kept + signal + own + made + rows(outputs, *arrays.forward))
        kept += own + (signal if arrays.keeps_input else 0) + (made if arrays.keeps_output else 0)
        signal = 0 if arrays.keeps_output else made
        after.append(kept)
    logits = layers[-1][0].outputs
    gradient = rows(logits, logits.units)
    peak = max(peak, kept + signal + gradient)
    first = model.first_learning
    for place in reversed(range(first, len(layers))):
        layer, found = layers[place]
        inputs = layer.inputs
        own = rows(layer.outputs, *found.arrays.backward)
        own += block(len(leaves) * work.parts // mesh.slices * found.arrays.by_leaf)
        last = rows(inputs, inputs.units) if place > first else 0  # the gradient by the input
        if work.parts > 1:
            own += rows(layer.outputs, *found.arrays.ordered)
            if found.recurrence and last:
                last = _by_gates(found.recurrence, last, partial(rows, layer.outputs))
            last = max(last, rows(layer.outputs, found.arrays.beside))
        last = max(last, rows(layer.outputs, found.arrays.freed))
        peak = max(peak, after[place] + gradient + own + last)
        gradient = rows(inputs, units_of(inputs, model.share))
    return peak


def _by_gates(steps: Recurrence, gradient: int, rows: Callable[[int], int]) -> int:
    """Bytes of a gradient by the input, where parts add those of each direction and gate."""
    if steps.directions == steps.gates == 1:
        return gradient
    total = 2 * gradient + max(gradient, rows(steps.units))
    if steps.directions > 1 < steps.gates:
        total += gradient + rows(steps.gates * steps.units)
    return total


def _workspace(work: Workload, mesh: Mesh, leaves: Sequence[Leaf]) -> int:
    """Bytes that one thread keeps: packed weights of a recurrent layer, the lattice of CTC."""
    model = work.model(mesh)
    packed = _PACKED
    for _, found in works(model, mesh.way):
        if found.recurrence:
            panels = -(-found.recurrence.units // _PANEL) * _PANEL
            packed = max(packed, found.recurrence.directions * found.recurrence.hidden * panels)
    lattice = max(
        ((5 * u.after(model.stride) + 7) * (2 * u.labels + 1) for leaf in leaves for u in leaf),
        default=0,
    )
    return FLOAT_BYTES * (packed + lattice)
