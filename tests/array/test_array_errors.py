"""What the array library refuses, and what it must not refuse: sizes of 0, NaN, infinities."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import majelpy as mj
from majelpy.errors import CopyError, DTypeError, ExchangeError, MajelError, RangeError, ShapeError
from majelpy.memory import Place

F = mj.ones((2, 3))
I8 = mj.ones((2, 3), dtype=mj.int8)
B = mj.ones((2, 3), dtype=mj.bool)

CASES: list[tuple[type[MajelError], str, Callable[[], Any]]] = [
    (ShapeError, "add: shapes (2, 3) and (4,) do not broadcast", lambda: F + mj.ones(4)),
    (ShapeError, "matmul: shapes (2, 3) and (2, 3); inner sizes 3 and 2 differ", lambda: F @ F),
    (ShapeError, "matmul: shapes () and (2, 3); needs an axis", lambda: mj.matmul(mj.ones(()), F)),
    (ShapeError, "empty: shape (2, -1); sizes must not be negative", lambda: mj.zeros((2, -1))),
    (ShapeError, "needs below 2^63", lambda: mj.empty((1 << 40, 1 << 40))),
    (ShapeError, "needs below 2^63", lambda: mj.zeros((0, 1 << 40, 1 << 40))),
    (ShapeError, "reshape: (2, 3) has 6 elements", lambda: mj.reshape(F, (4, -1))),
    (ShapeError, "reshape: (2, 3) has 6 elements", lambda: mj.reshape(F, (-1, -1))),
    (
        ShapeError,
        "reshape: (2, 3) has 6 elements; shape (4, 2) does not fit",
        lambda: F.reshape((4, 2)),
    ),
    (ShapeError, "reshape: (2, 3) has 6 elements; shape (-6,) does", lambda: F.reshape(-6)),
    (ShapeError, "item: shape (2, 3) has 6 elements; needs one", lambda: F.item()),
    (ShapeError, "format: shape (2, 3); needs an array without axes", lambda: f"{F:.2f}"),
    (
        ShapeError,
        "max: shape (0, 3) has nothing along axes (0,)",
        lambda: mj.max(mj.ones((0, 3)), axis=0),
    ),
    (ShapeError, "argmin: shape (0,) has nothing", lambda: mj.argmin(mj.ones(0))),
    (
        ShapeError,
        "concat: shapes (2, 3), (3, 2) differ beside axis 0",
        lambda: mj.concat([F, mj.ones((3, 2))]),
    ),
    (ShapeError, "stack: no arrays", lambda: mj.stack([])),
    (ShapeError, "squeeze: axis 0 of shape (2, 3) has size 2; needs 1", lambda: mj.squeeze(F, 0)),
    (ShapeError, "permute_dims: axes (0, 0)", lambda: mj.permute_dims(F, (0, 0))),
    (ShapeError, "sum: axes (0, -2) name one twice", lambda: mj.sum(F, axis=(0, -2))),
    (ShapeError, "cumulative_sum: shape (2, 3); needs an axis", lambda: mj.cumulative_sum(F)),
    (ShapeError, "take: shape (2, 3); needs an axis", lambda: mj.take(F, mj.asarray([0]))),
    (ShapeError, "broadcast_to: ", lambda: mj.broadcast_to(F, (3,))),
    (
        ShapeError,
        "tensordot: sizes (2,) and (3,) of the joined axes differ",
        lambda: mj.tensordot(F, F, axes=((0,), (1,))),
    ),
    (
        ShapeError,
        "vecdot: shapes (2, 3) and (2,) differ along axis -1",
        lambda: mj.vecdot(F, mj.ones(2)),
    ),
    (ShapeError, "bool: shape (2, 3); needs an array without axes", lambda: bool(F)),
    (ShapeError, "T: shape (2,); needs 2 axes", lambda: mj.ones(2).T),
    (ShapeError, "add in place: shape (3,) would become (2, 3)", lambda: mj.ones(3).__iadd__(F)),
    (ShapeError, "linspace: num is -1", lambda: mj.linspace(0, 1, -1)),
    (ShapeError, "asarray: ", lambda: mj.asarray([[1, 2], [3]])),
    (RangeError, "sum: axis 2; needs -2..1 of 2 axes", lambda: mj.sum(F, axis=2)),
    (RangeError, "flip: axis -3; needs -2..1 of 2 axes", lambda: mj.flip(F, axis=-3)),
    (RangeError, "index: index 2 is out of bounds for axis 0 with size 2", lambda: F[2]),
    (RangeError, "index: ", lambda: F[0, 0, 0]),
    (RangeError, "index: ", lambda: F[mj.asarray([5])]),
    (RangeError, "index: ", lambda: F[mj.ones(7, dtype=mj.bool)]),
    (RangeError, "take: index 9", lambda: mj.take(F, mj.asarray([9]), axis=0)),
    (RangeError, "add: 300 is out of the range of int8", lambda: I8 + 300),
    (RangeError, "asarray: an integer outside int64", lambda: mj.asarray([1 << 70])),
    (RangeError, "asarray: an integer outside int64", lambda: mj.asarray((1 << 63) + 1)),
    (RangeError, "arange: step is 0", lambda: mj.arange(3, 5, 0)),
    (
        RangeError,
        "arange: 300 is out of the range of int8",
        lambda: mj.arange(0, 301, 100, dtype=mj.int8),
    ),
    (RangeError, "repeat: repeats below 0", lambda: mj.repeat(F, -1)),
    (DTypeError, "add: float32 and int8 have no common type", lambda: F + I8),
    (DTypeError, "add: bool found; needs one of float32", lambda: B + B),
    (DTypeError, "divide: int8 found; needs one of float32, float64", lambda: I8 / I8),
    (DTypeError, "exp: int8 found", lambda: mj.exp(I8)),
    (DTypeError, "bitwise_and: float32 found", lambda: F & F),
    (DTypeError, "logical_not: int8 found", lambda: mj.logical_not(I8)),
    (DTypeError, "add: 1.5 (float) does not go with int8", lambda: I8 + 1.5),
    (DTypeError, "add: True (bool) does not go with float32", lambda: F + True),
    (DTypeError, "float16 found; needs one of", lambda: mj.astype(F, mj.float16) + 1.0),
    (DTypeError, "bfloat16 found; needs one of", lambda: mj.sum(mj.astype(F, mj.bfloat16))),
    (
        DTypeError,
        "int64 and uint64 have no common type",
        lambda: mj.arange(2) + mj.ones(2, dtype=mj.uint64),
    ),
    (
        DTypeError,
        "add in place: float32 would become float64",
        lambda: mj.ones(2).__iadd__(mj.ones(2, dtype=mj.float64)),
    ),
    (DTypeError, "index: 1.5 (float); needs an integer", lambda: F[1.5]),
    (DTypeError, "index: array of float32", lambda: F[F]),
    (DTypeError, "index: list found", lambda: F[[0, 1]]),
    (DTypeError, "index: float32; needs an integer type", lambda: [1][mj.ones(())]),
    (
        DTypeError,
        "setitem: float32 into int8",
        lambda: mj.ones(3, dtype=mj.int8).__setitem__(0, mj.ones(())),
    ),
    (DTypeError, "asarray: complex found", lambda: mj.asarray([1j])),
    (DTypeError, "asarray: elements of type complex128", lambda: mj.asarray(np.ones(2, complex))),
    (DTypeError, "asarray: str found", lambda: mj.asarray("text")),
    (DTypeError, "complex64", lambda: mj.zeros(2, dtype="complex64")),
    (DTypeError, "'nonsense' is no element type", lambda: mj.zeros(2, dtype="nonsense")),
    (DTypeError, "isdtype: 'real' is no kind", lambda: mj.isdtype(mj.int8, "real")),
    (DTypeError, "iinfo: float32 is no integer type", lambda: mj.iinfo(mj.float32)),
    (DTypeError, "finfo: int8 is no floating type", lambda: mj.finfo(mj.int8)),
    (DTypeError, "len: an array without axes", lambda: len(mj.ones(()))),
    (DTypeError, "index: shape (2, 3); needs an array without axes", lambda: I8.__index__()),
    (DTypeError, "only Python numbers found", lambda: mj.add(1, 2)),
    (DTypeError, "reshape: sizes (1.5, 4); needs integers", lambda: F.reshape(1.5, 4)),
    (DTypeError, "reshape: sizes ('a',); needs integers", lambda: F.reshape(["a"])),
    (DTypeError, "add: float32 and int64 have no common type", lambda: F + np.ones(3, np.int64)),
    (DTypeError, "axis 0.5; needs an integer", lambda: mj.sum(F, axis=0.5)),
    (ExchangeError, "from_dlpack: list", lambda: mj.from_dlpack([1])),
    (CopyError, "copy=False forbids it", lambda: mj.asarray([1.0], copy=False)),
    (CopyError, "copy=False forbids it", lambda: mj.asarray(F, mj.float64, copy=False)),
]


@pytest.mark.parametrize(
    ("kind", "message", "call"), CASES, ids=[message for _, message, _ in CASES]
)
def test_refusals(kind: type[MajelError], message: str, call: Callable[[], Any]) -> None:
    with pytest.raises(kind, match=re.escape(message)) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_errors_are_the_builtin_ones_too() -> None:
    assert issubclass(RangeError, IndexError) and issubclass(RangeError, ValueError)
    assert issubclass(CopyError, ValueError) and issubclass(CopyError, BufferError)
    with pytest.raises(AttributeError):
        mj.from_dlpack(object())
    with pytest.raises(BufferError, match="ndarray: "):
        mj.from_dlpack(np.zeros(2, "S3"))
    with pytest.raises(TypeError):
        (1, 2) * I8
    with pytest.raises(IndexError):
        F[0, 5]
    with pytest.raises(TypeError):
        F + "text"
    with pytest.raises(TypeError):
        hash(F)


def test_sizes_of_0(each_place: Place) -> None:
    for shape in ((0,), (0, 3), (2, 0), (0, 0)):
        x = mj.ones(shape, device=each_place)
        assert (x + 1).shape == mj.exp(x).shape == mj.sort(x).shape == mj.flip(x).shape == shape
        assert (
            float(mj.sum(x)) == 0 and float(mj.prod(x)) == 1 and bool(mj.all(x)) and not mj.any(x)
        )
        assert mj.concat([x, x]).shape[0] == 2 * shape[0] and np.isnan(float(mj.mean(x)))
        assert mj.unique_values(x).shape == (0,) and mj.astype(x, mj.bfloat16).shape == shape
        assert (x[...] == x).shape == shape and repr(x).startswith("Array([]")
    empty = mj.matmul(mj.ones((2, 0), device=each_place), mj.ones((0, 3), device=each_place))
    assert empty.to_device("cpu").numpy().tolist() == [[0.0] * 3] * 2
    x = mj.ones((0, 2), device=each_place)
    assert mj.nonzero(x)[1].shape == (0,) and mj.arange(0, device=each_place).shape == (0,)
    assert list(x) == [] and mj.cumulative_sum(x[:, 0]).shape == (0,)
    x[...] = 5
    x += 1


def test_nan_and_infinities_pass_through(each_place: Place) -> None:
    x = mj.asarray(np.array([np.nan, np.inf, -np.inf, 1.0]), device=each_place)
    for name in ("sum", "prod", "max", "min", "mean", "var", "std"):
        assert np.isnan(float(getattr(mj, name)(x))), name
    assert np.isnan(mj.cumulative_sum(x).to_device("cpu").numpy()).all()
    assert int(mj.argmax(x)) == int(mj.argmin(x)) == 0 and int(mj.count_nonzero(x)) == 4
    assert np.isnan(float(mj.sort(x)[-1])) and mj.unique_values(mj.concat([x, x])).shape == (5,)
    assert np.isnan(float(mj.vecdot(x, x))) and np.isnan(float(x @ x))
    assert float(mj.sum(x[1:2])) == np.inf and float(mj.max(x[1:])) == np.inf
