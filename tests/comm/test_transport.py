"""Gradients in bfloat16: how the tree rounds, how far off it is, and one answer on any ranks."""

from __future__ import annotations

import numpy as np
import pytest
import touchy
from makers import U, level_data, same_bits, touchy_data, words
from tree_leaves import leaves_of, slots_of

import majelpy as mj
from majelpy import ops
from majelpy import tree as comm_tree
from majelpy.comm import packed

pytest_plugins = ["training"]

U16 = 2.0**-8
"""Unit roundoff of bfloat16."""

# Halves of a last place to either side, denormals, the largest number, infinities, zeros.
EDGES = np.array(
    [
        *(0x3F808000, 0x3F818000, 0x3F807FFF, 0x3F808001, 0x3FFFFFFF, 0x00008000, 0x00018000),
        *(0x00007FFF, 0x007FFFFF, 0x7F7F7FFF, 0x7F7F8000, 0x7F7FFFFF, 0x7F800000, 0, 1),
    ],
    np.uint32,
)


def rounded(x: np.ndarray) -> np.ndarray:
    """Return what the tree keeps of x: the sum of a leaf of one row."""
    slots = np.zeros((1, x.size), np.float32)
    ops.sum_leaves(x.reshape(1, -1), leaves_of([1]), slots, 0, rounded=True)
    return slots[0]


def test_rounding_is_to_nearest_even() -> None:
    bits = np.concatenate([EDGES, EDGES | 0x80000000, words(10_000, 1)])
    x = bits.view(np.float32)
    x = x[~np.isnan(x)] + np.float32(0)  # a sum begins at +0
    finite = np.isfinite(x)
    found = rounded(x)
    assert same_bits(found[finite], touchy.bfloat16(x[finite]))
    assert same_bits(found[~finite], x[~finite])
    assert same_bits(ops.round_bfloat16(x), found)
    assert same_bits(found, mj.astype(mj.astype(mj.asarray(x), mj.bfloat16), mj.float32).numpy())


def test_a_nan_stays_one() -> None:
    bits = np.array([0x7FC00000, 0x7F800001, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF] * 9, np.uint32)
    for found in (
        rounded(bits.view(np.float32)),
        ops.round_bfloat16(bits.view(np.float32)).numpy(),
    ):
        assert np.isnan(found).all()
        assert not (found.view(np.uint32) & 0xFFFF).any()


def test_packing_moves_bits() -> None:
    values = rounded(touchy_data(1001, 1))
    carrier, found = np.zeros(1001, np.uint16), np.full(1001, np.nan, np.float32)
    packed.pack(values, carrier)
    packed.unpack(found, carrier)
    assert same_bits(found, values)
    assert len(np.unique(carrier)) > 500  # not of one value


def test_every_ranks_nodes_are_numbers_of_16_bits() -> None:
    x, y = level_data((30, 19), 1), level_data((30, 21), 2)
    leaves = leaves_of([5, 9, 1, 8, 7])
    slots = slots_of(5, 0, 5, 19 * 21)
    ops.gemm_leaves(x, y, leaves, slots, 0, rounded=True)
    assert not (slots[0].view(np.uint32) & 0xFFFF).any()
    exact = slots_of(5, 0, 5, 19 * 21)
    ops.gemm_leaves(x, y, leaves, exact, 0)
    assert (exact[0].view(np.uint32) & 0xFFFF).any()


@pytest.mark.parametrize("leaves", [1, 2, 5, 8, 13])
def test_the_error_is_within_its_bound(leaves: int) -> None:
    # A product passes one fma a row of its leaf, at most; then the leaf's rounding; and at each of
    # at most log2(leaves), rounded up, nodes a sum and its rounding. Each factor is 1 + U or U16.
    rows = [3 + leaf % 4 for leaf in range(leaves)]
    a, b = level_data((sum(rows), 30), 1), level_data((sum(rows), 20), 2)
    slots = slots_of(leaves, 0, leaves, 600)
    ops.gemm_leaves(a, b, leaves_of(rows), slots, 0, rounded=True)
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    height = (leaves - 1).bit_length()
    factor = (1 + U) ** (max(rows) + height) * (1 + U16) ** (1 + height) - 1
    bound = factor * (abs(wide_a).T @ abs(wide_b))
    error = abs(slots[0].reshape(30, 20).astype(np.float64) - wide_a.T @ wide_b)
    assert (error <= bound).all()
    assert (error > bound * 2.0**-10).any()  # far more than float32 would have


@pytest.mark.parametrize(("first", "last"), [(0, 3), (3, 8), (2, 7)])
def test_ranks_that_add_later_give_the_same_bits(first: int, last: int) -> None:
    rows = [4, 1, 7, 300, 2, 6, 5, 3]
    starts = np.cumsum([0, *rows])
    x = touchy_data((sum(rows), 33), 3)
    whole = slots_of(8, 0, 8, 33)
    ops.sum_leaves(x, leaves_of(rows), whole, 0, rounded=True)
    items, nodes = [], []
    for low, high in ((0, first), (first, last), (last, 8)):
        if low < high:
            slots = slots_of(8, low, high, 33)
            mine = leaves_of(rows[low:high], 8, low)
            ops.sum_leaves(x[starts[low] : starts[high]], mine, slots, 0, rounded=True)
            found = comm_tree.nodes(8, low, high)
            items += found
            nodes += list(slots[: len(found)])
    out = np.empty(33, np.float32)
    ops.tree_sum(nodes, comm_tree.node_merges(8, items), [out], rounded=True)
    assert same_bits(out, whole[0])
