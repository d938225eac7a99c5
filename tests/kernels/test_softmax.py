"""The logarithm of the softmax, and the first largest value."""

from __future__ import annotations

import numpy as np
import pytest
from makers import CHUNK, U, level_data, same_bits

from majelpy import native, ops
from majelpy.errors import DTypeError, ShapeError


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_log_softmax_keeps_nan(value: float) -> None:
    for column in range(5):
        logits = level_data((20, 5), 7)
        logits[3, column] = value
        found = ops.log_softmax(logits).numpy()
        assert np.isnan(found[3]).any() and np.isfinite(np.delete(found, 3, 0)).all()


def test_log_softmax_is_right() -> None:
    # x - max and the subtraction of the logarithm each round a value of at most `most`; the
    # canonical sum of positive terms and exp and log (1.1 and 1 ulp) err by 2^-24 (V + 8) at most.
    for columns in (1, 2, 29, 300):
        x = level_data((37, columns), columns, 16)
        wide = x.astype(np.float64)
        wanted = wide - np.logaddexp.reduce(wide, axis=1, keepdims=True)
        error = np.abs(ops.log_softmax(x).numpy() - wanted)
        most = np.abs(wanted) + np.abs(wide - wide.max(axis=1, keepdims=True))
        assert (error <= U * (2 * most + min(columns, CHUNK) + 16)).all()


def test_rows_of_log_softmax_do_not_see_one_another() -> None:
    x = level_data((45, 29), 8)
    whole = ops.log_softmax(x).numpy()
    for i in range(45):
        assert same_bits(ops.log_softmax(x[i : i + 1]), whole[i : i + 1])


def test_argmax_takes_the_first_of_equal_values() -> None:
    x = np.float32([[1, 3, 3], [0, -0.0, -1], [-1, -2, 5]])
    assert ops.argmax(x).tolist() == [1, 0, 2]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_threads_change_no_bit(count: int, threads: None) -> None:
    x = level_data((700, 29), 9)
    alone = ops.log_softmax(x).numpy()
    native.set_threads(count)
    assert same_bits(ops.log_softmax(x), alone)


def test_columns_are_added_by_the_canonical_rule() -> None:
    # One large value, and 599 that are lost one by one but not as a chunk.
    x = np.full((1, 600), -17.5, np.float32)
    x[0, 0] = 0
    reordered = np.roll(x, 300, axis=1)
    assert not same_bits(
        np.roll(ops.log_softmax(reordered).numpy(), -300, axis=1), ops.log_softmax(x)
    )


def test_nothing_to_do() -> None:
    assert ops.log_softmax(np.zeros((0, 4), np.float32)).shape == (0, 4)
    assert ops.log_softmax(np.zeros((4, 0), np.float32)).shape == (4, 0)
    assert ops.argmax(np.zeros((0, 4), np.float32)).shape == (0,)


def test_errors_of_the_softmax() -> None:
    with pytest.raises(ShapeError, match=r"^log_softmax: x has shape \(4,\); needs 2 axes$"):
        ops.log_softmax(np.zeros(4, np.float32))
    with pytest.raises(DTypeError, match=r"^argmax: x is float64; needs float32$"):
        ops.argmax(np.zeros((4, 2)))
