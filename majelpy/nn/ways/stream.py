"""A stream: the frames of one utterance as they come, piece after piece.

Policy. A layer asks its share for the frames beside those it is to give, and for the states before
them; of a stream these came in earlier pieces. So each layer gives what it can of what has come,
and all pieces together have the bits of the whole utterance at once.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass

import numpy as np

from majelpy import ops
from majelpy.array import Array
from majelpy.errors import RecipeError
from majelpy.nn.batch import Batch
from majelpy.nn.share import Frames, Needs, Share, States
from majelpy.standard.manipulation import concat

UNKNOWN = 1 << 40
"""Frames of an utterance that has not ended."""


@dataclass(frozen=True)
class _Before:
    """Rows that came and are still needed, their first frame, and the first frame not yet given."""

    rows: Array
    start: int
    given: int


class StreamShare(Share):
    """All of the model, for one utterance; `begin` before each piece.

    Parameters
    ----------
    parts : int
        Of the recipe.
    """

    def __init__(self, parts: int = 1):
        super().__init__(parts)
        self._calls = 0
        self._rows: dict[int, _Before] = {}
        self._states: dict[int, Array] = {}

    def begin(self) -> None:
        """Start the pass over the next piece: layers call in the same order in each."""
        self._calls = 0

    def _call(self) -> int:
        self._calls += 1
        return self._calls

    def frames(self, x: Array, batch: Batch, lengths: np.ndarray, needs: Needs) -> Frames:
        call = self._call()
        before = self._rows.get(call, _Before(x[:0], 0, 0))
        rows, start, given = concat((before.rows, x), axis=0), before.start, before.given
        stop, total = start + rows.shape[0], int(lengths[0])

        def needed(last: int) -> int:
            return int(needs(np.array([given]), np.array([last]))[1][0])

        if stop < batch.lengths[0]:  # more is to come
            last = given + bisect.bisect_right(range(given + 1, total + 1), stop, key=needed)
        else:
            last = total
        low = max(start, int(needs(np.array([last]), np.array([last + 1]))[0][0]))
        low = min(low, stop)
        self._rows[call] = _Before(rows[low - start :], low, last)
        return Frames(rows, _piece(start, stop, batch.lengths), _piece(given, last, lengths))

    def recur(
        self, x: Array, batch: Batch, weight: Array, cell: ops.Cell, directions: int
    ) -> States:
        if directions > 1:
            raise RecipeError(
                "stream: the model has a layer of two directions, which needs the whole utterance; "
                "train one with layers of one direction (and row_conv)"
            )
        call = self._call()
        before = self._states.get(call)
        carried = None if before is None else ops.Carried(np.ones(1, np.int64), before)
        run = ops.rnn_forward(
            x, batch.offsets, weight, cell=cell, parts=self.parts, carried=carried
        )
        if x.shape[0]:
            self._states[call] = run.last
        return States(run.h, run.h, run.kept)


def _piece(first: int, last: int, lengths: np.ndarray) -> ops.Extent:
    return ops.Extent.range(np.array([first]), np.array([last]), lengths)
