"""Sums over frames that keep apart the items of the tree, a row of a matrix for each.

Policy. An item is a leaf, or one time part of each utterance of a leaf (majelpy/nn/share.py). Its
rows need not lie together: a list names them, so nothing is moved. `merge_items` adds the items of
each leaf; `ops.sum_leaves` with a row an item takes such a matrix to the gradient's slots.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from majelpy import tree
from majelpy.array import Array, checks, empty, operands
from majelpy.errors import ShapeError
from majelpy.ops.leaves import Leaves, sum_leaves


@dataclass(frozen=True)
class Items:
    """Rows of each item, and its leaf.

    Attributes
    ----------
    offsets : (I + 1,) int64
        First place of each item in the list of rows, and the list's length.
    leaves : (I,) int64
        Leaf of each item, from 0 on and ascending; each leaf has an item.
    order : (M,) int64, optional
        The list of rows; by default the rows as they are.
    """

    offsets: np.ndarray
    leaves: np.ndarray
    order: np.ndarray | None = None

    @cached_property
    def leaf_count(self) -> int:
        """Number of leaves."""
        return int(self.leaves[-1]) + 1 if len(self.leaves) else 0

    def repeated(self, count: int) -> Items:
        """The items where each row is ``count`` rows, as `Array.reshape` makes of columns."""
        order = self.order
        if order is not None:
            order = (order[:, None] * count + np.arange(count)).reshape(-1)
        return Items(self.offsets * count, self.leaves, order)

    def of(self, operation: str, rows: int) -> tuple[int, int, int | None]:
        """Number of items and addresses, checked against the rows of an operand."""
        count = len(self.leaves)
        steps = np.diff(self.leaves, prepend=-1)
        if len(self.offsets) != count + 1 or ((steps < 0) | (steps > 1)).any():
            raise ShapeError(
                f"{operation}: {count} items with {len(self.offsets)} offsets, of the leaves "
                f"{self.leaves.tolist()[:8]}; needs an offset more, and leaves 0, 1, ... in order"
            )
        listed = rows if self.order is None else len(self.order)
        checks.offsets(operation, self.offsets, listed)
        if self.order is None:
            return count, self.offsets.ctypes.data, None
        if listed and not (self.order.min() >= 0 and self.order.max() < rows):
            raise ShapeError(
                f"{operation}: rows {self.order.min()} to {self.order.max()} are listed; "
                f"the operand has {rows}"
            )
        return count, self.offsets.ctypes.data, self.order.ctypes.data


def sum_items(x: Any, items: Items) -> Array:
    """Return the column sums of each item's rows, (I, columns), for x (rows, columns) float32.

    Notes
    -----
    Order: the canonical sum over the item's rows.
    """
    a = operands.matrix("sum_items", "x", x)
    on, place = operands.kernels("sum_items", x=a)
    out = empty((len(items.leaves), a.shape[1]), device=place)
    on.mj_sum_items(*items.of("sum_items", a.shape[0]), a.shape[1], a.pointer, out.pointer)
    return out


def merge_items(sums: Any, items: Items) -> Array:
    """Return the sums of each leaf, (K, columns), from those of its items, (I, columns).

    Notes
    -----
    Order: the tree over the leaf's items.
    """
    a = operands.matrix("merge_items", "sums", sums)
    if len(a) != len(items.leaves):
        raise ShapeError(f"merge_items: sums are {a.shape}; needs {len(items.leaves)} rows")
    if items.leaf_count == len(a):
        return a
    counts = np.bincount(items.leaves, minlength=items.leaf_count).tolist()
    merges = [step for count in counts for step in tree.merges(count, 0, count)]
    depth = items.leaf_count - 1 + max(tree.depth(count, 0, count) for count in counts)
    slots = empty((depth, a.shape[1]), device=a.place)
    leaves = Leaves(np.arange(len(a) + 1, dtype=np.int64), np.array(merges, dtype=np.int32))
    sum_leaves(a, leaves, slots, 0)
    return slots[: items.leaf_count]
