"""Time halves: each of two ranks has half of the frames of every utterance.

Policy. As in Hannun et al. 2014 (arXiv 1412.5567), section 4.2: the first rank runs the forward
direction over the first half while the second runs the backward direction over the second; they
exchange the states at the middle and swap directions, so both are always busy. All else but CTC
works on a rank's own frames; CTC needs all log-probabilities of an utterance, which are few.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from majelpy import ops
from majelpy.array import Array, asarray, zeros
from majelpy.array.indexing import take
from majelpy.array.manipulation import concat
from majelpy.nn.batch import Batch, numbers
from majelpy.nn.share import Share, States
from majelpy.nn.ways.neighbours import Neighbours


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

    def _middle(self, batch: Batch) -> np.ndarray:
        """First frame of each utterance's second half."""
        return np.asarray(batch.lengths * (self.parts // 2) // self.parts)

    def _frames(self, batch: Batch, half: int) -> tuple[np.ndarray, np.ndarray]:
        """First frame of a half of each utterance, and the frame after its last."""
        middle = self._middle(batch)
        return (middle, batch.lengths) if half else (np.zeros_like(middle), middle)

    def cut(self, batch: Batch, context: int) -> tuple[Array, Batch]:
        start, stop = self._frames(batch, self._half)
        # The frames beside the half are needed too, for the context of those at its ends.
        low = np.where(stop > start, np.maximum(start - context, 0), start)
        high = np.where(stop > start, np.minimum(stop + context, batch.lengths), stop)
        wide = _rows(batch.frames, batch.offsets[:-1] + low, batch.offsets[:-1] + high)
        bounds = _offsets(high - low)
        rows = ops.context(wide, bounds, context)
        here = _rows(rows, bounds[:-1] + start - low, bounds[:-1] + stop - low)
        return here, replace(batch, offsets=_offsets(stop - start), starts=start)

    def _carry(self, found: Array, batch: Batch) -> ops.Carried:
        """Exchange the states at the middle: return what the other rank came to."""
        rows = batch.offsets[:-1] if self._half else batch.offsets[1:] - 1
        utterances, hidden = len(rows), found.shape[1]
        shape = (utterances, hidden)
        if found.shape[0]:
            at = np.clip(rows, 0, found.shape[0] - 1)
            mine = take(found, asarray(at).to_device(found.place), axis=0)
        else:
            mine = zeros(shape, device=found.place)
        other = 1 - self._half
        (state,) = self._neighbours.exchange([(other, mine)], [(other, shape)])
        start, stop = self._frames(batch, other)
        which = (stop > start).astype(np.int64)
        return ops.Carried(which, state.reshape(1, *shape).to_device(found.place))

    def recur(self, x: Array, batch: Batch, weight: Array) -> States:
        hidden = weight.shape[1]

        def run(direction: int, carried: ops.Carried | None) -> Array:
            columns = x[:, direction * hidden : (direction + 1) * hidden]
            return ops.rnn_forward(
                *(columns, batch.offsets, weight[direction : direction + 1]),
                parts=self.parts,
                first=direction,
                carried=carried,
            ).h

        early = self._half  # the direction whose first step is here
        found = {early: run(early, None)}
        carried = {early: None, 1 - early: self._carry(found[early], batch)}
        found[1 - early] = run(1 - early, carried[1 - early])
        h = concat((found[0], found[1]), axis=1)
        return States(h, h, (carried[0], carried[1]))

    def recur_back(self, dy: Array, batch: Batch, weight: Array, states: States) -> Array:
        hidden = weight.shape[1]

        def run(direction: int, carried: ops.Carried | None) -> Array:
            columns = slice(direction * hidden, (direction + 1) * hidden)
            return ops.rnn_backward(
                *(dy[:, columns], batch.offsets, weight[direction : direction + 1]),
                states.own[:, columns],
                parts=self.parts,
                first=direction,
                carried=carried,
            ).dx

        early = 1 - self._half  # the direction whose last step, so the first backward, is here
        found = {early: run(early, None)}
        found[1 - early] = run(1 - early, self._carry(found[early], batch))
        return concat((found[0], found[1]), axis=1)

    def previous(self, states: States, batch: Batch) -> Array:
        hidden = states.whole.shape[1] // 2
        both = (
            ops.rnn_previous(
                *(states.whole[:, d * hidden : (d + 1) * hidden], batch.offsets, 1),
                first=d,
                carried=states.carried[d],
            )
            for d in (0, 1)
        )
        return concat(tuple(both), axis=1)

    def losses(self, log_probs: Array, batch: Batch, scale: float) -> tuple[Array, Array]:
        halves = [self._frames(batch, half) for half in (0, 1)]
        rows = [int((stop - start).sum()) for start, stop in halves]
        other, columns = 1 - self._half, log_probs.shape[1]
        (theirs,) = self._neighbours.exchange(
            [(other, log_probs)], [(other, (rows[other], columns))]
        )
        both = [log_probs, theirs.to_device(log_probs.place)]
        joined = concat(tuple(both if self._half == 0 else both[::-1]), axis=0)
        places = [numbers(batch.offsets[:-1] + a, batch.offsets[:-1] + b) for a, b in halves]
        # Row `order[i]` of all utterances is row i of the two halves.
        order = np.concatenate(places)
        whole = take(joined, asarray(np.argsort(order)).to_device(joined.place), axis=0)
        losses, gradient = super().losses(whole, batch, scale)
        mine = asarray(places[self._half]).to_device(gradient.place)
        return losses, take(gradient, mine, axis=0)


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _rows(x: Array, start: np.ndarray, stop: np.ndarray) -> Array:
    return take(x, asarray(numbers(start, stop)).to_device(x.place), axis=0)
