"""What of the model a rank computes, and what it exchanges with the ranks that compute the rest.

Policy. Layers are written once, for a *share* of the units, directions and frames; a share says
which these are and brings what the others have. The class here is the share of a rank alone: all
of it, and nothing to exchange. Others: majelpy/nn/ways.

A recipe's `model.parts` fixes the sums that ranks may split, whether or not they do: a sum over
units of a layer is cut in parts, and the frames of an utterance are cut in as many time parts, so a
leaf of the tree is itself a tree of parts (majelpy/comm/tree.py).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from majelpy import ops
from majelpy.array import Array, asarray
from majelpy.comm import tree
from majelpy.nn.batch import Batch, numbers


@dataclass(frozen=True)
class States:
    """What a recurrent layer keeps of its forward pass.

    Attributes
    ----------
    own : (M, D * h) float32
        States of this share's directions and units.
    whole : (M, D * H) float32
        States of this share's directions and all units.
    carried : for each direction, the states its utterances went on from, or None
    """

    own: Array
    whole: Array
    carried: tuple[ops.Carried | None, ...] = (None, None)


class Share:
    """All of the model.

    Parameters
    ----------
    parts : int
        Of the recipe.

    Attributes
    ----------
    directions, unit_parts, time_parts : (first, last)
        What this rank holds of the recurrent layer's two directions, of the parts of each layer's
        units, and of the parts of each utterance's frames.
    """

    directions = (0, 2)

    def __init__(self, parts: int = 1):
        self.parts = parts
        self.unit_parts = (0, parts)
        self.time_parts = (0, parts)

    def units(self, count: int) -> tuple[int, int]:
        """First and last unit of a layer that this rank holds."""
        return self.units_in(self.unit_parts, count)

    def units_in(self, parts: tuple[int, int], count: int) -> tuple[int, int]:
        """First and last unit of a layer in a range of parts."""
        bounds = tree.parts(count, self.parts)
        return bounds[parts[0]][0], bounds[parts[1] - 1][1]

    def cut(self, batch: Batch, context: int) -> tuple[Array, Batch]:
        """Return the rows that layer 1 reads, and the batch of this share's frames."""
        return ops.context(batch.frames, batch.offsets, context), batch

    def items(self, batch: Batch) -> tuple[ops.Leaves, ops.Leaves, Array | None]:
        """Return how sums over frames and over utterances run, and the order of the rows.

        Boundaries of the tree's items over frames and over utterances; None: rows are in order.
        """
        if self.parts == 1:
            return batch.frame_leaves(), batch.utterance_leaves(), None
        # The frames of each time part held (columns) of each utterance (rows).
        cuts = batch.lengths[:, None] * np.arange(self.time_parts[0], self.time_parts[1] + 1)
        rows = cuts // self.parts + (batch.offsets[:-1] - batch.starts)[:, None]
        start, stop = rows[:, :-1], rows[:, 1:]
        count = self.time_parts[1] - self.time_parts[0]
        leaves = list(itertools.pairwise(batch.leaf_utterances.tolist()))
        order = [
            numbers(start[low:high].T.reshape(-1), stop[low:high].T.reshape(-1))
            for low, high in leaves
        ]
        frames = [(stop - start)[low:high].sum(axis=0) for low, high in leaves]
        # The loss of a leaf is that of its part 0; to the others it is +0.
        ends = [high if self.time_parts[0] == 0 else 0 for _, high in leaves]
        none = np.zeros(1, dtype=np.int64)
        return (
            ops.Leaves(np.cumsum(np.concatenate([none, *frames])), batch.merges),
            ops.Leaves(np.concatenate([none, np.repeat(ends, count)]), batch.merges),
            asarray(np.concatenate([none[:0], *order])).to_device(batch.frames.place),
        )

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

    def direction_gradient(self, d: Array, weight: Array, units: int) -> Array:
        """Return the same for the recurrent layer, whose units are those of its directions.

        Notes
        -----
        Order: uncut, one sum over the units of both; in parts, a sum for each, then added.
        """
        if self.parts == 1:
            return ops.gemm(d, weight)
        held = d.shape[1] // 2
        both = (
            self.unit_gradient(d[:, at : at + held], weight[at : at + held], units)
            for at in (0, held)
        )
        return ops.add(*both)

    def recur(self, x: Array, batch: Batch, weight: Array) -> States:
        """Run the recurrent layer over x, (M, D * h); the weight is (D, h, H)."""
        h = ops.rnn_forward(x, batch.offsets, weight, parts=self.parts).h
        return States(h, h)

    def recur_back(self, dy: Array, batch: Batch, weight: Array, states: States) -> Array:
        """Return the gradient by x from that by the states, (M, D * h)."""
        return ops.rnn_backward(dy, batch.offsets, weight, states.own, parts=self.parts).dx

    def previous(self, states: States, batch: Batch) -> Array:
        """Return the states of the step before, (M, D * H)."""
        return ops.rnn_previous(states.whole, batch.offsets, 2)

    def sum_directions(self, h: Array) -> Array:
        """Return the sum of both directions' states, (M, h), from this rank's."""
        return ops.sum_directions(h, 2)

    def losses(self, log_probs: Array, batch: Batch, scale: float) -> tuple[Array, Array]:
        """Return CTC losses (N,) and the scaled gradient by this rank's logits (M, V)."""
        return ops.ctc_loss(log_probs, batch.offsets, batch.labels, scale=scale, names=batch.names)
