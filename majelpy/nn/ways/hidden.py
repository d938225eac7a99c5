"""Hidden parts: each rank has some of the units of every layer, and their rows of the weights.

Policy. Forward, a rank computes its units from all inputs, and the ranks gather each other's units,
the recurrent layer's after every time step. Backward, a rank has the products of its own units with
its rows for all units of the layer before; each part's owner adds up, by the tree, what the parts
of all ranks have for its units. So weights, gradients and optimizer state are divided among ranks.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from majelpy import ops, tree
from majelpy.array import Array, empty
from majelpy.memory import CPU
from majelpy.nn.batch import Batch
from majelpy.nn.share import Share, States
from majelpy.nn.ways.neighbours import Neighbours
from majelpy.standard.manipulation import concat


class HiddenShare(Share):
    """The units of some parts of every layer.

    Parameters
    ----------
    parts : int
        Of the recipe; at least as many as there are ranks.
    neighbours : Neighbours
    """

    def __init__(self, parts: int, neighbours: Neighbours):
        super().__init__(parts)
        self._neighbours = neighbours
        count = neighbours.count
        self._held = [tree.leaf_range(parts, count, index) for index in range(count)]
        self.unit_parts = self._held[neighbours.index]

    def gather(self, y: Array, units: int) -> Array:
        others = self._neighbours.others()
        shapes = []
        for rank in others:
            first, last = self.units_in(self._held[rank], units)
            shapes.append((rank, (y.shape[0], last - first)))
        found = self._neighbours.exchange([(rank, y) for rank in others], shapes)
        pieces = {self._neighbours.index: y}
        for rank, x in zip(others, found, strict=True):
            pieces[rank] = x.to_device(y.place)
        return concat(tuple(pieces[rank] for rank in sorted(pieces)), axis=1)

    def unit_gradient(self, d: Array, weight: Array, units: int) -> Array:
        inputs, index = weight.shape[1], self._neighbours.index
        nodes = self._nodes(d, weight, units)
        rows, (first, last) = d.shape[0], self.units(inputs)
        sent, shapes = [], []
        for rank in self._neighbours.others():
            low, high = self.units_in(self._held[rank], inputs)
            sent += [(rank, node[:, low:high]) for node in nodes]
            count = len(tree.nodes(self.parts, *self._held[rank]))
            shapes += [(rank, (rows, last - first))] * count
        found = self._neighbours.exchange(sent, shapes)
        # In the order of parts, this rank's among the others'.
        mine = [node[:, first:last] for node in nodes]
        before = sum(1 for rank, _ in shapes if rank < index)
        ordered = [*found[:before], *mine, *found[before:]]
        items = [node for held in self._held for node in tree.nodes(self.parts, *held)]
        total = empty((rows, last - first))
        ops.tree_sum(
            [x.reshape(x.size).numpy() for x in ordered],
            tree.node_merges(self.parts, items),
            [total.reshape(total.size).numpy()],
        )
        return total.to_device(d.place)

    def _nodes(self, d: Array, weight: Array, units: int) -> list[Array]:
        """Maximal subtrees, on the CPU, of the products of this rank's parts: (M, inputs) each."""
        first, last = self.unit_parts
        bounds = tree.parts(units, self.parts)
        start = bounds[first][0]
        products = [
            ops.gemm(d[:, a - start : b - start], weight[a - start : b - start]).to_device(CPU)
            for a, b in bounds[first:last]
        ]
        program = tree.stack(self.parts, [self.unit_parts])
        if not any(program.merges):
            return products
        nodes = [empty(products[0].shape) for _ in program.nodes]
        ops.tree_sum(
            [x.reshape(x.size).numpy() for x in products],
            program.merges,
            [x.reshape(x.size).numpy() for x in nodes],
        )
        return nodes

    def recur(
        self, x: Array, batch: Batch, weight: Array, cell: ops.Cell, directions: int
    ) -> States:
        units, steps, rows = weight.shape[2], ops.Steps.of(batch.offsets), x.shape[0]
        held = weight.shape[1] // cell.gates
        h = empty((rows, directions * held), device=x.place)
        kept = empty((rows, directions * cell.kept * held), device=x.place) if cell.kept else None
        own = self._own(batch, cell, directions, held, x)
        whole = sums = None
        for step in range(_most(batch)):
            if whole is not None:
                sums = _stacked(
                    ops.gemm(whole[d], weight[d], transpose_b=True, parts=self.parts)
                    for d in range(directions)
                )
            state = ops.rnn_forward_step(
                x,
                steps,
                step,
                sums,
                directions,
                h,
                cell=cell,
                own=own,
                kept=kept,
            )
            live = steps.live(step + 1)
            if live:
                mine = state[:, :live].reshape(directions * live, held)
                whole = self.gather(mine, units).reshape(directions, live, units)
        every = (self.gather(h[:, d * held : (d + 1) * held], units) for d in range(directions))
        return States(h, concat(tuple(every), axis=1), kept)

    @staticmethod
    def _own(batch: Batch, cell: ops.Cell, directions: int, held: int, like: Array) -> Array | None:
        """Room for what goes on from step to step beside the states."""
        shape = (directions, len(batch.lengths), held)
        return empty(shape, device=like.place) if cell.own else None

    def recur_back(
        self,
        dy: Array,
        batch: Batch,
        weight: Array,
        states: States,
        cell: ops.Cell,
        directions: int,
    ) -> tuple[Array, Array]:
        units, steps = weight.shape[2], ops.Steps.of(batch.offsets)
        held = weight.shape[1] // cell.gates
        dx = empty((dy.shape[0], directions * cell.gates * held), device=dy.place)
        ds = empty(dx.shape, device=dy.place) if cell.apart else dx
        read = states.own if states.kept is None else states.kept
        own = self._own(batch, cell, directions, held, dy)
        state = sums = None
        for step in range(_most(batch)):
            live = steps.live(step)
            if state is not None:
                sums = _stacked(
                    self._gate_sums(state[d][:live], weight[d], units, held)
                    for d in range(directions)
                )
            state = ops.rnn_backward_step(
                dy,
                read,
                steps,
                step,
                sums,
                directions,
                dx,
                cell=cell,
                own=own,
                ds=ds,
            )
        return dx, ds

    def _gate_sums(self, d: Array, weight: Array, units: int, held: int) -> Array:
        """Each gate's sum for the units here, side by side, (live, G * h)."""
        gates = (
            self.unit_gradient(d[:, at : at + held], weight[at : at + held], units)
            for at in range(0, d.shape[1], held)
        )
        return concat(tuple(gates), axis=1)


def _most(batch: Batch) -> int:
    """Frames of the longest utterance."""
    return int(np.diff(batch.offsets).max(initial=0))


def _stacked(parts: Iterable[Array]) -> Array:
    return concat([x.reshape(1, *x.shape) for x in parts], axis=0)
