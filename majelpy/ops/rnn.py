"""The bidirectional vanilla recurrent layer over whole sequences.

Bodies: kernels/rnn.h; drivers: kernels/cpu/rnn.cpp, kernels/gpu/rnn.cu.
"""

from __future__ import annotations

from typing import Any

from majelpy.array import Array, empty
from majelpy.errors import ShapeError
from majelpy.ops import check


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


def rnn_forward(x: Any, offsets: Any, weight: Any) -> Array:
    """Return h with h_t = clip(x_t + W h_{t-1}), for each direction over its own columns.

    Parameters
    ----------
    x : (rows, directions * hidden) float32
        Input products with their bias; utterances one after another.
    offsets : (utterances + 1,) int64
        First row of each utterance, and the number of rows.
    weight : (directions, hidden, hidden) float32
        Odd directions run from an utterance's last frame to its first.

    Returns
    -------
    Array of the shape of x

    Notes
    -----
    Order: the recurrent product is a canonical sum over the hidden units, added to x_t.

    References
    ----------
    Hannun et al. 2014 (arXiv 1412.5567), section 2, equations 2 and 3.
    """
    a, w = check.matrix("rnn_forward", "x", x), check.of_rank("rnn_forward", "weight", weight, 3)
    directions, hidden = _sizes("rnn_forward", a, w)
    rows = check.offsets("rnn_forward", offsets, a.shape[0])
    on, place = check.kernels("rnn_forward", x=a, weight=w)
    h = empty(a.shape, device=place)
    on.mj_rnn_forward_rows(
        directions, len(rows) - 1, rows.ctypes.data, hidden, a.pointer, w.pointer, h.pointer
    )
    return h


def rnn_backward(dy: Any, offsets: Any, weight: Any, h: Any) -> Array:
    """Return the gradient by x of `rnn_forward`, from that by its output h.

    Parameters
    ----------
    dy, h : (rows, directions * hidden) float32
    offsets, weight : as in `rnn_forward`

    Notes
    -----
    Order: the recurrent product is a canonical sum over the hidden units, added to dy_t.
    """
    d, y = check.matrix("rnn_backward", "dy", dy), check.matrix("rnn_backward", "h", h)
    w = check.of_rank("rnn_backward", "weight", weight, 3)
    check.same_shape("rnn_backward", d, y)
    directions, hidden = _sizes("rnn_backward", d, w)
    rows = check.offsets("rnn_backward", offsets, d.shape[0])
    on, place = check.kernels("rnn_backward", dy=d, weight=w, h=y)
    dx = empty(d.shape, device=place)
    on.mj_rnn_backward_rows(
        *(directions, len(rows) - 1, rows.ctypes.data, hidden),
        *(d.pointer, w.pointer, y.pointer, dx.pointer),
    )
    return dx


def rnn_previous(h: Any, offsets: Any, directions: int) -> Array:
    """Return the rows h_{t-1} in each direction's own order, +0 at each utterance's first step."""
    a = check.matrix("rnn_previous", "h", h)
    rows = check.offsets("rnn_previous", offsets, a.shape[0])
    _divides("rnn_previous", a, directions)
    on, place = check.kernels("rnn_previous", h=a)
    out = empty(a.shape, device=place)
    on.mj_rnn_previous_rows(
        *(directions, len(rows) - 1, rows.ctypes.data, a.shape[1] // directions),
        *(a.pointer, out.pointer),
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
