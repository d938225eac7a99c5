"""Matrix products: the canonical sum whatever the tiling."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest
from makers import U, exact_data, fma, gemm, gemm_in_parts, same_bits, touchy_data, tree
from tree_leaves import LEAF_ROWS, leaves_of, slots_of

from majelpy import native, ops
from majelpy.errors import DTypeError, ShapeError

EDGES = (0, 1, 13, 14, 15, 31, 32, 33)
DEPTHS = (0, 1, 13, 14, 15, 31, 32, 33, 255, 256, 257, 600)


@cache
def operands(depth: int, tiny: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a, b and their canonical product, 33 by 33; smaller cases are corners of it."""
    a = touchy_data((33, depth), depth, tiny=tiny)
    b = touchy_data((depth, 33), depth + 1, tiny=tiny)
    return a, b, gemm(a, b)


def product(a: np.ndarray, b: np.ndarray, form: str) -> np.ndarray:
    """Return a b, with the operands stored as the form says: n as they are, t transposed."""
    x = np.ascontiguousarray(a.T if form[0] == "t" else a)
    y = np.ascontiguousarray(b.T if form[1] == "t" else b)
    return ops.gemm(x, y, transpose_a=form[0] == "t", transpose_b=form[1] == "t").numpy()


@pytest.mark.parametrize("form", ["nn", "nt", "tn", "tt"])
@pytest.mark.parametrize("depth", DEPTHS)
def test_products_are_canonical_at_every_edge(depth: int, form: str) -> None:
    a, b, whole = operands(depth)
    for m, n in itertools.product(EDGES, EDGES):
        assert same_bits(product(a[:m], b[:, :n], form), np.ascontiguousarray(whole[:m, :n]))


@pytest.mark.parametrize("form", ["nn", "nt", "tn"])
def test_products_are_canonical_on_every_isa(each_isa: str, form: str) -> None:
    for depth, tiny in ((33, False), (257, False), (257, True)):
        a, b, whole = operands(depth, tiny)
        for m, n in ((33, 33), (15, 9), (1, 33), (33, 1)):
            assert same_bits(product(a[:m], b[:, :n], form), np.ascontiguousarray(whole[:m, :n]))


@pytest.mark.parametrize(("depth", "parts"), [(32, 2), (33, 3), (257, 5), (600, 2), (600, 7)])
def test_products_in_parts(depth: int, parts: int, each_isa: str) -> None:
    a, b, whole = operands(depth)
    found = ops.gemm(a, b, parts=parts).numpy()
    assert same_bits(found, gemm_in_parts(a, b, parts))
    assert not same_bits(found, whole), "the data show no order"
    assert same_bits(ops.gemm(a[:5], b, parts=parts).numpy(), found[:5].copy())


def test_no_part_is_empty() -> None:
    a, b, _ = operands(33)
    with pytest.raises(ShapeError, match=r"^parts: 33 units in 4 parts; needs 1 to 3 parts of 16"):
        ops.gemm(a, b, parts=4)


def test_denormal_products_are_kept() -> None:
    _, _, whole = operands(257, True)
    assert ((whole != 0) & (np.abs(whole) < 2.0**-126)).any()


def test_one_output_by_python_floats() -> None:
    a, b, whole = operands(600)
    total = None
    for start in range(0, 600, 256):
        chunk = np.float32(0)
        for k in range(start, min(start + 256, 600)):
            chunk = fma(a[5, k], b[k, 7], chunk)[()]
        total = chunk if total is None else np.float32(total + chunk)
    assert same_bits(total, whole[5, 7])


@pytest.mark.parametrize("form", ["nn", "nt", "tn"])
def test_large_products_meet_every_block_edge(form: str) -> None:
    # More than a block of rows and of columns in every build (168 and 2048 with AVX-512).
    for m, n, k in ((171, 2051, 40), (350, 33, 300), (3, 4100, 257)):
        a, b = exact_data((m, k), m), exact_data((k, n), n)
        wanted = (a.astype(np.float64) @ b.astype(np.float64)).astype(np.float32)
        assert same_bits(product(a, b, form), wanted)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_threads_change_no_bit(count: int, threads: None) -> None:
    a, b = touchy_data((190, 300), 1), touchy_data((300, 333), 2)
    native.set_threads(1)
    alone = ops.gemm(a, b).numpy()
    native.set_threads(count)
    for _ in range(3):
        assert same_bits(ops.gemm(a, b), alone)
    assert same_bits(ops.gemm(a[:3], b), alone[:3])


def test_a_row_alone_equals_itself_in_company() -> None:
    a, b = touchy_data((40, 300), 3), touchy_data((300, 65), 4)
    whole = ops.gemm(a, b).numpy()
    for i in range(40):
        assert same_bits(ops.gemm(a[i : i + 1], b), whole[i : i + 1])
    for j in range(0, 65, 7):
        assert same_bits(ops.gemm(a, b[:, j : j + 1].copy()), whole[:, j : j + 1].copy())


def test_products_are_right() -> None:
    # As in test_sum: at most 256 + k/256 + 1 roundings of each term, each of a share of 2^-24;
    # a denormal result is rounded to a multiple of 2^-149 instead, once for each term.
    for k in (1, 257, 600):
        a, b, whole = operands(k)
        wide = a.astype(np.float64) @ b.astype(np.float64)
        most = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
        assert (np.abs(whole - wide) <= (256 + k / 256 + 1) * U * most + k * 2.0**-150).all()


def test_another_order_gives_other_bits() -> None:
    a, b, whole = operands(600)
    assert not same_bits(product(a[:, ::-1], b[::-1], "nn"), whole)
    unchunked = np.zeros((33, 33), np.float32)
    for k in range(600):
        unchunked = fma(a[:, k, None], b[None, k], unchunked)
    assert not same_bits(unchunked, whole)
    unfused = np.zeros((33, 33), np.float32)
    a, b, whole = operands(255)
    for k in range(255):
        unfused = unfused + a[:, k, None] * b[None, k]
    assert not same_bits(unfused, whole)


def test_sums_of_nothing_are_plus_zero() -> None:
    found = ops.gemm(np.zeros((3, 0), np.float32), np.zeros((0, 5), np.float32))
    assert same_bits(found, np.zeros((3, 5), np.float32))
    assert ops.gemm(np.zeros((0, 4), np.float32), np.zeros((4, 5), np.float32)).shape == (0, 5)


@pytest.mark.parametrize("leaves", [1, 3, 8, 11])
def test_leaf_products_are_canonical_and_follow_the_tree(leaves: int) -> None:
    rows = LEAF_ROWS[:leaves]
    a, b = touchy_data((sum(rows), 20), 5), touchy_data((sum(rows), 35), 6)
    cut = np.cumsum(rows)[:-1]
    parts = zip(np.split(a, cut), np.split(b, cut), strict=True)
    wanted = tree([gemm(x.T, y) for x, y in parts])
    slots = slots_of(leaves, 0, leaves, 720)
    ops.gemm_leaves(a, b, leaves_of(rows), slots, 12)
    assert same_bits(slots[0, 12:712].reshape(20, 35), wanted)
    assert (slots[:, :12] == 7).all() and (slots[:, 712:] == 7).all()
    ops.gemm_leaves(a, b, leaves_of(rows), slots, 1, a_columns=(3, 18), b_columns=(20, 35))
    assert same_bits(slots[0, 1:226].reshape(15, 15), wanted[3:18, 20:35].copy())
    if leaves > 2:
        assert not same_bits(gemm(a.T, b), wanted), "leaf boundaries must show"


def test_errors_of_products() -> None:
    a, b = np.zeros((2, 3), np.float32), np.zeros((4, 5), np.float32)
    with pytest.raises(ShapeError, match=r"^gemm: a is \(2, 3\) and b is \(4, 5\); inner sizes 3 "):
        ops.gemm(a, b)
    with pytest.raises(ShapeError, match=r"^gemm: a\^T is \(3, 2\) and b\^T is \(5, 4\); inner"):
        ops.gemm(a, b, transpose_a=True, transpose_b=True)
    with pytest.raises(DTypeError, match=r"^gemm: b is int64; needs float32$"):
        ops.gemm(a, np.zeros((3, 2), np.int64))
    with pytest.raises(ShapeError, match=r"^gemm: a has shape \(3,\); needs 2 axes$"):
        ops.gemm(np.zeros(3, np.float32), b)
    slots = np.zeros((1, 15), np.float32)
    with pytest.raises(ShapeError, match=r"^gemm_leaves: columns 0:3 of a \(2, 3\) and 0:5 of b"):
        ops.gemm_leaves(a, b, leaves_of([2]), slots, 0)
    with pytest.raises(ShapeError, match=r"^gemm_leaves: 9 columns from 8 on; slots have 15$"):
        ops.gemm_leaves(a, a, leaves_of([2]), slots, 8)
