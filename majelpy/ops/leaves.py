"""Sums over frames that keep leaf boundaries, and the tree that combines leaves.

Policy. Results go to a stack of slots: a float32 matrix (depth, size) on the operands' place, of
which an operation writes ``count`` columns from ``column`` on. After each leaf, ``merges[leaf]``
times the top slot is added onto the one below it (majelpy/tree.py), so at the end the slots
hold the maximal subtrees of this rank's leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from majelpy.array import Array, asarray, kernels, operands
from majelpy.errors import CopyError, ShapeError
from majelpy.memory import CPU, Place

MOST_OPEN = 64
"""Entries that the stack of `tree_sum` holds (DEPTH in kernels/cpu/sums.cpp)."""


@dataclass(frozen=True)
class Leaves:
    """Boundaries and merge program of the leaves of one rank.

    Attributes
    ----------
    offsets : (leaves + 1,) int64
        First row of each leaf, and the number of rows.
    merges : (leaves,) int32
        Merges after each leaf.
    """

    offsets: np.ndarray
    merges: np.ndarray

    def of(self, operation: str, rows: int) -> tuple[int, int, int]:
        """Number of leaves and addresses, checked against the rows of an operand."""
        if len(self.merges) + 1 != len(self.offsets) or self.offsets[-1] != rows:
            raise ShapeError(
                f"{operation}: {len(self.merges)} leaves with {len(self.offsets)} offsets up to "
                f"{self.offsets[-1]}; the operand has {rows} rows"
            )
        return len(self.merges), self.offsets.ctypes.data, self.merges.ctypes.data


def _height(merges: Sequence[int]) -> int:
    """Most entries that the stack of a program holds at a time."""
    height = most = 0
    for count in merges:
        height += 1
        most = max(most, height)
        height -= count
    return most


def _matrix(operation: str, slots: Any) -> Array:
    """The slots as an array over the same memory."""
    with suppress(CopyError):
        array = asarray(slots, copy=False)
        if array.dtype == np.float32 and array.ndim == 2:
            return array
    raise ShapeError(f"{operation}: slots must be a contiguous float32 matrix")


def _place(
    operation: str, slots: Array, leaves: Leaves, column: int, count: int
) -> tuple[int, int]:
    """Address of the first column in the first slot, and the stride of a slot."""
    if len(slots) < _height(leaves.merges.tolist()):
        raise ShapeError(
            f"{operation}: {len(slots)} slots; the tree program needs "
            f"{_height(leaves.merges.tolist())}"
        )
    if column < 0 or column + count > slots.shape[1]:
        raise ShapeError(
            f"{operation}: {count} columns from {column} on; slots have {slots.shape[1]}"
        )
    return slots.pointer + 4 * column, slots.shape[1]


def gemm_leaves(
    a: Any,
    b: Any,
    leaves: Leaves,
    slots: Any,
    column: int,
    *,
    a_columns: tuple[int, int] | None = None,
    b_columns: tuple[int, int] | None = None,
    rounded: bool = False,
) -> None:
    """Push a^T b of each leaf's rows, flattened, and merge along the tree.

    Parameters
    ----------
    a : (rows, m) float32
    b : (rows, n) float32
    leaves : Leaves
    slots : (depth, size) float32
        Columns ``column .. column + m * n`` are written.
    a_columns, b_columns : (first, last), optional
        Use only these columns of a or b.
    rounded : bool
        Whether the tree keeps items and their sums rounded to bfloat16, to nearest even; a NaN
        stays one.

    Notes
    -----
    Order: within a leaf the canonical sum over its rows; leaves by the fixed tree.
    """
    x, y = operands.matrix("gemm_leaves", "a", a), operands.matrix("gemm_leaves", "b", b)
    a_first, a_last = a_columns or (0, x.shape[1])
    b_first, b_last = b_columns or (0, y.shape[1])
    m, n = a_last - a_first, b_last - b_first
    if x.shape[0] != y.shape[0] or a_last > x.shape[1] or b_last > y.shape[1]:
        raise ShapeError(
            f"gemm_leaves: columns {a_first}:{a_last} of a {x.shape} and {b_first}:{b_last} "
            f"of b {y.shape}; rows must agree and columns exist"
        )
    stack = _matrix("gemm_leaves", slots)
    on, _ = operands.kernels("gemm_leaves", a=x, b=y, slots=stack)
    on.mj_gemm_leaves(
        *leaves.of("gemm_leaves", x.shape[0]),
        m,
        n,
        x.pointer + 4 * a_first,
        x.shape[1],
        y.pointer + 4 * b_first,
        y.shape[1],
        *_place("gemm_leaves", stack, leaves, column, m * n),
        rounded,
    )


def sum_leaves(x: Any, leaves: Leaves, slots: Any, column: int, *, rounded: bool = False) -> None:
    """Push the column sums of each leaf's rows and merge along the tree.

    Parameters
    ----------
    x : (rows, columns) float32
    rounded : bool
        As for `gemm_leaves`.

    Notes
    -----
    Order: within a leaf the canonical sum over its rows; leaves by the fixed tree.
    """
    a = operands.matrix("sum_leaves", "x", x)
    columns = a.shape[1]
    stack = _matrix("sum_leaves", slots)
    on, _ = operands.kernels("sum_leaves", x=a, slots=stack)
    on.mj_sum_leaves(
        *leaves.of("sum_leaves", a.shape[0]),
        columns,
        a.pointer,
        columns,
        *_place("sum_leaves", stack, leaves, column, columns),
        rounded,
    )


def tree_sum(
    nodes: Sequence[np.ndarray],
    merges: Sequence[int],
    out: Sequence[np.ndarray],
    *,
    place: Place = CPU,
    rounded: bool = False,
) -> None:
    """Combine whole vectors by a stack program and write what remains on the stack.

    Parameters
    ----------
    nodes : sequence of (size,) float32
        Pushed in order.
    merges : sequence of int
        Merges after each push.
    out : sequence of (size,) float32
        The entries that remain, in order.
    place : Place, optional
        Where the vectors lie. On a GPU, NumPy arrays over its addresses stand for them
        (majelpy/comm/device_memory.py).
    rounded : bool
        Whether sums are rounded, as for `gemm_leaves`; nodes are taken as they are.

    Notes
    -----
    Order: each merge adds left + right; `merges` comes from majelpy.tree.
    """
    if len(nodes) == 0:
        raise ShapeError("tree_sum: no nodes; needs at least 1")
    size = len(nodes[0])
    for vector in (*nodes, *out):
        if vector.dtype != np.float32 or vector.shape != (size,) or not vector.flags.c_contiguous:
            raise ShapeError(
                f"tree_sum: a vector is {vector.dtype} {vector.shape}; needs float32 ({size},)"
            )
    if len(merges) != len(nodes) or len(nodes) - sum(merges) != len(out):
        raise ShapeError(
            f"tree_sum: {len(nodes)} nodes, {len(merges)} entries with {sum(merges)} merges, "
            f"{len(out)} outputs; needs an entry a node and nodes - merges outputs"
        )
    if _height(merges) > MOST_OPEN:
        raise ShapeError(f"tree_sum: {_height(merges)} open nodes; at most {MOST_OPEN} fit")
    sources = np.array([v.ctypes.data for v in nodes], dtype=np.int64)
    targets = np.array([v.ctypes.data for v in out], dtype=np.int64)
    program = np.array(merges, dtype=np.int32)
    kernels.library(place).mj_tree_sum(
        len(nodes),
        sources.ctypes.data,
        program.ctypes.data,
        len(out),
        targets.ctypes.data,
        size,
        rounded,
    )
