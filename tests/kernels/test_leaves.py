"""The slots of open tree nodes: depth, contents, boundaries."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from makers import exact_data, same_bits, sum_rows, touchy_data, tree
from tree_leaves import leaves_of, slots_of

from majelpy import native, ops
from majelpy import tree as comm_tree


@pytest.mark.parametrize(
    ("total", "first", "last"), [(8, 3, 6), (8, 1, 8), (11, 0, 7), (13, 5, 12)]
)
def test_slots_hold_the_maximal_subtrees(total: int, first: int, last: int) -> None:
    rows = [leaf % 4 for leaf in range(first, last)]
    x = touchy_data((sum(rows), 9), total)
    slots = slots_of(total, first, last, 9)
    ops.sum_leaves(x, leaves_of(rows, total, first), slots, 0)
    starts = np.cumsum([0, *rows])
    for slot, (low, high) in zip(slots, comm_tree.nodes(total, first, last), strict=False):
        cut = itertools.pairwise(starts[low - first : high - first + 1])
        assert same_bits(slot, tree([sum_rows(x[a:b]) for a, b in cut]))


def test_gradients_of_the_same_leaves_share_the_slots() -> None:
    rows = [4, 2, 7]
    x, y = exact_data((13, 3), 1), exact_data((13, 5), 2)
    slots = slots_of(3, 0, 3, 18)
    leaves = leaves_of(rows)
    ops.gemm_leaves(x, y, leaves, slots, 0)
    ops.sum_leaves(x, leaves, slots, 15)
    assert same_bits(slots[0, :15].reshape(3, 5), x.T @ y)
    assert same_bits(slots[0, 15:], x.sum(0))


def test_leaves_without_rows_are_plus_zero() -> None:
    slots = slots_of(4, 0, 4, 6)
    none = np.zeros((0, 3), np.float32)
    ops.sum_leaves(none, leaves_of([0, 0, 0, 0]), slots, 3)
    ops.gemm_leaves(none, none[:, :1], leaves_of([0, 0, 0, 0]), slots, 0)
    assert same_bits(slots[0], np.zeros(6, np.float32))
    ops.sum_leaves(none, ops.Leaves(np.zeros(1, np.int64), np.zeros(0, np.int32)), slots, 0)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_threads_change_no_bit(count: int, threads: None) -> None:
    rows = [60, 0, 300, 41, 5]
    x, y = touchy_data((406, 150), 1), touchy_data((406, 170), 2)

    def results() -> np.ndarray:
        slots = slots_of(5, 0, 5, 150 * 170 + 150)
        ops.gemm_leaves(x, y, leaves_of(rows), slots, 0)
        ops.sum_leaves(x, leaves_of(rows), slots, 150 * 170)
        return slots[0].copy()

    alone = results()
    native.set_threads(count)
    assert same_bits(results(), alone)
