"""Time halves: each of two ranks has half of the frames of every utterance.

Policy. As in Hannun et al. 2014 (arXiv 1412.5567), section 4.2: the first rank runs the forward
direction over the first half while the second runs the backward direction over the second; they
exchange the states at the middle and swap directions, so both are always busy. All else but CTC
works on a rank's own frames; CTC needs all log-probabilities of an utterance, which are few.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from majelpy import ops
from majelpy.array import Array, asarray
from majelpy.nn.batch import Batch, numbers, offsets_of
from majelpy.nn.share import Frames, Needs, Share, States, select
from majelpy.nn.ways.neighbours import Neighbours, add_other
from majelpy.standard.indexing import take
from majelpy.standard.manipulation import concat


class TimeShare(Share):
    """The frames of one half of the time parts.

    Parameters
    ----------
    parts : int
        Of the recipe; at least 2.
    neighbours : Neighbours
        Two ranks.
    """

    def __init__(self, parts: int, neighbours: Neighbours):
        super().__init__(parts)
        self._neighbours = neighbours
        self._half = neighbours.index
        self.time_parts = (self._half * parts // 2, (self._half + 1) * parts // 2)

    def _frames(self, lengths: np.ndarray, half: int) -> tuple[np.ndarray, np.ndarray]:
        """First frame of a half of each utterance, and the frame after its last."""
        middle = lengths * (self.parts // 2) // self.parts
        return (middle, lengths) if half else (np.zeros_like(middle), middle)

    def extent(self, lengths: np.ndarray) -> ops.Extent:
        return ops.Extent.range(*self._frames(lengths, self._half), lengths)

    def cut(self, batch: Batch) -> Batch:
        here = self.extent(batch.lengths)
        return batch.within(here).with_frames(select(batch.frames, batch.extent, here))

    def frames(self, x: Array, batch: Batch, lengths: np.ndarray, needs: Needs) -> Frames:
        held = [self._frames(batch.lengths, half) for half in (0, 1)]
        wanted = []
        for half in (0, 1):
            first, last = self._frames(lengths, half)
            low, high = needs(first, last)
            low, high = np.maximum(low, 0), np.minimum(high, batch.lengths)
            some = (last > first) & (high > low)
            wanted.append((np.where(some, low, 0), np.where(some, high, 0)))
        mine, other = self._half, 1 - self._half

        def both(half: int, owner: int) -> tuple[np.ndarray, np.ndarray]:
            """What one half needs of the frames that one rank has."""
            low = np.maximum(wanted[half][0], held[owner][0])
            return low, np.maximum(np.minimum(wanted[half][1], held[owner][1]), low)

        def rows_here(first: np.ndarray, last: np.ndarray) -> Array:
            at = batch.offsets[:-1] - batch.starts
            return take(x, asarray(numbers(at + first, at + last)).to_device(x.place), axis=0)

        sent, coming = rows_here(*both(other, mine)), both(mine, other)
        shape = (int((coming[1] - coming[0]).sum()), x.shape[1])
        (theirs,) = self._neighbours.exchange([(other, sent)], [(other, shape)])
        pieces = {mine: rows_here(*both(mine, mine)), other: theirs.to_device(x.place)}
        joined = concat((pieces[0], pieces[1]), axis=0)
        counts = [np.subtract(*both(mine, owner)[::-1]) for owner in (0, 1)]
        # Rows stand by half, then by utterance; they are to stand by utterance, then by half.
        utterances = [np.repeat(np.arange(len(c)), c) for c in counts]
        order = np.argsort(np.concatenate(utterances), kind="stable")
        rows = take(joined, asarray(order).to_device(x.place), axis=0)
        return Frames(rows, ops.Extent.range(*wanted[mine], batch.lengths), self.extent(lengths))

    def leaf_totals(self, mine: Array) -> Array:
        return add_other(self._neighbours, mine)

    def _carry(
        self, found: Mapping[int, Array], batch: Batch, missing: Sequence[int], columns: int
    ) -> dict[int, ops.Carried]:
        """Exchange the states at the middle: return what the other rank came to.

        Parameters
        ----------
        found : by direction, (1, N, columns)
        missing : sequence of int
            The directions that go on here.
        """
        other, shape = 1 - self._half, (1, len(batch.lengths), columns)
        mine = [(other, x) for x in found.values()]
        states = self._neighbours.exchange(mine, [(other, shape)] * len(missing))
        start, stop = self._frames(batch.lengths, other)
        which = (stop > start).astype(np.int64)
        return {
            d: ops.Carried(which, state.to_device(batch.frames.place))
            for d, state in zip(missing, states, strict=True)
        }

    def recur(
        self, x: Array, batch: Batch, weight: Array, cell: ops.Cell, directions: int
    ) -> States:
        hidden = weight.shape[2]

        def run(direction: int, carried: ops.Carried | None) -> ops.Forward:
            return ops.rnn_forward(
                _of(direction, x, cell.gates * hidden),
                batch.offsets,
                weight[direction : direction + 1],
                cell=cell,
                parts=self.parts,
                first=direction,
                carried=carried,
            )

        # Directions whose first step is here, and those that come from the other half.
        early = [d for d in range(directions) if d == self._half]
        late = [d for d in range(directions) if d != self._half]
        found = {d: run(d, None) for d in early}
        lasts = {d: found[d].last for d in early}
        carried = self._carry(lasts, batch, late, cell.forward_columns * hidden)
        found |= {d: run(d, carried[d]) for d in late}
        runs = [found[d] for d in range(directions)]
        h = concat(tuple(run.h for run in runs), axis=1)
        kept = tuple(run.kept for run in runs if run.kept is not None)
        return States(
            h,
            h,
            concat(kept, axis=1) if kept else None,
            tuple(carried.get(d) for d in range(directions)),
        )

    def recur_back(
        self,
        dy: Array,
        batch: Batch,
        weight: Array,
        states: States,
        cell: ops.Cell,
        directions: int,
    ) -> tuple[Array, Array]:
        hidden, kept = weight.shape[2], states.kept

        def run(direction: int, carried: ops.Carried | None) -> ops.Backward:
            return ops.rnn_backward(
                _of(direction, dy, hidden),
                batch.offsets,
                weight[direction : direction + 1],
                _of(direction, states.own, hidden),
                None if kept is None else _of(direction, kept, cell.kept * hidden),
                cell=cell,
                parts=self.parts,
                first=direction,
                carried=carried,
            )

        # Directions whose last step, so the first backward, is here.
        early = [d for d in range(directions) if d != self._half]
        late = [d for d in range(directions) if d == self._half]
        found = {d: run(d, None) for d in early}
        lasts = {d: found[d].last for d in early}
        carried = self._carry(lasts, batch, late, cell.backward_columns * hidden)
        found |= {d: run(d, carried[d]) for d in late}
        backs = [found[d] for d in range(directions)]
        dx = concat(tuple(back.dx for back in backs), axis=1)
        ds = concat(tuple(back.ds for back in backs), axis=1) if cell.apart else dx
        return dx, ds

    def previous(self, states: States, batch: Batch, directions: int) -> Array:
        hidden = states.whole.shape[1] // directions
        every = (
            ops.rnn_previous(
                states.whole[:, d * hidden : (d + 1) * hidden],
                batch.offsets,
                1,
                first=d,
                carried=states.carried[d],
            )
            for d in range(directions)
        )
        return concat(tuple(every), axis=1)

    def losses(self, log_probs: Array, batch: Batch, scale: float) -> tuple[Array, Array]:
        halves = [self._frames(batch.lengths, half) for half in (0, 1)]
        rows = [int((stop - start).sum()) for start, stop in halves]
        other, columns = 1 - self._half, log_probs.shape[1]
        (theirs,) = self._neighbours.exchange(
            [(other, log_probs)], [(other, (rows[other], columns))]
        )
        both = [log_probs, theirs.to_device(log_probs.place)]
        joined = concat(tuple(both if self._half == 0 else both[::-1]), axis=0)
        lengths = batch.lengths
        first = offsets_of(lengths)[:-1]
        places = [numbers(first + a, first + b) for a, b in halves]
        # Row `order[i]` of all utterances is row i of the two halves.
        order = np.concatenate(places)
        whole = take(joined, asarray(np.argsort(order)).to_device(joined.place), axis=0)
        losses, gradient = super().losses(whole, batch.within(super().extent(lengths)), scale)
        mine = asarray(places[self._half]).to_device(gradient.place)
        return losses, take(gradient, mine, axis=0)


def _of(direction: int, x: Array, columns: int) -> Array:
    """That direction's columns of x, so many each."""
    return x[:, direction * columns : (direction + 1) * columns]
