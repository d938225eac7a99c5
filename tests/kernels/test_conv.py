"""Convolution and its gradients: against the definition, exactly; order; refusals."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from makers import digest, exact_data, same_bits, touchy_data

from majelpy import ops
from majelpy.array import asarray
from majelpy.errors import DTypeError, ShapeError
from majelpy.memory import Place

CASES = [
    ((2, 3, 11), (4, 3, 3), 1, 0, 1),
    ((2, 3, 11), (4, 3, 4), 2, 3, 2),
    ((1, 1, 5), (1, 1, 5), 3, 1, 1),
    ((2, 3, 12), (2, 3, 1), 5, 0, 1),
    ((0, 3, 7), (2, 3, 3), 1, 1, 1),
    ((2, 2, 7, 6), (3, 2, 3, 2), (2, 1), (1, 0), (1, 2)),
    ((1, 3, 9, 9), (2, 3, 3, 3), (3, 4), (2, 2), (2, 1)),
]


def each(value: Any, n: int) -> tuple[int, ...]:
    return (value,) * n if isinstance(value, int) else value


def terms(x: Any, w: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    """Yield place of the output, of the kernel and of the input, wherever there is an input."""
    n = x.ndim - 2
    s, p, d = each(stride, n), each(padding, n), each(dilation, n)
    sizes = [
        (x.shape[2 + i] + 2 * p[i] - (w.shape[2 + i] - 1) * d[i] - 1) // s[i] + 1 for i in range(n)
    ]
    yield tuple(sizes)
    for out in product(*map(range, sizes)):
        for k in product(*map(range, w.shape[2:])):
            at = tuple(out[i] * s[i] + k[i] * d[i] - p[i] for i in range(n))
            if all(0 <= at[i] < x.shape[2 + i] for i in range(n)):
                yield out, k, at


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "kernel", "stride", "padding", "dilation"), CASES)
def test_values_and_gradients(
    shape: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, dtype: Any, each_place: Place
) -> None:
    x, w = exact_data(shape, 1).astype(dtype), exact_data(kernel, 2).astype(dtype)
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    sizes, *found = terms(x, w, stride, padding, dilation)
    y = np.zeros((len(x), len(w), *sizes), dtype)
    dy = exact_data(y.shape, 3).astype(dtype)
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for out, k, at in found:
        y[(..., *out)] += x[(..., *at)] @ w[(..., *k)].T
        dx[(..., *at)] += dy[(..., *out)] @ w[(..., *k)]
        dw[(..., *k)] += dy[(..., *out)].T @ x[(..., *at)]
    there = [asarray(array, device=each_place) for array in (dy, x, w)]
    found = [ops.conv(*there[1:], **options), *ops.conv_backward(*there, **options)]
    for array, wanted in zip(found, (y, dx, dw), strict=True):
        assert array.place == each_place
        np.testing.assert_array_equal(array.to_device("cpu").numpy(), wanted)


_seen: dict[str, str] = {}


def test_the_order_is_canonical_and_the_same_everywhere(each_isa: str) -> None:
    x, w = touchy_data((2, 30, 20), 1), touchy_data((3, 30, 11), 2)
    y = ops.conv(x, w)
    patch = x[1, :, 4:15].reshape(1, -1)
    assert same_bits(y.numpy()[1, 2, 4], ops.gemm(patch, w[2].reshape(-1, 1)).numpy()[0, 0])
    assert same_bits(ops.conv(x[1:], w).numpy(), y.numpy()[1:]), "alone or in company"
    both = digest(y, *ops.conv_backward(y, x, w))
    assert both == _seen.setdefault("digest", both)


def test_refusals() -> None:
    x, w = np.zeros((2, 3, 5), np.float32), np.zeros((4, 3, 2), np.float32)
    with pytest.raises(ShapeError, match=r"^conv: x is \(2, 3, 5\), weight \(4, 2, 2\); needs"):
        ops.conv(x, w[:, :2])
    with pytest.raises(
        ShapeError, match=r"^conv: the kernel reaches over \(9,\), the padded input"
    ):
        ops.conv(x, w, dilation=8)
    with pytest.raises(ShapeError, match=r"^conv: stride 0; needs 1 integers of 1 or more"):
        ops.conv(x, w, stride=0)
    with pytest.raises(ShapeError, match=r"^conv: padding -1; needs 1 integers of 0 or more"):
        ops.conv(x, w, padding=-1)
    with pytest.raises(DTypeError, match=r"^conv: x is float32, weight float64"):
        ops.conv(x, w.astype(np.float64))
    with pytest.raises(
        ShapeError, match=r"^conv_backward: dy is float32 \(2, 4, 5\); needs float32"
    ):
        ops.conv_backward(np.zeros((2, 4, 5), np.float32), x, w)
