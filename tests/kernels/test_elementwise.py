"""Elementwise operations, rows with columns, and the context window."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from makers import level_data, rectify, rectify_backward, same_bits, touchy_data

from majelpy import native, ops
from majelpy.errors import DTypeError, ShapeError

SIZES = (0, 1, 3, 15, 16, 17, 33, 1000)
EDGES = np.float32([0, -0.0, 1e-45, -1e-45, 19.999998, 20, 20.000002, 3e38, -3e38, np.inf, -np.inf])


@pytest.mark.parametrize("size", SIZES)
def test_one_rounding_an_element(each_isa: str, size: int) -> None:
    # NumPy's + and * of float32 are IEEE 754's, one rounding each.
    a, b = touchy_data(size, 1), touchy_data(size, 2)
    assert same_bits(ops.add(a, b), a + b)
    assert same_bits(ops.multiply(a, b), a * b)
    x = np.concatenate([a[size // 2 :], level_data(size, 3, 32), EDGES])
    assert same_bits(ops.rectify(x), rectify(x))
    dy = touchy_data(len(x), 4)
    assert same_bits(ops.rectify_backward(dy, x), rectify_backward(dy, x))


def test_denormals_are_kept(each_isa: str) -> None:
    x = touchy_data(64, 5, tiny=True)
    product = ops.multiply(x, x).numpy()
    assert ((product != 0) & (np.abs(product) < 2.0**-126)).any()
    tiny = np.float32([1e-45, 2e-40, -3e-39])
    assert same_bits(ops.add(tiny, tiny), tiny * 2) and (ops.add(tiny, tiny).numpy() != 0).all()


def test_the_rectifier_keeps_nan() -> None:
    x = np.full(40, np.nan, np.float32)
    assert np.isnan(ops.rectify(x).numpy()).all()
    dy = touchy_data(40, 6)
    assert same_bits(ops.rectify_backward(dy, x), dy)
    assert np.isnan(ops.rectify_backward(x, np.ones(40, np.float32)).numpy()).all()


@pytest.mark.parametrize("columns", [1, 15, 16, 33, 70])
def test_rows_with_columns(columns: int) -> None:
    x, b, s = (touchy_data(shape, 7 + columns) for shape in ((37, columns), columns, columns))
    assert same_bits(ops.bias(x, b), x + b)
    assert same_bits(ops.bias(x, b, clipped=True), rectify(x + b))
    assert same_bits(ops.normalise(x, b, s), (x - b) * s)
    assert not same_bits(ops.normalise(x, b, s), x * s - b * s)


@pytest.mark.parametrize("count", [2, 5])
def test_threads_change_no_bit(count: int, threads: None) -> None:
    x, b = touchy_data((300, 200), 8), touchy_data(200, 9)
    native.set_threads(count)
    assert same_bits(ops.add(x, x[::-1].copy()), x + x[::-1])
    assert same_bits(ops.bias(x, b), x + b)
    assert same_bits(ops.context(x, [0, 100, 300], 0), x)


@pytest.mark.parametrize("frames", [0, 1, 2, 7])
def test_context_stays_within_the_utterance(frames: int) -> None:
    offsets = [0, 3, 3, 4, 9, 22]
    x = touchy_data((22, 5), 10)
    wanted = np.zeros((22, 2 * frames + 1, 5), np.float32)
    for first, last in itertools.pairwise(offsets):
        for row in range(first, last):
            for at, other in enumerate(range(row - frames, row + frames + 1)):
                if first <= other < last:
                    wanted[row, at] = x[other]
    assert same_bits(ops.context(x, offsets, frames), wanted.reshape(22, -1))


def test_nothing_to_do() -> None:
    none = np.zeros((0, 4), np.float32)
    assert ops.add(none, none).shape == (0, 4)
    assert ops.bias(none, np.zeros(4, np.float32)).shape == (0, 4)
    assert ops.bias(none.T, np.zeros(0, np.float32)).shape == (4, 0)
    assert ops.context(none, [0, 0], 2).shape == (0, 20)


def test_errors_of_elementwise_operations() -> None:
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ShapeError, match=r"^add: shapes \(2, 3\) and \(3, 2\) differ$"):
        ops.add(x, x.T)
    with pytest.raises(DTypeError, match=r"^multiply: the second array is float16; needs float32$"):
        ops.multiply(x, x.astype(np.float16))
    with pytest.raises(DTypeError, match=r"^rectify: x is float64; needs float32$"):
        ops.rectify(x.astype(np.float64))
    with pytest.raises(ShapeError, match=r"^bias: b has 2 columns; needs 3$"):
        ops.bias(x, x[0, :2])
    with pytest.raises(ShapeError, match=r"^bias: b has shape \(2, 3\); needs 1 axes$"):
        ops.bias(x, x)
    with pytest.raises(ShapeError, match=r"^normalise: scale has 2 columns; needs 3$"):
        ops.normalise(x, x[0], x[0, :2])
    for offsets in ([0, 1], [1, 2], [0, 3, 2], [], [[0, 2]]):
        with pytest.raises(
            ShapeError, match=r"^context: offsets .* must rise from 0 to 2, the row"
        ):
            ops.context(x, offsets, 1)


def test_errors_are_also_the_builtin_ones() -> None:
    with pytest.raises(ValueError, match="differ"):
        ops.add(np.zeros(2, np.float32), np.zeros(3, np.float32))
    with pytest.raises(TypeError, match="float64"):
        ops.rectify(np.zeros(1))
