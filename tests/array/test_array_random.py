"""Random numbers by key. Right: by the definition, and as theory has them. Same: everywhere."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import needs
import numpy as np
import pytest
from makers import digest, philox, same_bits

import majelpy as mj
from majelpy import native
from majelpy.errors import CopyError, DTypeError, MajelError, RangeError, ShapeError
from majelpy.memory import CPU, Place
from majelpy.random import Key

TOP = 1 << 64
KEYS = (Key(1, 2), Key(TOP - 1, TOP - 3), mj.random.key(7))


def wide(words: list[int]) -> tuple[int, int]:
    """Return a block as two words of 64 bits."""
    return words[1] << 32 | words[0], words[3] << 32 | words[2]


def words_of(key: Key, count: int) -> list[int]:
    """Return the 64-bit words of a key."""
    blocks = (philox(key.philox, i, key.stream) for i in range(-(-count // 2)))
    return [word for block in blocks for word in wide(block)][:count]


def short_words_of(key: Key, count: int) -> list[int]:
    """Return the 32-bit words of a key."""
    blocks = (philox(key.philox, i, key.stream) for i in range(-(-count // 4)))
    return [word for block in blocks for word in block][:count]


# --- keys -----------------------------------------------------------------------------------


def test_keys_by_the_definition(each_isa: str) -> None:
    child = 0x6A09E667F3BCC908  # of the square root of 2: int(sqrt(2) % 1 * 2^64)
    assert child == math.isqrt(2 << 128) - TOP
    for key in KEYS:
        for number in (0, 1, 77, TOP - 1):
            wanted = Key(*wide(philox(key.philox ^ child, number, key.stream)))
            assert mj.random.fold_in(key, number) == wanted
    assert mj.random.key(5) == mj.random.fold_in(Key(0, 0), 5)


def test_children_and_seeds_differ() -> None:
    key = mj.random.key(0)
    assert mj.random.split(key, 3) == tuple(mj.random.fold_in(key, i) for i in range(3))
    assert len(mj.random.split(key)) == 2 and mj.random.split(key, 0) == ()
    seeds = {mj.random.key(seed) for seed in (*range(300), TOP - 1, 1 << 32)}
    children = {*mj.random.split(key, 300), *mj.random.split(mj.random.key(1), 300)}
    assert len(seeds) == 302 and len(children) == 600 and len(seeds | children) == 902
    assert mj.random.key(np.uint64(3)) == mj.random.key(3)


def test_numbers_of_a_child_do_not_go_with_its_parents() -> None:
    key, n = mj.random.key(3), 50_000
    found = [
        mj.random.normal(k, n, dtype=mj.float64).numpy()
        for k in (key, *mj.random.split(key, 3), mj.random.key(4))
    ]
    products = [np.mean(a * b) for i, a in enumerate(found) for b in found[:i]]
    assert np.abs(products).max() < 5 / math.sqrt(n)  # of deviation n^-0.5 each


# --- right: by the definition -----------------------------------------------------------------


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.25, 7), (1e-3, 1.5e30)])
def test_uniform_numbers_by_the_definition(
    key: Key, low: float, high: float, each_isa: str
) -> None:
    for dtype, n in ((np.float32, 41), (np.float64, 41)):
        if dtype == np.float32:
            units = [(word >> 8) * 2.0**-24 for word in short_words_of(key, n)]
        else:
            units = [(word >> 11) * 2.0**-53 for word in words_of(key, n)]
        first, last = dtype(low), dtype(high)
        wanted = first + np.array(units, dtype) * (last - first)
        found = mj.random.uniform(key, n, low=low, high=high, dtype=dtype)
        assert found.dtype == dtype and same_bits(found, wanted)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_uniform_numbers_stay_below_the_end(dtype: Any, each_isa: str) -> None:
    one, least = dtype(1), np.finfo(dtype).smallest_subnormal
    for low, high in ((one, np.nextafter(one, dtype(2))), (-least, least), (dtype(-1), dtype(0))):
        found = mj.random.uniform(
            mj.random.key(1), 4000, low=float(low), high=float(high), dtype=dtype
        ).numpy()
        assert (found >= low).all() and (found < high).all()


@pytest.mark.parametrize("key", KEYS)
def test_normal_numbers_by_the_definition(key: Key, each_isa: str) -> None:
    # float32: below 6 ulp of 6 (test_random.py). float64: a radius is below 8.6, its logarithm and
    # root are off by 2 ulp together; the angle by 6.3 (2^-53 + 4e-17), sine and cosine by 0.6 ulp
    # of 1 more, and the product rounds: 8.6 (9.5e-16 + 0.7e-16 + 3 2^-53) < 1.3e-14.
    short = np.array(short_words_of(key, 40), np.float64).reshape(-1, 2) // 256
    found = mj.random.normal(key, (8, 5)).numpy().reshape(-1, 2)
    radius = np.sqrt(-2 * np.log((short[:, 0] + 1) * 2.0**-24))
    angle = 2 * np.pi * short[:, 1] * 2.0**-24
    assert np.abs(found[:, 0] - radius * np.cos(angle)).max() < 6 * 6 * 2.0**-23
    assert np.abs(found[:, 1] - radius * np.sin(angle)).max() < 6 * 6 * 2.0**-23
    mpmath = needs.module("dev", "mpmath")
    words = words_of(key, 60)
    exact = mj.random.normal(key, 60, dtype=mj.float64).numpy()
    with mpmath.workdps(40):
        for i in range(0, 60, 2):
            far = mpmath.sqrt(-2 * mpmath.log(mpmath.ldexp((words[i] >> 11) + 1, -53)))
            turn = 2 * mpmath.pi * mpmath.ldexp(words[i + 1] >> 11, -53)
            assert abs(exact[i] - far * mpmath.cos(turn)) < 1.3e-14
            assert abs(exact[i + 1] - far * mpmath.sin(turn)) < 1.3e-14


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        *((0, 1, None), (0, 6, None), (-5, 5, mj.int8), (-128, 128, mj.int8), (7, 256, mj.uint8)),
        *((0, 2**32 + 1, None), (-(2**63), 2**63, None), (-(2**63), 2**62, mj.int64)),
        *((0, 2**64, mj.uint64), (2**63 - 5, 2**64, mj.uint64), (-3, 2**31, mj.int32)),
    ],
)
def test_integers_by_the_definition(
    key: Key, low: int, high: int, dtype: Any, each_isa: str
) -> None:
    blocks = [wide(philox(key.philox, i, key.stream)) for i in range(40)]
    wanted = [low + ((b << 64 | a) * (high - low) >> 128) for a, b in blocks]
    found = mj.random.integers(key, (4, 10), low=low, high=high, dtype=dtype)
    assert found.dtype == (dtype or mj.int64) and found.shape == (4, 10)
    assert found.numpy().reshape(-1).tolist() == wanted


def test_coins_and_permutations_by_the_definition(each_isa: str) -> None:
    for key in KEYS:
        words = words_of(key, 51)
        for probability in (0.0, 1e-18, 0.3, 0.5, 1 - 2.0**-53, 1.0):
            wanted = [(word >> 11) * 2.0**-53 < probability for word in words]
            assert mj.random.bernoulli(key, probability, 51).numpy().tolist() == wanted
        order = sorted(range(51), key=lambda i: words[i])
        assert mj.random.permutation(key, 51).numpy().tolist() == order
        x = np.arange(51 * 4).reshape(51, 4)
        assert same_bits(mj.random.permutation(key, mj.asarray(x)), x[order])
        assert same_bits(mj.random.permutation(key, x.T.copy(), axis=-1), x[order].T.copy())
    assert mj.random.permutation(KEYS[0], 0).shape == (0,)


# --- right: as the theory has them ------------------------------------------------------------


def chi_square(counts: np.ndarray, probabilities: np.ndarray) -> None:
    """Hold counts against probabilities, within five deviations of what chance gives."""
    expected = probabilities * counts.sum()
    freedom = len(counts) - 1
    found = ((counts - expected) ** 2 / expected).sum()
    assert abs(found - freedom) < 5 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_uniform_numbers_are_uniform(dtype: Any) -> None:
    n = 200_000
    x = mj.random.uniform(mj.random.key(1), n, dtype=dtype).numpy().astype(np.float64)
    # Standard errors: of the mean (12 n)^-0.5, of the variance (180 n)^-0.5, of the product of
    # neighbours' deviations 1 / (12 sqrt n).
    assert abs(x.mean() - 0.5) < 5 / math.sqrt(12 * n)
    assert abs(x.var() - 1 / 12) < 5 / math.sqrt(180 * n)
    assert abs(np.mean((x[:-1] - 0.5) * (x[1:] - 0.5))) < 5 / (12 * math.sqrt(n))
    chi_square(np.bincount((x * 64).astype(int), minlength=64), np.full(64, 1 / 64))
    # A sorted sample is nowhere further from the line than 2.2 / sqrt(n), but for 1 in 8000.
    ordered, steps = np.sort(x), np.arange(n + 1) / n
    assert max(np.abs(ordered - steps[1:]).max(), np.abs(ordered - steps[:-1]).max()) < 2.2 / n**0.5


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normal_numbers_are_normal(dtype: Any) -> None:
    n = 200_000
    x = mj.random.normal(mj.random.key(2), n, dtype=dtype).numpy().astype(np.float64)
    # Standard errors: n^-0.5 of the mean, (2 / n)^0.5 of the variance, (15 / n)^0.5 and
    # (96 / n)^0.5 of the third and fourth moment.
    assert abs(x.mean()) < 5 / math.sqrt(n) and abs(x.var() - 1) < 5 * math.sqrt(2 / n)
    assert abs((x**3).mean()) < 5 * math.sqrt(15 / n)
    assert abs((x**4).mean() - 3) < 5 * math.sqrt(96 / n)
    assert abs(np.mean(x[:-1] * x[1:])) < 5 / math.sqrt(n)
    ordered = np.sort(x)
    theory = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in ordered[::50]])
    assert np.abs(theory - np.arange(0, n, 50) / n).max() < 2.2 / n**0.5 + 1 / n
    assert np.abs(x).max() < (5.78 if dtype == np.float32 else 8.58)


def test_integers_coins_and_permutations_are_fair() -> None:
    key = mj.random.key(3)
    dice = mj.random.integers(key, 60_000, high=6).numpy()
    chi_square(np.bincount(dice, minlength=6), np.full(6, 1 / 6))
    low, bins = -(3 << 60), 24  # a span that is no power of two, above 2^62
    wide = mj.random.integers(key, 60_000, low=low, high=-low).numpy() // (-low // 12) + 12
    chi_square(np.bincount(wide, minlength=bins), np.full(bins, 1 / bins))
    heads = mj.random.bernoulli(key, 0.3, 100_000).numpy()
    assert abs(heads.mean() - 0.3) < 5 * math.sqrt(0.21 / 100_000)
    orders = Counter(
        tuple(mj.random.permutation(child, 3).numpy().tolist())
        for child in mj.random.split(key, 1200)
    )
    chi_square(np.array([*orders.values()]), np.full(6, 1 / 6))


# --- same ------------------------------------------------------------------------------------

CALLS: dict[str, Callable[..., mj.Array]] = {
    "uniform": lambda k, n, **o: mj.random.uniform(k, n, low=-2, high=3, **o),
    "uniform of float64": lambda k, n, **o: mj.random.uniform(k, n, dtype=mj.float64, **o),
    "normal": mj.random.normal,
    "normal of float64": lambda k, n, **o: mj.random.normal(k, n, dtype=mj.float64, **o),
    "integers": lambda k, n, **o: mj.random.integers(k, n, low=-9, high=2**40, **o),
    "integers of uint8": lambda k, n, **o: mj.random.integers(k, n, high=9, dtype=mj.uint8, **o),
    "bernoulli": lambda k, n, **o: mj.random.bernoulli(k, 0.25, n, **o),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_number_depends_on_key_and_place_alone(name: str, threads: None) -> None:
    call, key = CALLS[name], mj.random.key(11)
    whole = call(key, 5001)
    for count in (0, 1, 2, 3, 4, 5, 999):
        assert same_bits(call(key, count), whole[:count])
    assert same_bits(call(key, (1667, 3)).reshape(-1), whole) and call(key, ()).shape == ()
    native.set_threads(3)
    assert same_bits(call(key, 5001), whole)
    assert not same_bits(call(mj.random.key(12), 5001), whole)


_seen: dict[str, str] = {}


@pytest.mark.parametrize("name", CALLS)
def test_every_isa_gives_the_same_bits(name: str, each_isa: str) -> None:
    found = digest(CALLS[name](mj.random.key(13), 3001))
    assert _seen.setdefault(name, found) == found


@pytest.mark.parametrize("name", CALLS)
def test_every_place_gives_the_same_bits(name: str, each_place: Place) -> None:
    for count in (0, 1, 7, 1025):
        found = CALLS[name](mj.random.key(14), count, device=each_place)
        assert found.place == each_place
        assert same_bits(found.to_device(CPU), CALLS[name](mj.random.key(14), count))


def test_permutations_of_every_place(each_place: Place) -> None:
    key, x = mj.random.key(15), np.arange(24, dtype=np.float32).reshape(8, 3)
    there = mj.asarray(x, device=each_place)
    wanted = mj.random.permutation(key, 8)
    found = mj.random.permutation(key, 8, device=each_place)
    assert found.place == each_place and same_bits(found.to_device(CPU), wanted)
    assert same_bits(mj.random.permutation(key, there).to_device(CPU), x[wanted.numpy()])
    other = "cpu" if each_place != CPU else "gpu:3"
    with pytest.raises(CopyError, match=f"^permutation: device {other}; the array lies on"):
        mj.random.permutation(key, there, device=other)


K = mj.random.key(1)
integers, uniform = mj.random.integers, mj.random.uniform
REFUSED: list[tuple[type[MajelError], str, Callable[[], Any]]] = [
    (RangeError, "fold_in: -1; needs 0 to 2^64 - 1", lambda: mj.random.key(-1)),
    (RangeError, f"fold_in: {TOP}; needs 0", lambda: mj.random.fold_in(K, TOP)),
    (DTypeError, "fold_in: 1.5; needs an integer", lambda: mj.random.key(1.5)),
    (RangeError, "split: -1 keys; needs 0 or more", lambda: mj.random.split(K, -1)),
    (DTypeError, "split: int found; needs a key", lambda: mj.random.split(3)),
    (DTypeError, "normal: tuple found; needs a key", lambda: mj.random.normal((1, 2), 3)),
    (RangeError, "uniform: from 1.0 to 1.0 in float32", lambda: uniform(K, 2, low=1.0)),
    (
        RangeError,
        "uniform: from 0 to 1e-60 in float32",
        lambda: uniform(K, high=1e-60, low=0),
    ),
    (
        RangeError,
        "uniform: from -3e+38 to 3e+38 in float32; needs ascending ends, less than 3.40e+38 apart",
        lambda: uniform(K, 2, low=-3e38, high=3e38),
    ),
    (RangeError, "uniform: from 0.0 to nan", lambda: uniform(K, high=math.nan)),
    (DTypeError, "uniform: 'x' (str) does not go", lambda: uniform(K, high="x")),
    (
        DTypeError,
        "uniform: int8 found; needs one of",
        lambda: uniform(K, dtype="int8"),
    ),
    (DTypeError, "normal: float16 found", lambda: mj.random.normal(K, dtype=mj.float16)),
    (ShapeError, "empty: shape (-1,)", lambda: mj.random.normal(K, -1)),
    (
        RangeError,
        "integers: from 3 to below 3; needs one",
        lambda: integers(K, low=3, high=3),
    ),
    (
        RangeError,
        "integers: 256 is out of the range of uint8",
        lambda: integers(K, high=257, dtype="uint8"),
    ),
    (DTypeError, "integers: 1.5; needs an integer", lambda: integers(K, high=1.5)),
    (DTypeError, "integers: float32 found", lambda: integers(K, high=2, dtype="float32")),
    (RangeError, "bernoulli: probability 1.5; needs 0 to 1", lambda: mj.random.bernoulli(K, 1.5)),
    (RangeError, "bernoulli: probability nan", lambda: mj.random.bernoulli(K, math.nan)),
    (ShapeError, "permutation: -1 integers", lambda: mj.random.permutation(K, -1)),
    (
        RangeError,
        "permutation: axis 0; needs an array with axes",
        lambda: mj.random.permutation(K, mj.ones(())),
    ),
    (DTypeError, "permutation: list found; needs an array", lambda: mj.random.permutation(K, [1])),
]


@pytest.mark.parametrize(("kind", "message", "call"), REFUSED, ids=[m for _, m, _ in REFUSED])
def test_refusals(kind: type[MajelError], message: str, call: Callable[[], Any]) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
