"""Signs, comparisons, classes and sort keys by bodies: NumPy's results, at the edges too."""

from __future__ import annotations

import numpy as np
import pytest
from array_cases import edges, pairs
from one_case import one_nan

from majelpy.array import asarray, kernels
from majelpy.memory import dtypes

KINDS = pytest.mark.parametrize("kind", dtypes.FLOATS, ids=str)


@KINDS
@pytest.mark.parametrize("name", ["negative", "abs", "sign"])
def test_signs(name: str, kind: np.dtype, each_isa: str) -> None:
    x = pairs(kind)[0]
    out = np.empty_like(x)
    kernels.unary(name, asarray(x), asarray(out))
    assert one_nan(out).tobytes() == one_nan(getattr(np, name)(x)).tobytes()


@KINDS
@pytest.mark.parametrize("name", ["copysign", "nextafter"])
@pytest.mark.parametrize("steps", [(1, 1), (0, 1), (1, 0)])
def test_pairs(name: str, kind: np.dtype, steps: tuple[int, int], each_isa: str) -> None:
    a, b = (v if step else v[-1:] for v, step in zip(pairs(kind), steps, strict=True))
    out = np.empty(max(a.size, b.size), kind)
    kernels.binary(name, *(asarray(v) for v in (a, b, out)))
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(a, b)
    assert one_nan(out).tobytes() == one_nan(expected).tobytes()


@KINDS
@pytest.mark.parametrize("name", kernels.COMPARISONS)
@pytest.mark.parametrize("steps", [(1, 1), (0, 1), (1, 0)])
def test_comparisons(name: str, kind: np.dtype, steps: tuple[int, int], each_isa: str) -> None:
    for last in (-1, -2, -14):  # -NaN, -infinity, 0
        a, b = (v if step else v[last:][:1] for v, step in zip(pairs(kind), steps, strict=True))
        out = np.empty(max(a.size, b.size), np.bool_)
        kernels.compare(name, *(asarray(v) for v in (a, b, out)))
        assert (out == getattr(np, name)(a, b)).all()


@KINDS
@pytest.mark.parametrize("name", kernels.CLASSES)
def test_classes(name: str, kind: np.dtype, each_isa: str) -> None:
    x = pairs(kind)[0]
    out = np.empty(x.size, np.bool_)
    kernels.classify(name, asarray(x), asarray(out))
    assert (out == getattr(np, name)(x)).all() and 0 < out.sum() < out.size


@KINDS
def test_order_keys_sort_as_numpy_does(kind: np.dtype, each_isa: str) -> None:
    x = np.concatenate([pairs(kind)[0], edges(kind)[::-1]])
    key = np.empty(x.size, f"u{kind.itemsize}")
    kernels.order_key(asarray(x), asarray(key))
    assert (np.argsort(key, kind="stable") == np.argsort(x, kind="stable")).all()
    assert len(np.unique(key[np.isnan(x)])) == len(np.unique(key[x == 0])) == 1
    assert (key[np.isnan(x)] == np.iinfo(key.dtype).max).all()
