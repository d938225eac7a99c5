"""Recurrent layers a step at a time, for ranks that have some of the units each.

Policy. The caller brings the recurrent sums, for which it needs the states of all units; what a
unit carries for itself alone goes on here, from step to step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from majelpy.array import Array, empty, operands
from majelpy.ops.cell import RNN, Cell
from majelpy.ops.rnn import pointer


@dataclass(frozen=True)
class Steps:
    """Order in which utterances take their steps together, longest first.

    Attributes
    ----------
    offsets : (N + 1,) int64
    order : (N,) int64
    """

    offsets: np.ndarray
    order: np.ndarray

    @classmethod
    def of(cls, offsets: np.ndarray) -> Steps:
        """Return the order of utterances with these offsets."""
        return cls(offsets, np.argsort(-np.diff(offsets), kind="stable").astype(np.int64))

    def live(self, step: int) -> int:
        """Number of utterances that take that step."""
        return int((np.diff(self.offsets) > step).sum())

    def _arguments(self, step: int, hidden: int) -> tuple[int, ...]:
        return (
            len(self.order),
            self.offsets.ctypes.data,
            self.order.ctypes.data,
            hidden,
            step,
            self.live(step),
        )


def rnn_forward_step(
    x: Array,
    steps: Steps,
    step: int,
    sums: Array | None,
    directions: int,
    h: Array,
    *,
    cell: Cell = RNN,
    own: Array | None = None,
    kept: Array | None = None,
) -> Array:
    """Take one step of `rnn_forward`; return the new states h, (directions, live, hidden), rounded
    to bfloat16 if ``cell.rounded``.

    Parameters
    ----------
    x : (rows, directions * cell.gates * hidden) float32
        Input products of the units here.
    sums : (directions, live, cell.gates * hidden) float32
        Their recurrent sums; None at step 0.
    h, kept : (rows, directions * hidden), (rows, directions * cell.kept * hidden) float32
        Outputs, written in the rows of this step.
    own : (directions, N, hidden) float32
        What goes on from step to step, if ``cell.own``: of any content at step 0, changed in place.
    """
    hidden = x.shape[1] // (directions * cell.gates)
    on, place = operands.kernels("rnn_forward_step", x=x, h=h)
    state = empty((directions, steps.live(step), hidden), device=place)
    on.mj_rnn_forward_step(
        cell.number,
        directions,
        *steps._arguments(step, hidden),
        int(cell.rounded),
        x.pointer,
        pointer(sums),
        pointer(own),
        state.pointer,
        h.pointer,
        pointer(kept),
    )
    return state


def rnn_backward_step(
    dy: Array,
    kept: Array,
    steps: Steps,
    step: int,
    sums: Array | None,
    directions: int,
    dx: Array,
    *,
    cell: Cell = RNN,
    own: Array | None = None,
    ds: Array | None = None,
) -> Array:
    """Take one step of `rnn_backward`; return ds, (directions, live, cell.gates * hidden), rounded
    to bfloat16 if ``cell.rounded``.

    Parameters
    ----------
    dy : (rows, directions * hidden) float32
    kept : (rows, directions * cell.kept * hidden) float32
        What forward kept; of a cell that keeps nothing h.
    sums : (directions, live, cell.gates * hidden) float32
        The recurrent sums of each gate for the units here; None at step 0.
    dx, ds : (rows, directions * cell.gates * hidden) float32
        Outputs; ds only if ``cell.apart``.
    steps, step, own : as in `rnn_forward_step`
    """
    hidden = dy.shape[1] // directions
    on, place = operands.kernels("rnn_backward_step", dy=dy, kept=kept, dx=dx)
    state = empty((directions, steps.live(step), cell.gates * hidden), device=place)
    on.mj_rnn_backward_step(
        cell.number,
        directions,
        *steps._arguments(step, hidden),
        int(cell.rounded),
        dy.pointer,
        kept.pointer,
        pointer(sums),
        pointer(own),
        state.pointer,
        dx.pointer,
        pointer(ds),
    )
    return state
