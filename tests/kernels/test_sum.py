"""The canonical sum: columns, squares, leaves and trees."""

from __future__ import annotations

import numpy as np
import pytest
from makers import U, exact_data, fma, same_bits, square_sum, sum_rows, touchy_data, tree
from tree_leaves import LEAF_ROWS, leaves_of, slots_of

from majelpy import ops
from majelpy import tree as comm_tree
from majelpy.errors import DTypeError, ShapeError

COUNTS = (0, 1, 2, 13, 14, 15, 255, 256, 257, 511, 512, 513, 600, 5000)


def bound(count: int, magnitude: np.ndarray) -> np.ndarray:
    """Return the largest error of a canonical sum of terms whose magnitudes add to `magnitude`.

    A term meets at most 256 roundings in its chunk and count/256 in the total, each of a
    relative size of at most 2^-24; second order is covered by the one more.
    """
    return (256 + count / 256 + 1) * U * magnitude


@pytest.mark.parametrize("count", COUNTS)
def test_column_sums_are_canonical(count: int) -> None:
    for columns in (1, 15, 16, 33):
        x = touchy_data((count, columns), count)
        assert same_bits(ops.sum_rows(x), sum_rows(x))


@pytest.mark.parametrize("count", COUNTS)
def test_square_sums_are_canonical(count: int) -> None:
    x = touchy_data(count, count)
    assert same_bits(ops.square_sum(x), square_sum(x))


def test_square_sum_of_more_chunks_than_a_task_has() -> None:
    x = touchy_data(256 * 300 + 77, 3)
    padded = np.pad(x, (0, -len(x) % 256)).reshape(-1, 256)  # fma(0, 0, s) is s for s >= +0
    chunks = np.zeros(len(padded), np.float32)
    for i in range(256):
        chunks = fma(padded[:, i], padded[:, i], chunks)
    total = chunks[0]
    for chunk in chunks[1:]:
        total = total + chunk
    assert same_bits(ops.square_sum(x), np.float32([total]))


@pytest.mark.parametrize("count", [1, 256, 600, 5000])
def test_sums_are_right(count: int) -> None:
    x = touchy_data((count, 33), count + 1)
    wide = x.astype(np.float64)
    error = np.abs(ops.sum_rows(x).numpy() - wide.sum(0))
    assert (error <= bound(count, np.abs(wide).sum(0))).all()
    squares = np.square(wide[:, 0]).sum()
    assert abs(ops.square_sum(x[:, 0].copy()).numpy()[0] - squares) <= bound(count, squares)


def test_exact_sums_have_no_error_in_any_order() -> None:
    x = exact_data((600, 20), 1)
    assert same_bits(ops.sum_rows(x), x.astype(np.float64).sum(0).astype(np.float32))
    assert same_bits(ops.sum_rows(x[::-1]), ops.sum_rows(x))


def test_another_order_gives_other_bits() -> None:
    x = touchy_data((600, 20), 2)
    right = ops.sum_rows(x)
    unchunked = np.zeros(20, np.float32)
    for row in x:
        unchunked = unchunked + row
    assert not same_bits(ops.sum_rows(x[::-1]), right)
    assert not same_bits(unchunked, right)
    assert not same_bits(x.sum(0), right)
    squares = ops.square_sum(x[:, 0].copy()).numpy()
    assert not same_bits(ops.square_sum(x[::-1, 0].copy()), squares)


def test_sums_of_nothing_are_plus_zero() -> None:
    minus = np.full((1, 3), -0.0, np.float32)
    for found in (ops.sum_rows(np.zeros((0, 3), np.float32)), ops.sum_rows(minus)):
        assert same_bits(found, np.zeros(3, np.float32))
    assert same_bits(ops.square_sum(np.zeros(0, np.float32)), np.zeros(1, np.float32))
    assert ops.sum_rows(np.zeros((5, 0), np.float32)).shape == (0,)


def test_columns_do_not_see_one_another() -> None:
    x = touchy_data((300, 40), 5)
    whole = ops.sum_rows(x).numpy()
    for j in range(40):
        assert same_bits(ops.sum_rows(x[:, j : j + 1].copy()), whole[j : j + 1])


@pytest.mark.parametrize("squared", [False, True])
def test_deviations_are_rounded_before_they_are_added(squared: bool) -> None:
    x, center = touchy_data((600, 21), 6), touchy_data(21, 7)
    terms = x - center
    wanted = sum_rows(terms * terms if squared else terms)
    assert same_bits(ops.sum_deviations(x, center, squared=squared), wanted)


@pytest.mark.parametrize("leaves", [1, 2, 3, 5, 8, 11])
def test_leaf_sums_are_canonical_and_follow_the_tree(leaves: int) -> None:
    rows = LEAF_ROWS[:leaves]
    x = touchy_data((sum(rows), 19), leaves)
    parts = np.split(x, np.cumsum(rows)[:-1])
    slots = slots_of(leaves, 0, leaves, 40)
    ops.sum_leaves(x, leaves_of(rows), slots, 11)
    assert same_bits(slots[0, 11:30], tree([sum_rows(part) for part in parts]))
    assert (slots[:, :11] == 7).all() and (slots[:, 30:] == 7).all()


def test_another_tree_gives_other_bits() -> None:
    rows = [3, 4, 2, 5, 3, 3]
    x = touchy_data((sum(rows), 50), 9)
    slots = slots_of(6, 0, 6, 50)
    ops.sum_leaves(x, leaves_of(rows), slots, 0)
    one_by_one = ops.Leaves(leaves_of(rows).offsets, np.array([0, 1, 1, 1, 1, 1], np.int32))
    chain = np.zeros((2, 50), np.float32)
    ops.sum_leaves(x, one_by_one, chain, 0)
    assert not same_bits(chain[0], slots[0])
    assert not same_bits(sum_rows(x), slots[0])


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7])
def test_any_number_of_ranks_adds_to_the_same_bits(ranks: int) -> None:
    total, rows, size = 11, LEAF_ROWS, 23
    x = touchy_data((sum(rows), size), 10)
    starts = np.cumsum([0, *rows])
    left, items = [], []
    for rank in range(ranks):
        first, last = comm_tree.leaf_range(total, ranks, rank)
        slots = slots_of(total, first, last, size)
        mine = np.ascontiguousarray(x[starts[first] : starts[last]])
        ops.sum_leaves(mine, leaves_of(rows[first:last], total, first), slots, 0)
        nodes = comm_tree.nodes(total, first, last)
        left += list(slots[: len(nodes)])
        items += nodes
    out = np.zeros(size, np.float32)
    ops.tree_sum(left, comm_tree.node_merges(total, items), [out])
    parts = np.split(x, starts[1:-1])
    assert same_bits(out, tree([sum_rows(part) for part in parts]))


@pytest.mark.parametrize("nodes", [1, 2, 3, 6, 7, 16, 17])
def test_tree_sum_follows_the_tree(nodes: int) -> None:
    for size in (1, 15, 2048, 5003):
        vectors = [touchy_data(size, 100 * nodes + i) for i in range(nodes)]
        out = np.empty(size, np.float32)
        ops.tree_sum(vectors, comm_tree.merges(nodes, 0, nodes), [out])
        assert same_bits(out, tree(vectors))
        if nodes > 2 and size > 15:
            ops.tree_sum(vectors[1:] + vectors[:1], comm_tree.merges(nodes, 0, nodes), [out])
            assert not same_bits(out, tree(vectors))


def test_tree_sum_leaves_the_nodes_that_have_no_sibling() -> None:
    vectors = [touchy_data(5003, i) for i in range(5)]
    wanted = [vectors[0] + vectors[1], vectors[2], vectors[3] + vectors[4]]
    out = [np.empty(5003, np.float32) for _ in wanted]
    ops.tree_sum(vectors, [0, 1, 0, 0, 1], out)
    assert all(same_bits(found, want) for found, want in zip(out, wanted, strict=True))


def test_errors_of_sums() -> None:
    zeros = np.zeros((4, 3), np.float32)
    with pytest.raises(DTypeError, match=r"^sum_rows: x is float64; needs float32$"):
        ops.sum_rows(np.zeros((2, 2)))
    with pytest.raises(ShapeError, match=r"^sum_rows: x has shape \(3,\); needs 2 axes$"):
        ops.sum_rows(np.zeros(3, np.float32))
    with pytest.raises(ShapeError, match=r"^sum_deviations: center has 2 columns; needs 3$"):
        ops.sum_deviations(zeros, np.zeros(2, np.float32))
    slots = np.zeros((2, 5), np.float32)
    with pytest.raises(ShapeError, match=r"^sum_leaves: 2 leaves with 3 offsets up to 5; the op"):
        ops.sum_leaves(zeros, leaves_of([2, 3]), slots, 0)
    with pytest.raises(ShapeError, match=r"^sum_leaves: 3 columns from 3 on; slots have 5$"):
        ops.sum_leaves(zeros, leaves_of([2, 2]), slots, 3)
    with pytest.raises(ShapeError, match=r"^sum_leaves: slots must be a contiguous float32 matr"):
        ops.sum_leaves(zeros, leaves_of([2, 2]), slots[:, ::2], 0)
    vectors = [np.zeros(3, np.float32)] * 3
    with pytest.raises(ShapeError, match=r"^tree_sum: 3 nodes, 3 entries with 1 merges, 1 outputs"):
        ops.tree_sum(vectors, [0, 1, 0], vectors[:1])
    with pytest.raises(ShapeError, match=r"^tree_sum: a vector is float64 \(3,\); needs float32"):
        ops.tree_sum([np.zeros(3)], [0], vectors[:1])
