"""The bidirectional vanilla recurrent layer over whole sequences.

Bodies: kernels/rnn.h; drivers: kernels/cpu/rnn.cpp, kernels/gpu/rnn.cu.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from majelpy.array import Array, empty
from majelpy.comm import tree
from majelpy.errors import ShapeError
from majelpy.ops import check


@dataclass(frozen=True)
class Carried:
    """States that utterances go on from, of frames that are not here.

    Attributes
    ----------
    which : (N,) int64
        1 where an utterance goes on, 0 where it starts or ends here.
    state : (directions, N, hidden) float32
        Forward h, backward the gradient before the rectifier, of the step before.
    """

    which: np.ndarray
    state: Array

    def of(self, operation: str, directions: int, rows: np.ndarray, hidden: int) -> tuple[int, int]:
        """Addresses, checked against the layer's sizes."""
        needed = (directions, len(rows) - 1, hidden)
        if self.state.shape != needed or self.which.shape != needed[1:2]:
            raise ShapeError(
                f"{operation}: carried states {self.state.shape} of {self.which.shape} utterances; "
                f"needs {needed}"
            )
        return self.which.ctypes.data, self.state.pointer


def _carried(
    carried: Carried | None, operation: str, directions: int, rows: np.ndarray, hidden: int
) -> tuple[int | None, int | None]:
    return (None, None) if carried is None else carried.of(operation, directions, rows, hidden)


def _sizes(operation: str, x: Array, weight: Array) -> tuple[int, int]:
    directions, hidden, columns = weight.shape
    if hidden != columns or x.shape[1] != directions * hidden:
        raise ShapeError(
            f"{operation}: weight is {weight.shape} and the rows have {x.shape[1]} columns; "
            f"needs (directions, hidden, hidden) and directions * hidden"
        )
    return directions, hidden


def _divides(operation: str, x: Array, directions: int) -> None:
    if directions < 1 or x.shape[1] % directions:
        raise ShapeError(f"{operation}: {x.shape[1]} columns for {directions} directions")


def rnn_forward(
    x: Any,
    offsets: Any,
    weight: Any,
    *,
    parts: int = 1,
    first: int = 0,
    carried: Carried | None = None,
) -> Array:
    """Return h with h_t = clip(x_t + W h_{t-1}), for each direction over its own columns.

    Parameters
    ----------
    x : (rows, directions * hidden) float32
        Input products with their bias; utterances one after another.
    offsets : (utterances + 1,) int64
        First row of each utterance, and the number of rows.
    weight : (directions, hidden, hidden) float32
        Odd directions run from an utterance's last frame to its first.
    parts : int
        Cut the sum over the hidden units in so many parts (majelpy/comm/tree.py).
    first : int
        Number of the first direction.
    carried : Carried, optional
        Where an utterance's frames before these are elsewhere.

    Returns
    -------
    Array of the shape of x

    Notes
    -----
    Order: the recurrent product is a canonical sum over the hidden units (parts by the tree),
    added to x_t.

    References
    ----------
    Hannun et al. 2014 (arXiv 1412.5567), section 2, equations 2 and 3.
    """
    a, w = check.matrix("rnn_forward", "x", x), check.of_rank("rnn_forward", "weight", weight, 3)
    directions, hidden = _sizes("rnn_forward", a, w)
    rows = check.offsets("rnn_forward", offsets, a.shape[0])
    tree.parts(hidden, parts)
    on, place = check.kernels("rnn_forward", x=a, weight=w)
    h = empty(a.shape, device=place)
    on.mj_rnn_forward_rows(
        *(first, directions, len(rows) - 1, rows.ctypes.data, hidden, parts),
        *(a.pointer, w.pointer),
        *_carried(carried, "rnn_forward", directions, rows, hidden),
        h.pointer,
    )
    return h


def rnn_backward(
    dy: Any,
    offsets: Any,
    weight: Any,
    h: Any,
    *,
    parts: int = 1,
    first: int = 0,
    carried: Carried | None = None,
) -> Array:
    """Return the gradient by x of `rnn_forward`, from that by its output h.

    Parameters
    ----------
    dy, h : (rows, directions * hidden) float32
    offsets, weight, parts, first, carried : as in `rnn_forward`

    Notes
    -----
    Order: the recurrent product is a canonical sum over the hidden units (parts by the tree),
    added to dy_t.
    """
    d, y = check.matrix("rnn_backward", "dy", dy), check.matrix("rnn_backward", "h", h)
    w = check.of_rank("rnn_backward", "weight", weight, 3)
    check.same_shape("rnn_backward", d, y)
    directions, hidden = _sizes("rnn_backward", d, w)
    rows = check.offsets("rnn_backward", offsets, d.shape[0])
    tree.parts(hidden, parts)
    on, place = check.kernels("rnn_backward", dy=d, weight=w, h=y)
    dx = empty(d.shape, device=place)
    on.mj_rnn_backward_rows(
        *(first, directions, len(rows) - 1, rows.ctypes.data, hidden, parts),
        *(d.pointer, w.pointer, y.pointer),
        *_carried(carried, "rnn_backward", directions, rows, hidden),
        dx.pointer,
    )
    return dx


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
            *(len(self.order), self.offsets.ctypes.data, self.order.ctypes.data),
            *(hidden, step, self.live(step)),
        )


def rnn_forward_step(
    x: Array, steps: Steps, step: int, sums: Array | None, directions: int, h: Array
) -> Array:
    """Take one step of `rnn_forward`; return the new states, (directions, live, hidden).

    Parameters
    ----------
    x, h : (rows, directions * hidden) float32
        Input products; states, written in the rows of this step.
    sums : (directions, live, hidden) float32
        Recurrent sums; None at step 0.
    """
    hidden = x.shape[1] // directions
    on, place = check.kernels("rnn_forward_step", x=x, h=h)
    state = empty((directions, steps.live(step), hidden), device=place)
    on.mj_rnn_forward_step(
        *(directions, *steps._arguments(step, hidden), x.pointer),
        *(None if sums is None else sums.pointer, state.pointer, h.pointer),
    )
    return state


def rnn_backward_step(
    dy: Array, h: Array, steps: Steps, step: int, sums: Array | None, directions: int, dx: Array
) -> Array:
    """Take one step of `rnn_backward`; arguments as in `rnn_forward_step`."""
    hidden = dy.shape[1] // directions
    on, place = check.kernels("rnn_backward_step", dy=dy, h=h, dx=dx)
    state = empty((directions, steps.live(step), hidden), device=place)
    on.mj_rnn_backward_step(
        *(directions, *steps._arguments(step, hidden), dy.pointer, h.pointer),
        *(None if sums is None else sums.pointer, state.pointer, dx.pointer),
    )
    return state


def rnn_previous(
    h: Any, offsets: Any, directions: int, *, first: int = 0, carried: Carried | None = None
) -> Array:
    """Return the rows h_{t-1} in each direction's own order; at an utterance's first step the
    carried state, or +0.
    """
    a = check.matrix("rnn_previous", "h", h)
    rows = check.offsets("rnn_previous", offsets, a.shape[0])
    _divides("rnn_previous", a, directions)
    hidden = a.shape[1] // directions
    on, place = check.kernels("rnn_previous", h=a)
    out = empty(a.shape, device=place)
    on.mj_rnn_previous_rows(
        *(first, directions, len(rows) - 1, rows.ctypes.data, hidden, a.pointer),
        *_carried(carried, "rnn_previous", directions, rows, hidden),
        out.pointer,
    )
    return out


def sum_directions(h: Any, directions: int) -> Array:
    """Return h_0 + h_1 + ... of the directions' columns, shape (rows, hidden)."""
    a = check.matrix("sum_directions", "h", h)
    _divides("sum_directions", a, directions)
    hidden = a.shape[1] // directions
    on, place = check.kernels("sum_directions", h=a)
    out = empty((a.shape[0], hidden), device=place)
    on.mj_sum_directions(a.shape[0], directions, hidden, a.pointer, out.pointer)
    return out


def repeat_directions(dy: Any, directions: int) -> Array:
    """Return dy once for each direction, side by side: the gradient of `sum_directions`."""
    a = check.matrix("repeat_directions", "dy", dy)
    on, place = check.kernels("repeat_directions", dy=a)
    out = empty((a.shape[0], a.shape[1] * directions), device=place)
    on.mj_repeat_directions(*(a.shape[0], directions, a.shape[1]), a.pointer, out.pointer)
    return out
