"""Elementary functions, sums and conversions of the array library: right, special, the same.

Policy. Right? against mpmath, within the ulp that kernels/standard_*.h state. Special values are
those of the standard's text. Same? every instruction set and number of threads gives the same bits.
"""

from __future__ import annotations

import functools
import math
import sys
from fractions import Fraction
from typing import Any

import needs
import numpy as np
import pytest
from makers import digest, same_bits, touchy_data, words

import majelpy as mj
from majelpy import native
from majelpy.memory import Place

INF, NAN = math.inf, math.nan
COUNT = 150
BOUND = 0.61
"""Ulp of the stated error, and a little for the measurement."""


def spread(seed: int, low: float, high: float) -> np.ndarray:
    return low + (high - low) * words(COUNT, seed).astype(np.float64) / 2**32


def anything(seed: int) -> np.ndarray:
    """Return finite float64 of all exponents."""
    raw = words((COUNT, 2), seed).view(np.uint64).ravel()
    return np.where(raw >> 52 & 0x7FF == 0x7FF, raw ^ (1 << 62), raw).view(np.float64)


SMALL = spread(1, -1, 1)
TINY = SMALL * 2.0 ** -(words(COUNT, 2) % 70).astype(np.float64)
MIDDLE = spread(3, -20, 20)
LARGE = spread(4, -708, 709.7)
ANY = anything(5)
NEAR_1 = 1 + SMALL * 2.0 ** -(words(COUNT, 6) % 50).astype(np.float64)
TURNS = np.arange(1, COUNT) * (np.pi / 4)

INPUTS: dict[str, list[np.ndarray]] = {
    **{name: [SMALL, TINY, np.minimum(NEAR_1, 2 - NEAR_1)] for name in ("acos", "asin", "atanh")},
    **{name: [MIDDLE, TINY, ANY] for name in ("atan", "asinh")},
    "acosh": [1 + np.abs(MIDDLE), np.maximum(NEAR_1, 2 - NEAR_1), 1 + np.abs(ANY)],
    **{name: [MIDDLE, TINY, ANY, TURNS] for name in ("cos", "sin", "tan")},
    **{name: [MIDDLE, TINY, LARGE] for name in ("cosh", "sinh", "exp", "expm1")},
    "tanh": [MIDDLE, TINY],
    **{name: [np.abs(ANY), NEAR_1, np.abs(MIDDLE)] for name in ("log", "log2", "log10")},
    "log1p": [TINY, NEAR_1, np.abs(ANY), -np.abs(SMALL)],
}
PAIRS: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {
    "pow": [(np.abs(MIDDLE), MIDDLE[::-1]), (np.abs(ANY), SMALL), (NEAR_1, LARGE * 1e4)],
    "atan2": [(MIDDLE, SMALL), (ANY, ANY[::-1]), (TINY, MIDDLE)],
    "hypot": [(MIDDLE, SMALL), (ANY, ANY[::-1]), (ANY, ANY * 0.7)],
    "logaddexp": [(MIDDLE, SMALL), (LARGE, LARGE[::-1]), (np.abs(TINY), np.abs(SMALL))],
}


def exactly(name: str, *arguments: float) -> Any:
    mpmath = needs.module("dev", "mpmath")
    functions = {
        "pow": mpmath.power,
        "log2": lambda x: mpmath.log(x, 2),
        "logaddexp": lambda x, y: mpmath.log(mpmath.exp(x) + mpmath.exp(y)),
    }
    with mpmath.workprec(1500 if name in ("sin", "cos", "tan", "logaddexp") else 250):
        function = functions.get(name) or getattr(mpmath, name)
        return function(*(mpmath.mpf(float(a)) for a in arguments))


def worst(name: str, arrays: tuple[np.ndarray, ...]) -> float:
    found = getattr(mj, name)(*(mj.asarray(np.ascontiguousarray(a)) for a in arrays)).numpy()
    errors = [0.0]
    for value, *arguments in zip(found.tolist(), *(a.tolist() for a in arrays), strict=True):
        wanted = exactly(name, *arguments)
        if abs(wanted) > sys.float_info.max:
            assert math.isinf(value)
        elif abs(wanted) > 2.0**-1022:
            cancelled = 2.0**-57 if name == "logaddexp" else 0.0
            errors.append(float(abs(wanted - value) - cancelled) / math.ulp(float(wanted)))
        else:
            assert abs(wanted - value) <= 1.1 * math.ulp(0.0)
    return max(errors)


@pytest.mark.parametrize("name", [*INPUTS, *PAIRS])
def test_error_in_ulp(name: str) -> None:
    cases = [(x,) for x in INPUTS[name]] if name in INPUTS else PAIRS[name]
    for arrays in cases:
        assert worst(name, arrays) < BOUND


@pytest.mark.parametrize("name", INPUTS)
def test_float32_is_float64_rounded(name: str) -> None:
    x = np.concatenate(INPUTS[name])
    with np.errstate(all="ignore"):
        x = x.astype(np.float32)
    single = getattr(mj, name)(mj.asarray(x))
    double = getattr(mj, name)(mj.asarray(x.astype(np.float64)))
    assert same_bits(single, mj.astype(double, mj.float32))


SPECIAL: dict[str, list[tuple[float, ...]]] = {
    "acos": [(1, 0.0), (1.1, NAN), (-1.1, NAN), (-1, math.pi), (NAN, NAN)],
    "acosh": [(1, 0.0), (0.9, NAN), (INF, INF), (-INF, NAN), (NAN, NAN)],
    "asin": [(0.0, 0.0), (-0.0, -0.0), (2, NAN), (-2, NAN), (1, math.pi / 2), (NAN, NAN)],
    "asinh": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (NAN, NAN)],
    "atan": [(0.0, 0.0), (-0.0, -0.0), (INF, math.pi / 2), (-INF, -math.pi / 2), (NAN, NAN)],
    "atanh": [(0.0, 0.0), (-0.0, -0.0), (1, INF), (-1, -INF), (1.1, NAN), (-1.1, NAN), (NAN, NAN)],
    "cos": [(0.0, 1), (-0.0, 1), (INF, NAN), (-INF, NAN), (NAN, NAN)],
    "cosh": [(0.0, 1), (-0.0, 1), (INF, INF), (-INF, INF), (711, INF), (NAN, NAN)],
    "exp": [(0.0, 1), (-0.0, 1), (INF, INF), (-INF, 0.0), (710, INF), (-746, 0.0), (NAN, NAN)],
    "expm1": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1), (-800, -1), (NAN, NAN)],
    "log": [(1, 0.0), (0.0, -INF), (-0.0, -INF), (-1, NAN), (INF, INF), (-INF, NAN), (NAN, NAN)],
    "log1p": [(0.0, 0.0), (-0.0, -0.0), (-1, -INF), (-2, NAN), (INF, INF), (NAN, NAN)],
    "log2": [(1, 0.0), (8, 3), (5e-324, -1074), (0.0, -INF), (-1, NAN), (INF, INF), (NAN, NAN)],
    "log10": [(1, 0.0), (1000, 3), (1e22, 22), (0.0, -INF), (-1, NAN), (INF, INF), (NAN, NAN)],
    "sin": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN), (NAN, NAN)],
    "sinh": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (-711, -INF), (NAN, NAN)],
    "tan": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN), (NAN, NAN)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (INF, 1), (-INF, -1), (30, 1), (NAN, NAN)],
    "sqrt": [(0.0, 0.0), (-0.0, -0.0), (-1, NAN), (INF, INF), (9, 3), (NAN, NAN)],
    "floor": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (-0.5, -1), (2.7, 2), (NAN, NAN)],
    "ceil": [(0.0, 0.0), (-0.0, -0.0), (-0.5, -0.0), (0.1, 1), (-INF, -INF), (NAN, NAN)],
    "round": [(0.5, 0.0), (-0.5, -0.0), (1.5, 2), (2.5, 2), (-2.5, -2), (INF, INF), (NAN, NAN)],
    "trunc": [(-0.9, -0.0), (0.9, 0.0), (-7.9, -7), (2**60, 2**60), (-INF, -INF), (NAN, NAN)],
    "reciprocal": [(0.0, INF), (-0.0, -INF), (INF, 0.0), (-INF, -0.0), (4, 0.25), (NAN, NAN)],
    "pow": [
        *((NAN, 0.0, 1), (1, NAN, 1), (1, INF, 1), (-1, INF, 1), (-1, -INF, 1), (NAN, 2, NAN)),
        *((2, INF, INF), (2, -INF, 0.0), (0.5, INF, 0.0), (-0.5, -INF, INF), (INF, 0.5, INF)),
        *((INF, -1, 0.0), (-INF, 3, -INF), (-INF, 2, INF), (-INF, 0.5, INF), (-INF, -3, -0.0)),
        *((-INF, -2, 0.0), (0.0, 2, 0.0), (0.0, -1, INF), (-0.0, 3, -0.0), (-0.0, 2, 0.0)),
        *((-0.0, -3, -INF), (-0.0, -2, INF), (-8, 1 / 3, NAN), (-2, 3, -8), (10, 22, 1e22)),
        *((2, -1074, 5e-324), (2, 1024, INF), (2, -1100, 0.0), (-2, -1101, -0.0), (0.0, 0.5, 0.0)),
    ],
    "atan2": [
        *((0.0, 1, 0.0), (-0.0, 1, -0.0), (0.0, -1, math.pi), (-0.0, -1, -math.pi), (NAN, 1, NAN)),
        *((0.0, 0.0, 0.0), (0.0, -0.0, math.pi), (-0.0, -0.0, -math.pi), (1, 0.0, math.pi / 2)),
        *((-1, -0.0, -math.pi / 2), (1, INF, 0.0), (-1, INF, -0.0), (1, -INF, math.pi)),
        *((INF, 1, math.pi / 2), (-INF, 1, -math.pi / 2), (INF, INF, math.pi / 4)),
        *((-INF, INF, -math.pi / 4), (INF, -INF, 3 * math.pi / 4), (-INF, -INF, -3 * math.pi / 4)),
    ],
    "hypot": [(INF, NAN, INF), (NAN, -INF, INF), (NAN, 1, NAN), (3, -4, 5), (0.0, -0.0, 0.0)],
    "logaddexp": [(NAN, 1, NAN), (INF, NAN, NAN), (INF, 1, INF), (-INF, -INF, -INF), (-INF, 2, 2)],
    "remainder": [
        *((5, 3, 2), (-5, 3, 1), (5, -3, -1), (-5, -3, -2), (6, -3, -0.0), (-6, 3, 0.0)),
        *(
            (1, INF, 1),
            (-1, INF, INF),
            (1, -INF, -INF),
            (INF, 1, NAN),
            (1, 0.0, NAN),
            (NAN, 1, NAN),
        ),
        *((0.0, 1, 0.0), (-0.0, -1, -0.0), (5e-324, 1, 5e-324), (1e308, 5e-324, 0.0)),
    ],
    "floor_divide": [
        *((5, 3, 1), (-5, 3, -2), (5, -3, -2), (1, 0.0, INF), (-1, 0.0, -INF), (0.0, 0.0, NAN)),
        *((0.0, -1, -0.0), (-0.0, 1, -0.0), (-0.0, -1, 0.0), (NAN, 1, NAN), (1, NAN, NAN)),
        *((1, -0.0, -INF), (-1, -0.0, INF), (0.0, -0.0, NAN), (INF, 0.0, INF), (INF, -0.0, -INF)),
        *((INF, 1, INF), (INF, -1, -INF), (-INF, 1, -INF), (-INF, -1, INF), (-INF, 0.5, -INF)),
        *((1, INF, 0.0), (1, -INF, -0.0), (-1, INF, -0.0), (-1, -INF, 0.0), (0.0, -INF, -0.0)),
        *((INF, INF, NAN), (INF, -INF, NAN), (-INF, INF, NAN), (-INF, -INF, NAN), (INF, NAN, NAN)),
    ],
    "divide": [(1, 0.0, INF), (-1, 0.0, -INF), (0.0, 0.0, NAN), (INF, INF, NAN), (1, -INF, -0.0)],
    "add": [(INF, -INF, NAN), (-0.0, -0.0, -0.0), (-0.0, 0.0, 0.0), (INF, 1, INF), (NAN, 1, NAN)],
    "multiply": [(INF, 0.0, NAN), (-1, 0.0, -0.0), (-INF, -2, INF), (NAN, 0.0, NAN)],
    "maximum": [(NAN, 1, NAN), (1, NAN, NAN), (-INF, 1, 1)],
    "minimum": [(NAN, 1, NAN), (1, NAN, NAN), (-INF, 1, -INF)],
}


@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values(name: str, dtype: str, each_isa: str) -> None:
    for *arguments, wanted in SPECIAL[name]:
        with np.errstate(all="ignore"):
            *hosts, rounded = (np.asarray([a], dtype) for a in (*arguments, wanted))
        if any(
            bool(h[0]) != bool(a) or np.isinf(h[0]) != np.isinf(a)
            for h, a in zip(hosts, arguments, strict=True)
        ):
            continue  # float32 has no such argument
        found = float(getattr(mj, name)(*map(mj.asarray, hosts))[0])
        assert found == pytest.approx(float(rounded[0]), rel=1e-6, nan_ok=True), (arguments, found)
        assert math.isnan(wanted) or math.copysign(1, found) == math.copysign(1, wanted), arguments


_seen: dict[str, str] = {}


def test_every_isa_gives_the_same_bits(each_isa: str) -> None:
    results = []
    for name, arrays in INPUTS.items():
        for x in arrays:
            results.append(getattr(mj, name)(mj.asarray(x.copy())))
    for name, pairs in PAIRS.items():
        results += [getattr(mj, name)(*map(mj.asarray, (x, y.copy()))) for x, y in pairs]
    for x in (touchy_data((700, 70), 1), touchy_data((700, 70), 2).astype(np.float64)):
        a = mj.asarray(x)
        results += [a + 1, a * a, a / 3, mj.sqrt(mj.abs(a)), mj.floor(a), mj.remainder(a, a + 7)]
        results += [f(a, axis=i) for f in (mj.sum, mj.prod, mj.mean, mj.var) for i in (0, 1, None)]
        results += [mj.cumulative_sum(a, axis=0), a.mT @ a, mj.vecdot(a, a), mj.tensordot(a, a)]
    _seen.setdefault("digest", digest(*results))
    assert digest(*results) == _seen["digest"]


def test_threads_change_no_bit(threads: None) -> None:
    a = mj.asarray(touchy_data((301, 517), 3).astype(np.float64))
    found = []
    for count in (1, 2, 5):
        native.set_threads(count)
        sums = [mj.sum(a, axis=axis) for axis in (0, 1, None)]
        found.append(digest(mj.exp(a * 1e-6), a.mT @ a, *sums, mj.cumulative_sum(a, axis=1)))
    assert len(set(found)) == 1


def same(a: Any, b: Any) -> bool:
    """Say whether two arrays of any places have the same bytes."""
    return same_bits(*(x.to_device("cpu") if isinstance(x, mj.Array) else x for x in (a, b)))


def chunked(terms: np.ndarray) -> np.ndarray:
    """Return the canonical sum over the first axis, slowly."""
    total = None
    for start in range(0, len(terms), 256):
        acc = np.zeros(terms.shape[1:], terms.dtype)
        for term in terms[start : start + 256]:
            acc = acc + term
        total = acc if total is None else total + acc
    return np.zeros(terms.shape[1:], terms.dtype) if total is None else total


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_are_canonical(dtype: Any, each_place: Place) -> None:
    there = functools.partial(mj.asarray, device=each_place)
    for n in (0, 1, 255, 256, 257, 2048, 2500):
        x = touchy_data((n, 3), n).astype(dtype)
        a = there(x)
        assert same(mj.sum(a, axis=0), chunked(x))
        assert same(mj.sum(there(np.ascontiguousarray(x.T)), axis=1), chunked(x))
        assert same(mj.sum(a), chunked(x.ravel()))
        if n:
            assert same(mj.cumulative_sum(a, axis=0)[-1], mj.sum(a, axis=0))
        if n > 256:
            assert not same(mj.sum(a, axis=0), chunked(x[::-1]))
    y = touchy_data((4, 300, 5), 9).astype(dtype)
    wanted = chunked(np.moveaxis(y, 1, 0).transpose(1, 0, 2).transpose(0, 2, 1).reshape(20, 300).T)
    assert same(mj.sum(there(y), axis=(1,)).reshape(20), wanted)
    x = touchy_data((700,), 5).astype(np.float64)
    assert same(mj.vecdot(there(x), there(x)), chunked(x * x))
    matrix = touchy_data((3, 700), 6).astype(np.float64)
    product = there(matrix) @ there(np.ascontiguousarray(matrix.T))
    assert same(product[1, 2], chunked(matrix[1] * matrix[2]))


def nearest(x: Fraction, fraction: int, lowest: int) -> Fraction:
    """Return x rounded to so many bits behind the first, none below 2^lowest."""
    if x == 0:
        return x
    e = abs(x.numerator).bit_length() - x.denominator.bit_length()
    if abs(x) < Fraction(2) ** e:
        e -= 1
    unit = Fraction(2) ** (max(e, lowest) - fraction)
    return round(x / unit) * unit


@pytest.mark.parametrize(
    ("name", "fraction", "lowest"), [("float16", 10, -14), ("bfloat16", 7, -126)]
)
def test_16_bits_round_once_and_come_back(
    name: str, fraction: int, lowest: int, each_place: Place
) -> None:
    there = functools.partial(mj.asarray, device=each_place)
    kind = getattr(mj, name)
    x = np.concatenate([SMALL, TINY, MIDDLE, 1 + np.arange(64) * 2.0**-12, SMALL * 2.0**-130])
    x = np.concatenate([x, np.arange(40) * 2.0**-25, [0.0, -0.0]])
    found = mj.astype(mj.astype(there(x), kind), mj.float64).to_device("cpu").numpy()
    wanted = [float(nearest(Fraction(v), fraction, lowest)) for v in x.tolist()]
    np.testing.assert_array_equal(found, wanted)
    assert (np.signbit(found) == np.signbit(x)).all()
    ends = mj.astype(there([INF, -INF, NAN, 1e39, 65519.0, 65520.0]), kind)
    back = mj.astype(ends, mj.float32).to_device("cpu").numpy()
    assert back[:2].tolist() == [INF, -INF] and np.isnan(back[2]) and back[3] == INF
    if name == "float16":
        assert back[4:].tolist() == [65504, INF]
        assert same(mj.astype(there(x), kind), x.astype(np.float16))
    bits = np.arange(1 << 16, dtype=np.uint16)
    every = there(bits.view(kind))
    again = mj.astype(mj.astype(every, mj.float32), kind).to_device("cpu").numpy().view(np.uint16)
    numbers = ~np.isnan(mj.astype(every, mj.float32).to_device("cpu").numpy())
    assert (again == bits)[numbers].all()


def test_floats_become_integers(each_place: Place) -> None:
    there = functools.partial(mj.asarray, device=each_place)
    x = there(np.array([1.9, -1.9, 300.0, -300.0, 1e30, -1e30, INF, -INF, NAN, 0.5]))
    for kind, wanted in (
        (mj.int8, [1, -1, 127, -128, 127, -128, 127, -128, 0, 0]),
        (mj.uint8, [1, 0, 255, 0, 255, 0, 255, 0, 0, 0]),
    ):
        assert mj.astype(x, kind).to_device("cpu").numpy().tolist() == wanted
    largest = 2**63 - 1
    found = mj.astype(x, mj.int64).to_device("cpu").numpy().tolist()
    assert found == [1, -1, 300, -300, largest, -largest - 1, largest, -largest - 1, 0, 0]
    assert mj.astype(x, mj.bool).to_device("cpu").numpy().tolist() == [True] * 10


def test_integers_become_floats_with_one_rounding(each_place: Place) -> None:
    there = functools.partial(mj.asarray, device=each_place)
    values = [2**24 + 1, 2**24 + 3, 2**62 + 2**38 + 1, -(2**53) - 1, 2**63 - 1]
    x = there(values)
    wanted = [float(nearest(Fraction(v), 23, -126)) for v in values]
    assert mj.astype(x, mj.float32).to_device("cpu").numpy().tolist() == wanted
    assert mj.astype(x, mj.float64).to_device("cpu").numpy().tolist() == [float(v) for v in values]
