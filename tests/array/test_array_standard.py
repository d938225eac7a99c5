"""The functions of the standard against array-api-strict: type, shape and values.

Policy. Right? Values without rounding are equal; elementary functions agree to some ulp of NumPy's
(test_array_elementary.py holds them to the exact value). Inputs come from `makers`, so they are
the same everywhere. Every input is tried in each type of its kind, with zeros of both signs,
infinities, NaN and sizes of 0, and on each place.
"""

# ruff: noqa: B023 (every lambda is called before the loop goes on)

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import needs
import numpy as np
import pytest
from makers import words

import majelpy as mj

xp = needs.module("dev", "array_api_strict")

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float32", "float64")
NUMERIC = INTEGERS + FLOATS
ALL = ("bool", *NUMERIC)
SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 0.5, -2.5, 3e38, 1e-40, 7.0]
SHAPES = [(), (0,), (7,), (3, 4), (2, 0, 3), (2, 3, 5)]


CREATION = ("arange", "asarray", "empty", "eye", "full", "linspace", "ones", "zeros")
on: Any
"""Where arrays are made: the namespace, with its functions of creation on the test's place."""


class Namespace:
    """The functions of majelpy, those that make arrays on one place."""

    def __init__(self, place: Any):
        self.place = place

    def __getattr__(self, name: str) -> Any:
        found = getattr(mj, name)
        return functools.partial(found, device=self.place) if name in CREATION else found


@pytest.fixture(autouse=True)
def everywhere(each_place: Any) -> None:
    """Run every test on every place."""
    global on
    on = Namespace(each_place)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Let NumPy, under the reference, not warn of what the standard allows."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def data(shape: tuple[int, ...], dtype: str, seed: int, *, special: bool = True) -> np.ndarray:
    raw = words(shape, seed)
    if dtype == "bool":
        return raw % 2 == 0
    if dtype in INTEGERS:
        small = (raw % 23).astype(np.int64) - (11 if dtype.startswith("int") else 0)
        return small.astype(dtype)
    values = (raw.astype(np.float64) - 2.0**31) * 2.0**-28
    if special:
        values = np.where(raw % 3 == 0, np.array(SPECIAL)[raw // 3 % len(SPECIAL)], values)
    return values.astype(dtype)


def host_of(array: Any) -> np.ndarray:
    """Return the content as a NumPy array."""
    return array.to_device("cpu").numpy()


def same(found: Any, wanted: Any, ulps: int = 0) -> None:
    """Compare an array (or a tuple of them) with the reference's."""
    if isinstance(wanted, tuple | list):
        assert len(found) == len(wanted)
        for f, w in zip(found, wanted, strict=True):
            same(f, w, ulps)
        return
    assert isinstance(found, mj.Array)
    w = np.asarray(wanted._array)
    assert found.place == on.place
    f = host_of(found)
    assert f.dtype == w.dtype and f.shape == w.shape, (f.dtype, w.dtype, f.shape, w.shape)
    if ulps and f.dtype.kind == "f":
        assert (np.isnan(f) == np.isnan(w)).all(), (f, w)
        plain = np.isfinite(f) & np.isfinite(w)
        np.testing.assert_array_equal(f[~plain], w[~plain])
        scale = np.spacing(np.maximum(np.abs(w[plain]), np.finfo(w.dtype).smallest_normal))
        assert (np.abs(f[plain] - w[plain]) <= ulps * scale).all(), (f, w)
    else:
        np.testing.assert_array_equal(f, w)


def check(call: Callable[..., Any], *arrays: np.ndarray, ulps: int = 0) -> None:
    """``call(namespace, arrays)`` gives the same from both libraries."""
    wanted = call(xp, *(xp.asarray(a) for a in arrays))
    same(call(on, *(on.asarray(a.copy()) for a in arrays)), wanted, ulps)


UNARY = {
    **dict.fromkeys(("abs", "negative", "positive", "sign", "square"), (NUMERIC, 0)),
    **dict.fromkeys(("conj", "real"), (NUMERIC, 0)),
    **dict.fromkeys(("ceil", "floor", "round", "trunc"), (NUMERIC, 0)),
    **dict.fromkeys(("isfinite", "isinf", "isnan"), (NUMERIC, 0)),
    **dict.fromkeys(("reciprocal", "sqrt", "signbit"), (FLOATS, 0)),
    "logical_not": (("bool",), 0),
    "bitwise_invert": (("bool", *INTEGERS), 0),
    **dict.fromkeys(
        (
            *("acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "exp", "expm1"),
            *("log", "log1p", "log2", "log10", "sin", "sinh", "tan", "tanh"),
        ),
        (FLOATS, 4),
    ),
}
BINARY = {
    **dict.fromkeys(("add", "subtract", "multiply", "floor_divide", "remainder"), (NUMERIC, 0)),
    **dict.fromkeys(("maximum", "minimum"), (NUMERIC, 0)),
    **dict.fromkeys(("less", "less_equal", "greater", "greater_equal"), (NUMERIC, 0)),
    **dict.fromkeys(("equal", "not_equal"), (ALL, 0)),
    **dict.fromkeys(("divide", "copysign", "nextafter"), (FLOATS, 0)),
    **dict.fromkeys(("atan2", "hypot", "logaddexp", "pow"), (FLOATS, 4)),
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor"), (("bool",), 0)),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor"), (("bool", *INTEGERS), 0)),
}


def called(name: str) -> Callable[..., Any]:
    """Return a call of that function of a namespace."""

    def call(n: Any, x: Any, y: Any) -> Any:
        found = getattr(n, name)(x, y)
        if name != "floor_divide" or n is not xp or "int" in str(x.dtype):
            return found
        # NumPy, under the reference, has NaN and -1 where the standard has the quotient's floor.
        return xp.where(xp.isinf(x) | xp.isinf(y), xp.floor(xp.divide(x, y)), found)

    return call


PAIRS = [
    ((), ()),
    ((7,), ()),
    ((), (3, 4)),
    ((3, 4), (4,)),
    ((3, 1), (1, 4)),
    ((0, 3), (1, 3)),
    ((2, 3, 5),) * 2,
]


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_array(name: str) -> None:
    kinds, ulps = UNARY[name]
    for dtype in kinds:
        for seed, shape in enumerate([*SHAPES, (400,)]):
            check(lambda n, x: getattr(n, name)(x), data(shape, dtype, seed), ulps=ulps)


@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_arrays(name: str) -> None:
    kinds, ulps = BINARY[name]
    for dtype in kinds:
        for seed, (a, b) in enumerate([*PAIRS, ((500,), (500,))]):
            x, y = data(a, dtype, seed), data(b, dtype, 100 + seed)
            if name in ("floor_divide", "remainder") and dtype in INTEGERS:
                y = np.where(y == 0, 1, y).astype(dtype)
            check(called(name), x, y, ulps=ulps)


def test_every_pair_of_special_values() -> None:
    for dtype in FLOATS:
        x, y = (v.ravel() for v in np.meshgrid(np.array(SPECIAL, dtype), np.array(SPECIAL, dtype)))
        for name in BINARY:
            if dtype in BINARY[name][0]:
                check(called(name), x, y, ulps=BINARY[name][1])
        for name in ("atan2", "copysign", "multiply", "divide", "remainder", "pow"):
            found = host_of(getattr(mj, name)(on.asarray(x.copy()), on.asarray(y.copy())))
            wanted = np.asarray(getattr(xp, name)(xp.asarray(x), xp.asarray(y))._array)
            zero = wanted == 0
            assert (np.signbit(found) == np.signbit(wanted))[zero].all(), name


def test_shifts_and_integer_powers() -> None:
    for dtype in INTEGERS:
        x, y = data((50,), dtype, 1), np.abs(data((50,), dtype, 2)) % 8
        check(lambda n, x, y: n.bitwise_left_shift(x, y), x, y.astype(dtype))
        check(lambda n, x, y: n.bitwise_right_shift(x, y), x, y.astype(dtype))
        check(lambda n, x, y: n.pow(x, y), x, (y % 3).astype(dtype))


def test_types_promote_as_the_standard_says() -> None:
    for a in ALL:
        for b in ALL:
            x, y = np.ones(2, a), np.ones(3, b)[:2]
            try:
                wanted = xp.result_type(xp.asarray(x), xp.asarray(y))
            except TypeError:
                with pytest.raises(TypeError, match="have no common type"):
                    mj.result_type(on.asarray(x), on.asarray(y))
                with pytest.raises(TypeError, match="have no common type"):
                    mj.equal(on.asarray(x), on.asarray(y))
                continue
            assert mj.result_type(on.asarray(x), getattr(mj, b)) == wanted._np_dtype
            check(lambda n, x, y: n.equal(x, y), x, y)
            if "bool" not in (a, b):
                check(lambda n, x, y: n.multiply(x, y), x, y)
            assert mj.can_cast(getattr(mj, a), getattr(mj, b)) == xp.can_cast(
                getattr(xp, a), getattr(xp, b)
            )


def test_python_numbers_take_the_arrays_type() -> None:
    for dtype in NUMERIC:
        x = data((5,), dtype, 3)
        check(lambda n, x: (x + 2, 2 - x if x.dtype != n.uint8 else x, x * 3, n.maximum(x, 1)), x)
        check(lambda n, x: (x < 3, x <= 3, x == 1, n.where(x > 2, x, 0)), x)
    for dtype in FLOATS:
        check(lambda n, x: (x / 2, 1.5 / x, x**2, n.clip(x, -1.0, 2)), data((5,), dtype, 4), ulps=1)
    check(lambda n, x: (x & True, False | x, ~x, x ^ x), data((5,), "bool", 5))


def test_clip() -> None:
    for dtype in NUMERIC:
        x = data((3, 4), dtype, 6)
        low, high = data((4,), dtype, 7, special=False), data((3, 1), dtype, 8, special=False)
        low, high = np.minimum(low, 2).astype(dtype), np.maximum(high, 3).astype(dtype)
        check(
            lambda n, x, a, b: (n.clip(x, a, b), n.clip(x, a), n.clip(x, None, b), n.clip(x)),
            x,
            low,
            high,
        )


AXES = [None, 0, -1, 1, (0, 2), (1, 2), (0, 1, 2), ()]


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "all", "any", "count_nonzero"])
def test_reductions(name: str) -> None:
    kinds = NUMERIC if name in ("sum", "prod", "max", "min") else ALL
    for dtype in kinds:
        for axis in AXES:
            for keepdims in (False, True):
                x = data((2, 3, 4), dtype, 9, special=name not in ("sum", "prod"))
                ulps = 60 if name in ("sum", "prod") and dtype in FLOATS else 0
                check(lambda n, x: getattr(n, name)(x, axis=axis, keepdims=keepdims), x, ulps=ulps)
        if name not in ("max", "min"):
            check(
                lambda n, x: (getattr(n, name)(x), getattr(n, name)(x, axis=0)),
                data((0, 3), dtype, 1),
            )


@pytest.mark.parametrize("name", ["mean", "var", "std"])
def test_means_and_variances(name: str) -> None:
    for dtype in FLOATS:
        for axis in AXES[:-1]:
            x = data((3, 4, 5), dtype, 10, special=False)
            check(lambda n, x: getattr(n, name)(x, axis=axis), x, ulps=60)
            check(lambda n, x: getattr(n, name)(x, axis=axis, keepdims=True), x, ulps=60)
        check(lambda n, x: getattr(n, name)(x), data((9,), dtype, 1))
        check(lambda n, x: getattr(n, name)(x, axis=1), data((3, 0), dtype, 1))
    if name != "mean":
        check(
            lambda n, x: getattr(n, name)(x, correction=1.0),
            data((9,), "float64", 2, special=False),
            ulps=60,
        )


def test_running_sums_and_differences() -> None:
    for dtype in NUMERIC:
        x = data((3, 5), dtype, 11, special=False)
        for axis in (0, 1, -1):
            check(lambda n, x: n.cumulative_sum(x, axis=axis), x, ulps=60)
            check(lambda n, x: n.cumulative_sum(x, axis=axis, include_initial=True), x, ulps=60)
            check(lambda n, x: n.cumulative_prod(x, axis=axis), x, ulps=60)
            check(lambda n, x: (n.diff(x, axis=axis), n.diff(x, axis=axis, n=2)), x)
        check(lambda n, x: n.diff(x, prepend=x[:, :1], append=x[:, 1:3]), x)
        check(lambda n, x: n.sum(x, dtype=n.float64), x, ulps=60)


def test_products() -> None:
    cases = [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4))]
    cases += [((5, 2, 3), (5, 3, 4)), ((4, 1, 2, 3), (5, 3, 2)), ((2, 0), (0, 3)), ((0, 3), (3, 2))]
    for dtype in NUMERIC:
        for seed, (a, b) in enumerate(cases):
            x, y = data(a, dtype, seed, special=False), data(b, dtype, 50 + seed, special=False)
            check(lambda n, x, y: (n.matmul(x, y), x @ y), x, y, ulps=200)
        x, y = data((2, 3, 4), dtype, 1, special=False), data((3, 4, 5), dtype, 2, special=False)
        check(lambda n, x, y: n.tensordot(x, y), x, y, ulps=200)
        check(lambda n, x, y: n.tensordot(x, y, axes=((2, 1), (1, 0))), x, y, ulps=200)
        check(lambda n, x, y: n.tensordot(x, y[0, ...], axes=0), x, y, ulps=200)
        check(lambda n, x, y: n.vecdot(x, y[0, :, 0]), x, y[:, :, :], ulps=200)
        check(lambda n, x, y: n.vecdot(x, x, axis=-2), x, y, ulps=200)


def test_moving() -> None:
    for dtype in ALL:
        x, y = data((2, 3, 4), dtype, 12), data((2, 3, 4), dtype, 13)
        check(
            lambda n, x, y: (
                n.concat([x, y]),
                n.concat((x, y), axis=2),
                n.concat([x, y], axis=None),
            ),
            x,
            y,
        )
        check(
            lambda n, x, y: (n.stack([x, y]), n.stack([x, y], axis=-1), n.unstack(x, axis=1)), x, y
        )
        check(
            lambda n, x: (
                n.expand_dims(x, axis=1),
                n.expand_dims(x, axis=-1),
                n.squeeze(x[:1, ...], axis=0),
            ),
            x,
        )
        check(lambda n, x: (n.flip(x), n.flip(x, axis=1), n.flip(x, axis=(0, -1))), x)
        check(
            lambda n, x: (
                n.permute_dims(x, (2, 0, 1)),
                n.moveaxis(x, 0, -1),
                n.matrix_transpose(x),
                x.mT,
            ),
            x,
        )
        check(
            lambda n, x: (
                n.reshape(x, (6, 4)),
                n.reshape(x, (-1,)),
                n.reshape(x, (4, -1), copy=True),
            ),
            x,
        )
        check(lambda n, x: (n.roll(x, 2), n.roll(x, -1, axis=1), n.roll(x, (1, 2), axis=(0, 2))), x)
        check(
            lambda n, x: (
                n.repeat(x, 2),
                n.repeat(x, 3, axis=1),
                n.tile(x, (2, 1, 1)),
                n.tile(x, (2,)),
            ),
            x,
        )
        check(lambda n, x, r: n.repeat(x, r, axis=1), x, np.array([1, 0, 2]))
        check(lambda n, x: (n.broadcast_to(x, (5, 2, 3, 4)), *n.broadcast_arrays(x, x[0, 0, :])), x)
        check(lambda n, x: (n.tril(x), n.triu(x, k=1), n.tril(x, k=-1), x[0, :, :].T), x)
        check(lambda n, x: n.meshgrid(x[0, 0, :], x[1, :, 0], indexing="ij"), x)
        check(lambda n, x: n.meshgrid(x[0, 0, :], x[1, :, 0]), x)
        assert type(mj.meshgrid(x[0, 0, :])) is tuple
    assert mj.broadcast_shapes((3, 1), (4,)) == (3, 4)


def test_indexing() -> None:
    keys: list[Any] = [0, -1, (0, 1), (1, 2, 3), slice(1, None), slice(None, None, -1), ..., None]
    keys += [
        (..., 0),
        (slice(None), slice(0, 3, 2)),
        (None, 0, ..., None),
        (0, slice(3, 0, -2)),
        (),
    ]
    for dtype in ALL:
        x = data((2, 3, 4), dtype, 14)
        for key in keys:
            if key != ():
                key = key if isinstance(key, tuple) or key is ... else (key, ...)
                full = (
                    key
                    if ... in (key if isinstance(key, tuple) else (key,))
                    else (*key, ...)
                    if len([k for k in key if k is not None]) < 3
                    else key
                )
                check(lambda n, x: x[full], x)
        check(lambda n, x, m: x[m], x, data((2, 3, 4), "bool", 1))
        i, j, k = np.array([0, 1, 1]), np.array([2, 0, 1]), np.array([3, 3, 0])
        check(lambda n, x, i, j, k: (x[i, j, k], x[1, j, k]), x, i, j, k)
        check(lambda n, x, i: (n.take(x, i, axis=0), n.take(x, i, axis=-1)), x, i)
        check(
            lambda n, x, i: n.take_along_axis(x, i, axis=1), x, np.array([[[2], [0]], [[1], [1]]])
        )
        for key in keys:
            host, array = x.copy(), on.asarray(x.copy())
            host[key] = host[(0,) * 3]
            array[key] = array[(0,) * 3]
            np.testing.assert_array_equal(host_of(array), host)
        host, array = x.copy(), on.asarray(x.copy())
        mask = data((2, 3, 4), "bool", 2)
        host[mask], array[on.asarray(mask)] = 1, True if dtype == "bool" else 1
        np.testing.assert_array_equal(host_of(array), host)


def test_searching_sorting_and_sets() -> None:
    for dtype in NUMERIC:
        x = data((4, 6), dtype, 15)
        for name in ("argmax", "argmin"):
            for axis in (None, 0, -1):
                check(lambda n, x: getattr(n, name)(x, axis=axis, keepdims=axis is not None), x)
        for axis in (0, -1):
            for down in (False, True):
                check(lambda n, x: n.sort(x, axis=axis, descending=down), x)
                check(lambda n, x: n.argsort(x, axis=axis, descending=down, stable=True), x)
        check(lambda n, x: (*n.nonzero(x), *n.unique_counts(x), *n.unique_inverse(x)), x)
        check(lambda n, x: (n.unique_values(x), *n.unique_all(x)), x)
        y = np.sort(data((9,), dtype, 16, special=False))
        check(lambda n, y, x: (n.searchsorted(y, x), n.searchsorted(y, x, side="right")), y, x[0])
        if dtype in INTEGERS:  # the reference takes no floats
            check(lambda n, x, y: n.isin(x, y), x, y)
        apart = host_of(mj.isin(on.asarray(x), on.asarray(y), invert=True))
        # the reference's is wrong
        np.testing.assert_array_equal(apart, ~np.isin(x, y))
        check(lambda n, x, y: n.where(x > y, x, y), x[0], x[:1])
    check(lambda n, x: n.unique_all(x), data((9,), "bool", 1))


def test_creation() -> None:
    def call(n: Any) -> Any:
        f = n.float64
        return (
            *(
                n.arange(5),
                n.arange(2, 9, 3),
                n.arange(9, 2, -2),
                n.arange(3, dtype=f),
                n.arange(5, 2),
            ),
            *(n.arange(0.0, 2.0, 0.25, dtype=f), n.linspace(0, 1, 5, dtype=f), n.eye(3, dtype=f)),
            *(
                n.linspace(1, 3, 4, endpoint=False, dtype=f),
                n.eye(2, 3, k=1, dtype=f),
                n.eye(3, 2, k=-1, dtype=f),
            ),
            *(
                n.zeros((2, 3), dtype=n.int8),
                n.ones((2,), dtype=n.uint8),
                n.full((2,), 7),
                n.full((), True),
            ),
            *(
                n.full((2,), 1.5, dtype=f),
                n.zeros_like(n.ones((2, 1), dtype=n.int16)),
                n.ones((0,), dtype=f),
            ),
            *(n.full_like(n.ones((2, 1), dtype=n.int16), 3), n.ones_like(n.zeros(3, dtype=f))),
            *(
                n.asarray([[1, 2], [3, 4]]),
                n.asarray([True]),
                n.asarray([1.5], dtype=f),
                n.asarray(3),
            ),
            *(
                n.asarray([mj.asarray(1), mj.asarray(2)]) if n is on else n.asarray([1, 2]),
                n.asarray([], dtype=f),
            ),
            *(
                n.astype(n.asarray([0, 2]), n.bool),
                n.astype(n.asarray([True]), n.float32),
                n.linspace(1, 2, 0, dtype=f),
            ),
        )

    same(call(on), call(xp), ulps=1)
    assert on.asarray([1.5]).dtype == on.ones(1).dtype == on.linspace(0, 1, 3).dtype == mj.float32


def test_numbers_of_an_array() -> None:
    assert int(on.asarray(3)) == 3 and float(on.asarray(0.5)) == 0.5 and bool(on.asarray(1))
    assert [10, 20][on.asarray(1)] == 20 and complex(on.asarray(2.0)) == 2
    assert float(mj.astype(on.asarray(2.5), mj.bfloat16)) == 2.5
    x = on.asarray([1, 2, 3])
    assert [int(v) for v in x] == [1, 2, 3] and len(x) == 3
    kept = x
    x += 2
    x *= x
    x //= 2
    x <<= 1
    assert kept is x and host_of(x).tolist() == [8, 16, 24]


OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul")
BITS = ("and", "or", "xor", "lshift", "rshift")


@pytest.mark.parametrize("name", OPERATORS + BITS)
def test_operators_reflected_and_in_place(name: str) -> None:
    dtype = "float64" if name in OPERATORS else "int32"
    x = np.abs(data((3, 3), dtype, 20, special=False)) % 5 + 1
    y = np.abs(data((3, 3), dtype, 21, special=False)) % 5 + 1
    x, y = x.astype(dtype), y.astype(dtype)
    forms = [f"__{name}__", f"__r{name}__"]
    for form in forms:
        check(lambda n, x, y: getattr(x, form)(y), x, y, ulps=8)
        if name != "matmul":
            check(lambda n, x: getattr(x, form)(2), x, ulps=8)
    array = on.asarray(x.copy())
    address = array.pointer
    assert getattr(array, f"__i{name}__")(on.asarray(y)) is array and array.pointer == address
    same(array, getattr(xp.asarray(x), forms[0])(xp.asarray(y)), ulps=8)


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge", *OPERATORS, *BITS])
def test_operands_have_no_names(name: str) -> None:
    forms = ("", "r", "i") if name in OPERATORS + BITS else ("",)
    for form in forms:
        signature = inspect.signature(getattr(mj.Array, f"__{form}{name}__"))
        assert all(p.kind is p.POSITIONAL_ONLY for p in signature.parameters.values())


def test_operators_of_one_array_and_comparisons() -> None:
    check(lambda n, x: (abs(x), -x, +x), data((9,), "float32", 22))
    check(lambda n, x: ~x, data((9,), "int16", 22))
    x, y = data((9,), "float64", 23), data((9,), "float64", 24)
    check(lambda n, x, y: (x == y, x != y, x < y, x <= y, x > y, x >= y), x, y)
