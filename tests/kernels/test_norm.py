"""Sums over items, batch norm over leaves, layer norm over columns."""

from __future__ import annotations

import itertools
from typing import Any

import needs
import numpy as np
import pytest
from makers import (
    U,
    canonical,
    exact_data,
    fma,
    level_data,
    rectify,
    same_bits,
    sum_rows,
    touchy_data,
    tree,
)

from majelpy import native, ops
from majelpy.errors import ShapeError

ROWS = np.array([0, 300, 300, 305, 306, 900], dtype=np.int64)
LEAVES = np.array([0, 0, 1, 1, 2], dtype=np.int64)
LISTED = np.argsort(np.arange(900) * 7919 % 900).astype(np.int64)
PLAIN, MIXED = ops.Items(ROWS, LEAVES), ops.Items(ROWS, LEAVES, LISTED)
BOUNDS = np.array([0, 305, 305, 700], dtype=np.int64)
"""Rows of leaves, the second of them empty."""


def dot_rows(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the canonical sum of products of each column."""
    return canonical(len(a), lambda s, i: fma(a[i], b[i], s), np.zeros(a.shape[1]))


def hat_of(x: np.ndarray, mean: np.ndarray, rstd: np.ndarray) -> np.ndarray:
    return (x - mean) * rstd


def each_item(items: ops.Items) -> list[tuple[np.ndarray, int]]:
    """Rows and leaf of each item."""
    listed = np.arange(items.offsets[-1]) if items.order is None else items.order
    pairs = itertools.pairwise(items.offsets)
    return [(listed[a:b], leaf) for (a, b), leaf in zip(pairs, items.leaves, strict=True)]


@pytest.mark.parametrize("items", [PLAIN, MIXED], ids=["rows", "listed rows"])
@pytest.mark.parametrize("columns", [1, 37, 150])
def test_sums_over_items_have_the_canonical_order(
    each_isa: str, items: ops.Items, columns: int
) -> None:
    x, dy = touchy_data((900, columns), 1), touchy_data((900, columns), 2)
    mean, rstd = touchy_data((3, columns), 3), touchy_data((3, columns), 4)
    plain, squares, both = [], [], []
    for rows, leaf in each_item(items):
        d, hat = x[rows] - mean[leaf], hat_of(x[rows], mean[leaf], rstd[leaf])
        plain.append(sum_rows(x[rows]))
        squares.append(dot_rows(d, d))
        both.append(np.concatenate([sum_rows(dy[rows]), dot_rows(dy[rows], hat)]))
    assert same_bits(ops.sum_items(x, items), np.stack(plain))
    assert same_bits(ops.deviation_items(x, mean, items), np.stack(squares))
    assert same_bits(ops.gradient_items(dy, x, mean, rstd, items), np.stack(both))


def test_items_of_a_leaf_are_added_by_the_tree() -> None:
    counts = [4, 1, 2]
    sums = touchy_data((sum(counts), 70), 5) + np.float32(0)  # a sum is never -0
    items = ops.Items(np.arange(8), np.repeat(np.arange(3), counts))
    cuts = itertools.pairwise(np.cumsum([0, *counts]))
    expected = np.stack([tree(list(sums[a:b])) for a, b in cuts])
    assert same_bits(ops.merge_items(sums, items), expected)
    single = ops.Items(np.arange(8), np.arange(7))
    assert same_bits(ops.merge_items(sums, single), sums)


def test_rows_that_are_cut_into_more_keep_their_items() -> None:
    # A frame of 5 x 3 columns as 5 rows: statistics of 3 channels.
    x = touchy_data((900, 15), 6)
    order = (LISTED[:, None] * 5 + np.arange(5)).reshape(-1)
    whole = ops.Items(ROWS * 5, LEAVES, order)
    found = ops.sum_items(x.reshape(4500, 3), MIXED.repeated(5))
    assert same_bits(found, ops.sum_items(x.reshape(4500, 3), whole))
    assert same_bits(found, ops.sum_items(x.reshape(4500, 3)[order], PLAIN.repeated(5)))


def statistics(x: np.ndarray) -> tuple[Any, Any]:
    """Mean and rstd of the leaves of BOUNDS."""
    items, counts = ops.Items(BOUNDS, np.arange(3)), np.diff(BOUNDS)
    mean = ops.leaf_means(ops.sum_items(x, items), counts)
    variance = ops.leaf_means(ops.deviation_items(x, mean, items), counts)
    return mean, ops.rstd(variance)


def test_the_norm_of_a_leaf_is_right() -> None:
    # n terms in chunks of 256: a sum is off by at most (256 + n / 256) U of the sum of magnitudes.
    x = level_data((700, 40), 7, 4.0) + np.float32(2)
    mean, rstd = (v.numpy() for v in statistics(x))
    for leaf, (a, b) in enumerate(itertools.pairwise(BOUNDS)):
        if a == b:
            assert same_bits(mean[leaf], np.zeros(40, np.float32))
            assert same_bits(rstd[leaf], np.float32(1) / np.sqrt(np.full(40, 1e-5, np.float32)))
            continue
        exact, share = x[a:b].astype(np.float64), (258 + (b - a) / 256) * U
        off = share * np.abs(exact).mean(0)
        assert (np.abs(mean[leaf] - exact.mean(0)) <= off).all()
        # A mean that is off by e shifts the variance by e^2; each square has two roundings more.
        spread = exact.var(0) * (1 + share + 3 * U) + off**2 + 1e-5 - (exact.var(0) + 1e-5)
        wanted = 1 / np.sqrt(exact.var(0) + 1e-5)
        assert (np.abs(rstd[leaf] / wanted - 1) <= spread / exact.var(0) + 4 * U).all()


@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize("columns", [1, 16, 37])
def test_the_maps_round_as_the_bodies_say(each_isa: str, columns: int, clipped: bool) -> None:
    x, dy = touchy_data((700, columns), 8), touchy_data((700, columns), 9)
    mean, rstd = touchy_data((3, columns), 10), touchy_data((3, columns), 11)
    gain, bias = touchy_data(columns, 12), touchy_data(columns, 13)
    means = touchy_data((3, 2 * columns), 14)
    leaf = np.repeat(np.arange(3), np.diff(BOUNDS))
    hat = hat_of(x, mean[leaf], rstd[leaf])
    wanted = fma(gain, hat, bias)
    found = ops.batch_norm(x, BOUNDS, mean, rstd, gain, bias, clipped=clipped)
    assert same_bits(found, rectify(wanted) if clipped else wanted)
    one, two = means[leaf, :columns], means[leaf, columns:]
    expected = (gain * rstd[leaf]) * (dy - fma(hat, two, one))
    assert same_bits(ops.batch_norm_backward(dy, x, BOUNDS, mean, rstd, gain, means), expected)


def test_running_statistics_move_a_share_of_the_way() -> None:
    before, sums = touchy_data(70, 15), touchy_data(70, 16)
    rate = np.float32(0.1)
    found = before.copy()
    ops.running(found, sums, 3, 0.1)
    assert same_bits(found, fma(rate, sums / np.float32(3) - before, before))
    sums[:3] = np.inf, -np.inf, np.nan
    again = before.copy()
    ops.running(again, sums, 3, 0.1)
    assert same_bits(again, np.concatenate([before[:3], found[3:]]))


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 255), (37, 256), (20, 700), (0, 3)])
def test_layer_norm_has_the_canonical_order(each_isa: str, rows: int, columns: int) -> None:
    x, dy = level_data((rows, columns), 17), touchy_data((rows, columns), 18)
    gain, bias = touchy_data(columns, 19), touchy_data(columns, 20)
    count = np.float32(columns)
    mean = sum_rows(x.T) / count
    d = x - mean[:, None]
    rstd = np.float32(1) / np.sqrt(dot_rows(d.T, d.T) / count + np.float32(1e-5))
    hat = hat_of(x, mean[:, None], rstd[:, None])
    y, *found = ops.layer_norm(x, gain, bias)
    assert same_bits(found[0], mean) and same_bits(found[1], rstd)
    assert same_bits(y, fma(gain, hat, bias))
    scaled = gain * dy
    one, two = sum_rows(scaled.T) / count, dot_rows(scaled.T, hat.T) / count
    dx, rows_of_gain = ops.layer_norm_backward(dy, x, mean, rstd, gain)
    assert same_bits(dx, rstd[:, None] * (scaled - fma(hat, two[:, None], one[:, None])))
    assert same_bits(rows_of_gain, dy * hat)


def norm_of(torch: Any, x: Any, axes: int) -> Any:
    spread = x.var(dim=axes, keepdim=True, unbiased=False)
    return (x - x.mean(dim=axes, keepdim=True)) / torch.sqrt(spread + 1e-5)


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_gradients_agree_with_pytorch_in_float64(kind: str) -> None:
    torch = needs.module("torch")
    x, dy = level_data((300, 33), 21, 2.0), level_data((300, 33), 22, 1.0)
    gain, bias = level_data(33, 23, 1.0) + np.float32(1.5), level_data(33, 24, 1.0)
    a, g, b = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (x, gain, bias))
    y = norm_of(torch, a, 0 if kind == "batch" else 1) * g + b
    y.backward(torch.tensor(dy, dtype=torch.float64))
    items = ops.Items(np.array([0, 300]), np.array([0]))
    if kind == "batch":
        counts = np.array([300])
        mean = ops.leaf_means(ops.sum_items(x, items), counts)
        rstd = ops.rstd(ops.leaf_means(ops.deviation_items(x, mean, items), counts))
        found = ops.batch_norm(x, items.offsets, mean, rstd, gain, bias)
        sums = ops.gradient_items(dy, x, mean, rstd, items)
        means = ops.leaf_means(sums, counts)
        dx = ops.batch_norm_backward(dy, x, items.offsets, mean, rstd, gain, means)
        by_gain, by_bias = sums.numpy()[0, 33:], sums.numpy()[0, :33]
    else:
        found, mean, rstd = ops.layer_norm(x, gain, bias)
        dx, rows = ops.layer_norm_backward(dy, x, mean, rstd, gain)
        by_gain, by_bias = (
            ops.sum_items(rows, items).numpy()[0],
            ops.sum_items(dy, items).numpy()[0],
        )
    # Sums of 300 terms of magnitude below 8 are off by 260 * 300 * 8 U at most; all else is less.
    near = {"rtol": 0, "atol": 260 * 300 * 8 * U}
    np.testing.assert_allclose(by_gain, g.grad, **near)
    np.testing.assert_allclose(by_bias, b.grad, **near)
    # Means are that / 33 or less, scaled by at most 3 * 1 / sqrt(1e-5 + 1).
    near = {"rtol": 0, "atol": 300 * 8 * 4 * U}
    np.testing.assert_allclose(found.numpy(), y.detach(), **near)
    np.testing.assert_allclose(dx.numpy(), a.grad, **near)


@pytest.mark.parametrize("count", [2, 5])
def test_threads_change_no_bit(count: int, threads: None) -> None:
    x, dy = touchy_data((900, 150), 25), level_data((900, 150), 26)
    mean, rstd = touchy_data((3, 150), 27), touchy_data((3, 150), 28)
    gain = touchy_data(150, 29)

    def results() -> list[np.ndarray]:
        found = [ops.sum_items(x, MIXED), ops.gradient_items(dy, x, mean, rstd, MIXED)]
        found += [ops.batch_norm(x[:700], BOUNDS, mean, rstd, gain, gain)]
        found += ops.layer_norm(dy, gain, gain)
        return [one.numpy().copy() for one in found]

    alone = results()
    native.set_threads(count)
    assert all(same_bits(a, b) for a, b in zip(results(), alone, strict=True))


def test_refusals() -> None:
    x, flat = exact_data((9, 4), 1), exact_data(4, 2)
    items = ops.Items(np.array([0, 4, 9]), np.array([0, 1]))
    one = exact_data((1, 4), 3)
    with pytest.raises(ShapeError, match=r"^sum_items: offsets \[0, 4, 9\] must rise from 0 to 8"):
        ops.sum_items(x[:8], items)
    with pytest.raises(
        ShapeError, match=r"^sum_items: 2 items with 3 offsets, of the leaves \[0, 2"
    ):
        ops.sum_items(x, ops.Items(items.offsets, np.array([0, 2])))
    listed = ops.Items(items.offsets, items.leaves, np.arange(1, 10))
    with pytest.raises(ShapeError, match=r"^sum_items: rows 1 to 9 are listed; the operand has 9"):
        ops.sum_items(x, listed)
    with pytest.raises(ShapeError, match=r"^merge_items: sums are \(9, 4\); needs 2 rows"):
        ops.merge_items(x, items)
    with pytest.raises(ShapeError, match=r"^deviation_items: mean is \(1, 4\); needs \(2, 4\)"):
        ops.deviation_items(x, one, items)
    with pytest.raises(ShapeError, match=r"^gradient_items: rstd is \(1, 4\); needs \(2, 4\)"):
        ops.gradient_items(x, x, x[:2], one, items)
    with pytest.raises(ShapeError, match=r"^leaf_means: counts \[3\] for sums \(9, 4\); needs a"):
        ops.leaf_means(x, [3])
    with pytest.raises(ShapeError, match=r"^batch_norm: gain has 9 columns; needs 4"):
        ops.batch_norm(x, [0, 9], one, one, exact_data(9, 4), flat)
    with pytest.raises(
        ShapeError, match=r"^batch_norm_backward: means is \(1, 4\); needs \(1, 8\)"
    ):
        ops.batch_norm_backward(x, x, [0, 9], one, one, flat, one)
    with pytest.raises(ShapeError, match=r"^running: 0 leaves with frames; needs at least 1"):
        ops.running(flat, flat, 0, 0.1)
    with pytest.raises(ShapeError, match=r"^layer_norm_backward: mean is \(4,\) and rstd \(4,\)"):
        ops.layer_norm_backward(x, x, flat, flat, flat)
