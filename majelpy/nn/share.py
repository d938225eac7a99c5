"""What of the model a rank computes, and what it exchanges with the ranks that compute the rest.

Policy. Layers are written once, for a *share* of the units, directions and frames; a share says
which these are and brings what the others have. The class here is the share of a rank alone: all
of it, and nothing to exchange. Others: majelpy/nn/ways.

A recipe's `model.parts` fixes the sums that ranks may split, whether or not they do: a sum over
units of a layer is cut in parts, and the frames of an utterance are cut in as many time parts, so a
leaf of the tree is itself a tree of parts (majelpy/tree.py).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from majelpy import ops, tree
from majelpy.array import Array, asarray
from majelpy.nn.batch import Batch, numbers, offsets_of
from majelpy.standard.indexing import take

Needs = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Of the first frames and the frames after the last, (N,) each, that a layer gives: which it reads;
such as `ops.Reach.needed` with the input's lengths."""


@dataclass(frozen=True)
class States:
    """What a recurrent layer keeps of its forward pass.

    Attributes
    ----------
    own : (M, D * h) float32
        States of this share's directions and units.
    whole : (M, D * H) float32
        States of this share's directions and all units.
    kept : (M, D * cell.kept * h) float32, optional
        What else the backward pass needs of this share's directions and units.
    carried : for each direction, the states its utterances went on from, or None
    """

    own: Array
    whole: Array
    kept: Array | None = None
    carried: tuple[ops.Carried | None, ...] = ()


@dataclass(frozen=True)
class Frames:
    """What a layer reads and gives that looks at frames beside each.

    Attributes
    ----------
    rows : (M, columns) float32
    of : Extent
        Which frames the rows are: all that the layer reads, and perhaps more.
    to : Extent
        Which frames the layer is to give.
    """

    rows: Array
    of: ops.Extent
    to: ops.Extent


@dataclass(frozen=True)
class Rows:
    """How sums over the frames of a batch run.

    Attributes
    ----------
    items : Items
        Rows of the tree's items, which are leaves or their time parts.
    leaves : Leaves
        The items over rows in the tree's order, and how they are added.
    order : Array of int64, optional
        The rows in the tree's order; None: they are.
    """

    items: ops.Items
    leaves: ops.Leaves
    order: Array | None

    def of(self, x: Array) -> Array:
        """Return the rows of x in the tree's order."""
        return x if self.order is None else take(x, self.order, axis=0)


class Share:
    """What of a model a rank computes: here all of it; the ways in nn/ways hold less.

    Parameters
    ----------
    parts : int
        Of the recipe.

    Attributes
    ----------
    unit_parts, time_parts : (first, last)
        What this rank holds of the parts of each layer's units, and of the parts of each
        utterance's frames.
    """

    def __init__(self, parts: int = 1):
        self.parts = parts
        self.unit_parts = (0, parts)
        self.time_parts = (0, parts)

    def directions(self, count: int) -> tuple[int, int]:
        """First and last direction of a recurrent layer that this rank holds."""
        return 0, count

    def units(self, count: int) -> tuple[int, int]:
        """First and last unit of a layer that this rank holds."""
        return self.units_in(self.unit_parts, count)

    def units_in(self, parts: tuple[int, int], count: int) -> tuple[int, int]:
        """First and last unit of a layer in a range of parts."""
        bounds = tree.parts(count, self.parts)
        return bounds[parts[0]][0], bounds[parts[1] - 1][1]

    def own_columns(self, x: Array, units: int) -> Array:
        """Return this rank's units of all, (M, units)."""
        first, last = self.units(units)
        return x if last - first == units else x[:, first:last]

    def extent(self, lengths: np.ndarray) -> ops.Extent:
        """Return which frames of utterances of these lengths are here."""
        return ops.Extent.whole(lengths)

    def cut(self, batch: Batch) -> Batch:
        """Return the batch of this share's frames."""
        return batch

    def frames(self, x: Array, batch: Batch, lengths: np.ndarray, needs: Needs) -> Frames:
        """Return the rows that a layer reads which looks at frames beside each.

        Parameters
        ----------
        x : (M, columns)
            The rows here.
        lengths : (N,) int64
            Frames that it makes of each utterance.
        needs : callable
            Which of the frames of x it reads for some of its own.
        """
        return Frames(x, batch.extent, self.extent(lengths))

    def rows(self, batch: Batch) -> Rows:
        """Return how sums over frames run."""
        held = self.time_parts[1] - self.time_parts[0]
        leaf = np.repeat(np.arange(len(batch.leaf_utterances) - 1), held)
        if self.parts == 1:
            leaves = batch.frame_leaves()
            return Rows(ops.Items(leaves.offsets, leaf), leaves, None)
        # The frames of each time part held (columns) of each utterance (rows).
        cuts = batch.lengths[:, None] * np.arange(self.time_parts[0], self.time_parts[1] + 1)
        rows = cuts // self.parts + (batch.offsets[:-1] - batch.starts)[:, None]
        start, stop = rows[:, :-1], rows[:, 1:]
        leaves_of = list(itertools.pairwise(batch.leaf_utterances.tolist()))
        none = np.zeros(0, np.int64)
        order = np.concatenate(
            [
                none,
                *(
                    numbers(start[low:high].T.reshape(-1), stop[low:high].T.reshape(-1))
                    for low, high in leaves_of
                ),
            ]
        )
        frames = [(stop - start)[low:high].sum(axis=0) for low, high in leaves_of]
        offsets = offsets_of(np.concatenate([none, *frames]))
        return Rows(
            ops.Items(offsets, leaf, order),
            ops.Leaves(offsets, batch.merges),
            asarray(order).to_device(batch.frames.place),
        )

    def once(self, bounds: np.ndarray, batch: Batch) -> ops.Leaves:
        """Return the items of the tree over what each leaf has once, whatever its frames.

        Parameters
        ----------
        bounds : (K + 1,) int64
            First place of each leaf.

        Notes
        -----
        Part 0 of a leaf has all of it; the others have +0.
        """
        held = self.time_parts[1] - self.time_parts[0]
        ends = bounds[1:] if self.time_parts[0] == 0 else np.zeros_like(bounds[1:])
        return ops.Leaves(np.concatenate([[0], np.repeat(ends, held)]), batch.merges)

    def leaf_totals(self, mine: Array) -> Array:
        """Return the sums of leaves, a row each, from those over the frames here."""
        return mine

    def gather(self, y: Array, units: int) -> Array:
        """Return all units of a layer, (M, units), from this rank's."""
        return y

    def unit_gradient(self, d: Array, weight: Array, units: int) -> Array:
        """Return d weight: the gradient by this rank's units of the layer before.

        Parameters
        ----------
        d : (M, units held)
        weight : (units held, inputs)
        units : int
            Of the layer.

        Notes
        -----
        Order: the canonical sum over the layer's units, in parts.
        """
        return ops.gemm(d, weight, parts=self.parts)

    def gates_gradient(self, d: Array, weight: Array, units: int, gates: int) -> Array:
        """Return `unit_gradient` for one direction, whose rows are the units of each gate.

        Notes
        -----
        Order: the gates' sums, in parts, are added in the order of the gates.
        """
        held = d.shape[1] // gates
        found = (
            self.unit_gradient(d[:, at : at + held], weight[at : at + held], units)
            for at in range(0, d.shape[1], held)
        )
        return functools.reduce(ops.add, found)

    def direction_gradient(
        self, d: Array, weight: Array, units: int, directions: int, gates: int
    ) -> Array:
        """Return `unit_gradient` for a recurrent layer, whose rows are those of its directions.

        Notes
        -----
        Order: uncut, one sum over all rows; in parts, a sum for each direction, then added.
        """
        if self.parts == 1:
            return ops.gemm(d, weight)
        held = d.shape[1] // directions
        found = (
            self.gates_gradient(d[:, at : at + held], weight[at : at + held], units, gates)
            for at in range(0, d.shape[1], held)
        )
        return functools.reduce(ops.add, found)

    def recur(
        self, x: Array, batch: Batch, weight: Array, cell: ops.Cell, directions: int
    ) -> States:
        """Run a recurrent layer over x, (M, D * G * h); the weight is (D, G * h, H).

        Here and below D directions are held, of the layer's ``directions``; G are the gates.
        """
        first, _ = self.directions(directions)
        run = ops.rnn_forward(x, batch.offsets, weight, cell=cell, parts=self.parts, first=first)
        return States(run.h, run.h, run.kept)

    def recur_back(
        self,
        dy: Array,
        batch: Batch,
        weight: Array,
        states: States,
        cell: ops.Cell,
        directions: int,
    ) -> tuple[Array, Array]:
        """Return the gradients by x and by the recurrent sums, from that by the states."""
        back = ops.rnn_backward(
            dy,
            batch.offsets,
            weight,
            states.own,
            states.kept,
            cell=cell,
            parts=self.parts,
            first=self.directions(directions)[0],
        )
        return back.dx, back.ds

    def previous(self, states: States, batch: Batch, directions: int) -> Array:
        """Return the states of the step before, (M, D * H)."""
        first, last = self.directions(directions)
        return ops.rnn_previous(states.whole, batch.offsets, last - first, first=first)

    def sum_directions(self, h: Array, directions: int) -> Array:
        """Return the sum of all directions' states, (M, h), from this rank's."""
        return h if directions == 1 else ops.sum_directions(h, directions)

    def losses(self, log_probs: Array, batch: Batch, scale: float) -> tuple[Array, Array]:
        """Return CTC losses (N,) and the scaled gradient by this rank's logits (M, V)."""
        return ops.ctc_loss(log_probs, batch.offsets, batch.labels, scale=scale, names=batch.names)


def select(x: Array, extent: ops.Extent, wanted: ops.Extent) -> Array:
    """Return the rows of some frames, out of rows of these and perhaps more."""
    if x.shape[0] == wanted.offsets[-1]:
        return x
    first = extent.offsets[:-1] + wanted.starts - extent.starts
    rows = numbers(first, first + np.diff(wanted.offsets))
    return take(x, asarray(rows).to_device(x.place), axis=0)
