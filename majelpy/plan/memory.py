"""Memory of a rank: what a training takes from the pool, and what lies outside of it.

Policy. The arrays that live at the peak of a step are listed as majelpy/nn/model.py makes them,
each rounded up to a power of two as the pool does. Features kept by `--cache-bytes` and the
interpreter itself do not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from majelpy.array.memory import SMALLEST
from majelpy.comm import tree
from majelpy.comm.bucket import FLOAT_BYTES
from majelpy.plan.compute import parameters
from majelpy.plan.layout import Layout
from majelpy.plan.workload import Leaf, Workload

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
    """Bytes at the peak: of the forward pass's results, and of the layer at work."""
    sizes = work.sizes
    utterances = [u for leaf in leaves for u in leaf]
    frames = sum(-(-u.frames // layout.slices) for u in utterances)

    def rows(*widths: int) -> int:
        return sum(block(frames * width) for width in widths)

    hidden, inputs, alphabet = sizes.recurrent, sizes.dense[-1], sizes.alphabet
    # This minibatch and the next one, which is read meanwhile.
    saved = rows(sizes.features, sizes.features, (2 * sizes.context + 1) * sizes.features)
    for width in (*sizes.dense, sizes.output_dense):
        saved += rows(layout.units(width))
        saved += rows(layout.units(width)) if work.dropout else 0
        saved += rows(width) if layout.way == "hidden" else 0  # gathered
    both = layout.directions * hidden
    own = layout.directions * layout.units(hidden)
    exchanged = hidden if layout.model > 1 else 0
    recurrent_forward = rows(own, own, both, hidden, exchanged)
    recurrent_backward = rows(both, hidden, exchanged) + rows(hidden, own, own, both, inputs)
    after = rows(both, hidden, exchanged, alphabet)  # what the backward pass finds besides
    # Of each dense layer the gradient by its output, that of the layer behind before its
    # rectifier, its own, and the gradient by its input.
    behind = [*sizes.dense[1:], 0]
    before = [0, *sizes.dense[:-1]]
    dense_backward = after + max(
        rows(width, layout.units(width)) + max(rows(layout.units(follows)), rows(inner))
        for width, follows, inner in zip(sizes.dense, behind, before, strict=True)
    )
    ctc = after + rows(alphabet, alphabet)
    peak = max(recurrent_forward, recurrent_backward + rows(alphabet), dense_backward, ctc)
    return saved + peak


def _workspace(work: Workload, layout: Layout, leaves: Sequence[Leaf]) -> int:
    """Bytes that one thread keeps: packed weights of the recurrent layer, the lattice of CTC."""
    hidden = work.sizes.recurrent
    panels = -(-layout.units(hidden) // _PANEL) * _PANEL
    lattice = max(
        ((5 * u.frames + 7) * (2 * u.labels + 1) for leaf in leaves for u in leaf), default=0
    )
    return FLOAT_BYTES * (max(layout.directions * hidden * panels, _PACKED) + lattice)
