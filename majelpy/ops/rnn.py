"""Recurrent layers over whole sequences: vanilla, GRU and LSTM cells, in any number of directions.

Bodies: kernels/rnn.h; drivers: kernels/cpu/rnn.cpp, kernels/gpu/rnn.cu.

Policy. Column (d * G + g) * hidden + j of a matrix of rows is of direction d, gate g and unit j;
gates lie in PyTorch's order: GRU r, z, n; LSTM i, f, g, o. What forward keeps is enough for
backward, so each carries utterances on from its own states alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from majelpy import tree
from majelpy.array import Array, checks, empty, operands
from majelpy.errors import ShapeError
from majelpy.ops.cell import RNN, Cell


@dataclass(frozen=True)
class Carried:
    """States that utterances go on from, of frames that are not here.

    Attributes
    ----------
    which : (N,) int64
        1 where an utterance goes on, 0 where it starts or ends here.
    state : (directions, N, columns * hidden) float32
        `Forward.last` or `Backward.last` of the step before.
    """

    which: np.ndarray
    state: Array

    def of(self, operation: str, needed: tuple[int, ...]) -> tuple[int, int]:
        """Addresses, checked against the layer's sizes."""
        if self.state.shape != needed or self.which.shape != needed[1:2]:
            raise ShapeError(
                f"{operation}: carried states {self.state.shape} of {self.which.shape} utterances; "
                f"needs {needed}"
            )
        return self.which.ctypes.data, self.state.pointer


@dataclass(frozen=True)
class Forward:
    """Outputs of `rnn_forward`, what backward needs of it, and the last states.

    Attributes
    ----------
    h : (rows, directions * hidden) float32
    kept : (rows, directions * cell.kept * hidden) float32, or None where a cell keeps nothing
    last : (directions, N, cell.forward_columns * hidden) float32
        State after each utterance's last step here; of an utterance without frames the one that
        it was carried on from, or +0. Rounded as it enters the next sum, but for GRU.
    """

    h: Array
    kept: Array | None
    last: Array


@dataclass(frozen=True)
class Backward:
    """Gradients of `rnn_backward`, and the last states.

    Attributes
    ----------
    dx, ds : (rows, directions * cell.gates * hidden) float32
        Gradients by x and by the recurrent sums; one array unless ``cell.apart``.
    last : (directions, N, cell.backward_columns * hidden) float32
        As in `Forward`, for the frames before.
    """

    dx: Array
    ds: Array
    last: Array


def pointer(array: Array | None) -> int | None:
    """Address of an array that may be left out."""
    return None if array is None else array.pointer


def _addresses(
    carried: Carried | None, operation: str, needed: tuple[int, ...]
) -> tuple[int | None, int | None]:
    return (None, None) if carried is None else carried.of(operation, needed)


def _sizes(operation: str, cell: Cell, gates: int, x: Array, weight: Array) -> tuple[int, int]:
    """Directions and hidden units; x has so many columns a unit."""
    directions, rows, hidden = weight.shape
    if rows != cell.gates * hidden or x.shape[1] != directions * gates * hidden:
        times = "" if gates == 1 else f"{gates} * "
        tall = "hidden" if cell.gates == 1 else f"{cell.gates} * hidden"
        raise ShapeError(
            f"{operation}: weight is {weight.shape} and the rows have {x.shape[1]} columns; "
            f"needs (directions, {tall}, hidden) and {times}directions * hidden"
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
    cell: Cell = RNN,
    parts: int = 1,
    first: int = 0,
    carried: Carried | None = None,
) -> Forward:
    """Run a recurrent layer, each direction over its own columns.

    With s = W h_{t-1}, each gate with its own x_t and s: RNN: h_t = clip(x_t + s). GRU: r, z =
    sigmoid(x_t + s), n = tanh(x_t + r * s), h_t = (1 - z) * n + z * h_{t-1}. LSTM: i, f, o =
    sigmoid(x_t + s), g = tanh(x_t + s), c_t = f * c_{t-1} + i * g, h_t = o * tanh(c_t).

    Parameters
    ----------
    x : (rows, directions * cell.gates * hidden) float32
        Input products with their bias; utterances one after another.
    offsets : (N + 1,) int64
        First row of each utterance, and the number of rows.
    weight : (directions, cell.gates * hidden, hidden) float32
        Odd directions run from an utterance's last frame to its first.
    cell : Cell
    parts : int
        Cut the sum over the hidden units in so many parts (majelpy/tree.py).
    first : int
        Number of the first direction.
    carried : Carried, optional
        Where an utterance's frames before these are elsewhere.

    Notes
    -----
    Order: a gate's recurrent product is a canonical sum over the hidden units (parts by the tree),
    added to x_t, in GRU's n fma(r, sum, x_t). h_t = fma(z, h_{t-1}, (1 - z) * n); c_t = fma(f,
    c_{t-1}, i * g). At an utterance's first step sums and states of GRU and LSTM are +0. If
    ``cell.rounded``, h_{t-1} is rounded to bfloat16 in the product, and nowhere else.

    References
    ----------
    RNN: Hannun et al. 2014 (arXiv 1412.5567), section 2, equations 2 and 3. GRU: Amodei et al. 2016
    (arXiv 1512.02595), section 3. LSTM: Hochreiter and Schmidhuber 1997; Gers et al. 2000.
    """
    a, w = (
        operands.matrix("rnn_forward", "x", x),
        operands.of_rank("rnn_forward", "weight", weight, 3),
    )
    directions, hidden = _sizes("rnn_forward", cell, cell.gates, a, w)
    rows = checks.offsets("rnn_forward", offsets, a.shape[0])
    tree.parts(hidden, parts)
    on, place = operands.kernels("rnn_forward", x=a, weight=w)
    h = empty((a.shape[0], directions * hidden), device=place)
    kept = empty((a.shape[0], directions * cell.kept * hidden), device=place) if cell.kept else None
    last = empty((directions, len(rows) - 1, cell.forward_columns * hidden), device=place)
    on.mj_rnn_forward_rows(
        cell.number,
        first,
        directions,
        len(rows) - 1,
        rows.ctypes.data,
        hidden,
        parts,
        int(cell.rounded),
        a.pointer,
        w.pointer,
        *_addresses(carried, "rnn_forward", last.shape),
        h.pointer,
        pointer(kept),
        last.pointer,
    )
    return Forward(h, kept, last)


def rnn_backward(
    dy: Any,
    offsets: Any,
    weight: Any,
    h: Any,
    kept: Any = None,
    *,
    cell: Cell = RNN,
    parts: int = 1,
    first: int = 0,
    carried: Carried | None = None,
) -> Backward:
    """Return the gradients by x and by the recurrent sums, from that by the output h.

    Parameters
    ----------
    dy, h : (rows, directions * hidden) float32
    kept : (rows, directions * cell.kept * hidden) float32
        Of the `Forward`; None where the cell keeps nothing.
    offsets, weight, cell, parts, first : as in `rnn_forward`
    carried : Carried, optional
        Where an utterance's frames after these are elsewhere; with ``last`` of their `Backward`.

    Notes
    -----
    Order: dh_t = (dy_t + sum) + direct, in an LSTM fma(dh_t * o, 1 - tanh(c_t)^2, direct) for dc_t.
    The sum is that of the gates, in their order, of canonical sums over the hidden units (parts by
    the tree); if ``cell.rounded``, the next step's ds is rounded to bfloat16 in it, and nowhere
    else. The other products: kernels/rnn.h.
    """
    d, y = operands.matrix("rnn_backward", "dy", dy), operands.matrix("rnn_backward", "h", h)
    w = operands.of_rank("rnn_backward", "weight", weight, 3)
    checks.same_shape("rnn_backward", d, y)
    directions, hidden = _sizes("rnn_backward", cell, 1, d, w)
    rows = checks.offsets("rnn_backward", offsets, d.shape[0])
    tree.parts(hidden, parts)
    read = y
    if cell.kept:
        read = operands.matrix("rnn_backward", "kept", kept)
        if read.shape != (d.shape[0], directions * cell.kept * hidden):
            raise ShapeError(
                f"rnn_backward: kept is {read.shape} for dy {d.shape}; needs {cell.kept} columns "
                f"a unit of {cell.name}"
            )
    on, place = operands.kernels("rnn_backward", dy=d, weight=w, h=y, kept=read)
    dx = empty((d.shape[0], directions * cell.gates * hidden), device=place)
    ds = empty(dx.shape, device=place) if cell.apart else dx
    last = empty((directions, len(rows) - 1, cell.backward_columns * hidden), device=place)
    on.mj_rnn_backward_rows(
        cell.number,
        first,
        directions,
        len(rows) - 1,
        rows.ctypes.data,
        hidden,
        parts,
        int(cell.rounded),
        d.pointer,
        w.pointer,
        read.pointer,
        *_addresses(carried, "rnn_backward", last.shape),
        dx.pointer,
        ds.pointer,
        last.pointer,
    )
    return Backward(dx, ds, last)


def rnn_previous(
    h: Any, offsets: Any, directions: int, *, first: int = 0, carried: Carried | None = None
) -> Array:
    """Return the rows h_{t-1} in each direction's own order; at an utterance's first step h of the
    carried state (that of `rnn_forward`), or +0.
    """
    a = operands.matrix("rnn_previous", "h", h)
    rows = checks.offsets("rnn_previous", offsets, a.shape[0])
    _divides("rnn_previous", a, directions)
    hidden = a.shape[1] // directions
    on, place = operands.kernels("rnn_previous", h=a)
    out = empty(a.shape, device=place)
    columns = max(carried.state.shape[-1], hidden) if carried else hidden
    needed = (directions, len(rows) - 1, columns)
    on.mj_rnn_previous_rows(
        first,
        directions,
        len(rows) - 1,
        rows.ctypes.data,
        hidden,
        a.pointer,
        *_addresses(carried, "rnn_previous", needed),
        columns,
        out.pointer,
    )
    return out


def sum_directions(h: Any, directions: int) -> Array:
    """Return h_0 + h_1 + ... of the directions' columns, shape (rows, hidden)."""
    a = operands.matrix("sum_directions", "h", h)
    _divides("sum_directions", a, directions)
    hidden = a.shape[1] // directions
    on, place = operands.kernels("sum_directions", h=a)
    out = empty((a.shape[0], hidden), device=place)
    on.mj_sum_directions(a.shape[0], directions, hidden, a.pointer, out.pointer)
    return out


def repeat_directions(dy: Any, directions: int) -> Array:
    """Return dy once for each direction, side by side: the gradient of `sum_directions`."""
    a = operands.matrix("repeat_directions", "dy", dy)
    on, place = operands.kernels("repeat_directions", dy=a)
    out = empty((a.shape[0], a.shape[1] * directions), device=place)
    on.mj_repeat_directions(*(a.shape[0], directions, a.shape[1]), a.pointer, out.pointer)
    return out
