"""exp, log, sigmoid, tanh and the fused multiply-add."""

from __future__ import annotations

import math

import bodies
import numpy as np
import pytest
from makers import digest, fma, fma_exact, level_data, same_bits, touchy_data, words

LARGEST = np.float32(3.4028235e38)
SMALLEST = np.float32(1e-45)


def floats(*bits: int) -> np.ndarray:
    return np.array(bits, dtype=np.uint32).view(np.float32)


def any_floats(count: int, seed: int) -> np.ndarray:
    """Return finite float32 of all exponents."""
    bits = words(count, seed)
    return np.where(bits >> 23 & 0xFF == 0xFF, bits ^ 0x40000000, bits).view(np.float32)


def hard_fma_cases() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return operands: all exponents, halfway sums, cancellation, denormals, overflow, zeros."""
    cases = [(any_floats(300, s), any_floats(300, s + 1), any_floats(300, s + 2)) for s in (1, 9)]
    touchy = touchy_data(300, 20), touchy_data(300, 21), touchy_data(300, 22)
    tiny = touchy_data(300, 30, tiny=True), touchy_data(300, 31, tiny=True)
    cases += [touchy, (*tiny, touchy_data(300, 32, tiny=True) * np.float32(2.0**-60))]
    # c is minus the rounded product, or next to it: what is left is the product's rounding error.
    a, b = level_data(300, 40), level_data(300, 41)
    cases += [(a, b, -(a * b)), (a, b, -np.nextafter(a * b, LARGEST))]
    # x + half an ulp of it, exactly and one part in 2^40 beside it: ties to even and near them.
    x = floats(*(words(200, 50) % 0x800000 + 0x3F800000))
    half = np.full(200, 2.0**-24, np.float32)
    nudge = np.where(np.arange(200) % 3 == 0, 0, 2.0**-23 * (np.arange(200) % 3 * 2 - 3))
    cases += [(half, (1 + nudge).astype(np.float32), x), (-half, (1 + nudge).astype(np.float32), x)]
    # A product halfway between two float32 and a c far below 2^-53: float64 would lose it.
    odd = 1 + (2 * (words(200, 51) % 1024) + 1).astype(np.float32) * np.float32(2.0**-12)
    sign = np.where(words(200, 52) % 2, 1, -1).astype(np.float32)
    cases.append((np.full(200, 1 + 2.0**-12, np.float32), odd, sign * np.float32(2.0**-70)))
    # Results around the smallest denormal and around the largest number, ties included.
    steps = np.arange(-64, 64, dtype=np.float32)
    cases.append((np.full(128, 2.0**-80, np.float32), steps * np.float32(2.0**-73), 0 * steps))
    cases.append(
        (np.full(128, 2.0**-76, np.float32), steps * np.float32(2.0**-75), steps * SMALLEST)
    )
    cases.append(
        (np.full(128, 2.0**52, np.float32), steps * np.float32(2.0**47), 0 * steps + LARGEST)
    )
    special = np.float32([0.0, -0.0, 1, -1, SMALLEST, -SMALLEST, LARGEST, -LARGEST, 2.0**-126, 0.5])
    cases.append(tuple(v.ravel() for v in np.meshgrid(special, special, special)))
    return tuple(np.concatenate([case[i] for case in cases]).astype(np.float32) for i in range(3))


def exact(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    triples = zip(a.tolist(), b.tolist(), c.tolist(), strict=True)
    return np.array([fma_exact(*triple) for triple in triples]).astype(np.float32)


def test_fma_rounds_the_exact_value_once(each_isa: str) -> None:
    a, b, c = hard_fma_cases()
    wanted, found = exact(a, b, c), bodies.fma(a, b, c).numpy()
    wrong = np.flatnonzero(wanted.view(np.uint32) != found.view(np.uint32))
    assert not len(wrong), [(a[i].hex(), b[i].hex(), c[i].hex(), found[i].hex()) for i in wrong[:5]]


def test_single_elements_take_the_same_fma_as_vectors(each_isa: str) -> None:
    a, b, c = hard_fma_cases()
    whole = bodies.fma(a, b, c).numpy()
    single = [bodies.fma(a[i : i + 1], b[i : i + 1], c[i : i + 1]).numpy() for i in range(len(a))]
    assert same_bits(np.concatenate(single), whole)


def test_the_reference_fma_rounds_once_too() -> None:
    a, b, c = hard_fma_cases()
    assert same_bits(fma(a, b, c), exact(a, b, c))


def test_two_roundings_differ_from_one() -> None:
    a, b, c = hard_fma_cases()
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        assert not same_bits(a * b + c, fma(a, b, c))
        in_double = (a.astype(np.float64) * b + c).astype(np.float32)
    assert not same_bits(in_double, fma(a, b, c)), "double rounding must show in these cases"


def test_fma_with_infinities_and_nan(each_isa: str) -> None:
    inf, nan = np.float32(np.inf), np.float32(np.nan)
    a, b, c = np.float32([inf, inf, 0, 2, nan, 1]), np.float32([2, 2, inf, 3, 1, 1]), None
    c = np.float32([1, -inf, 1, -inf, 1, nan])
    found = bodies.fma(a, b, c).numpy()
    assert found[0] == inf and found[3] == -inf
    assert np.isnan(found[[1, 2, 4, 5]]).all()


def ulp_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return the largest error in units of the last place of the float32 that is wanted."""
    ulp = np.spacing(np.abs(wanted).astype(np.float32)).astype(np.float64)
    return float(np.max(np.abs(found.astype(np.float64) - wanted) / ulp))


def dense(first: float, last: float, step: int) -> np.ndarray:
    """Return every step-th float32 from first to last, both of one sign."""
    low, high = sorted(int(np.float32(v).view(np.uint32)) for v in (first, last))
    return np.arange(low, high + 1, step, dtype=np.uint32).view(np.float32)


def test_exp_is_right_to_1_1_ulp() -> None:
    # The stated error; NumPy's float64 exp is right to some 2^-52, nothing beside 2^-24.
    # -103.98 is where results become 0 (half the smallest denormal), 88.7228 where they overflow.
    for x in (dense(2.0**-40, 88.7228, 1009), dense(-(2.0**-40), -103.9, 1009)):
        assert ulp_error(bodies.math_function("exp", x).numpy(), np.exp(x.astype(np.float64))) < 1.1


def test_log_is_right_to_1_ulp() -> None:
    for x in (dense(SMALLEST, LARGEST, 2039), dense(0.5, 2.0, 31), dense(0.999, 1.001, 1)):
        wanted = np.log(x.astype(np.float64))
        keep = wanted != 0
        found = bodies.math_function("log", x).numpy()
        assert ulp_error(found[keep], wanted[keep]) < 1.0
        assert (found[~keep] == 0).all()


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_gates_are_right_to_2_5_ulp(name: str) -> None:
    # Of all float32 the largest errors are 2.481 (sigmoid) and 2.499 (tanh), at arguments below.
    right = {"sigmoid": lambda x: 1 / (1 + np.exp(-x)), "tanh": np.tanh}[name]
    worst = np.float32([-16.635704, 4.50509071])
    for x in (dense(SMALLEST, 120, 2039), dense(2.0**-4, 8, 101), worst):
        for signed in (x, -x):
            signed = signed[signed > -88.72]  # below it a sigmoid is 0
            wanted = right(signed.astype(np.float64))
            assert ulp_error(bodies.math_function(name, signed).numpy(), wanted) < 2.5


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_gates_rise(name: str) -> None:
    # They do over all float32; here, where neighbours differ least or the formula's steps change.
    cuts = [np.log(2) * (n + 0.5) / (1 if name == "sigmoid" else 2) for n in range(0, 20, 3)]
    for at in (*cuts, 0.55, 9.01, 16.6):
        low = np.float32(at).view(np.uint32) - np.uint32(20_000)
        x = (low + np.arange(40_000, dtype=np.uint32)).view(np.float32)
        assert (np.diff(bodies.math_function(name, x).numpy()) >= 0).all()
        assert (np.diff(bodies.math_function(name, -x).numpy()) <= 0).all()


def test_tanh_is_odd(each_isa: str) -> None:
    x = np.concatenate([dense(SMALLEST, LARGEST, 65537), np.float32([0, np.inf])])
    found = bodies.math_function("tanh", x).numpy()
    assert same_bits(bodies.math_function("tanh", -x), -found)
    assert (found <= 1).all() and same_bits(found[x < 2.0**-26], x[x < 2.0**-26])


def test_special_values_of_sigmoid_and_tanh(each_isa: str) -> None:
    x = np.float32([0, -0.0, 17.5, 89, np.inf, LARGEST, -89, -np.inf, -LARGEST, np.nan, -np.nan])
    found = bodies.math_function("sigmoid", x).numpy()
    assert found[:9].tolist() == [0.5, 0.5, 1, 1, 1, 1, 0, 0, 0] and np.isnan(found[9:]).all()
    found = bodies.math_function("tanh", x).numpy()
    assert same_bits(found[:9], np.float32([0, -0.0, 1, 1, 1, 1, -1, -1, -1]))
    assert np.isnan(found[9:]).all()
    denormal = bodies.math_function("sigmoid", np.float32([-88])).numpy()
    assert 0 < denormal[0] < 2.0**-126


def test_special_values_of_exp(each_isa: str) -> None:
    x = np.float32([0, -0.0, SMALLEST, -np.inf, -104, -LARGEST, np.inf, 88.73, LARGEST, np.nan])
    found = bodies.math_function("exp", x).numpy()
    assert found[:9].tolist() == [1, 1, 1, 0, 0, 0, math.inf, math.inf, math.inf]
    assert np.isnan(found[9])
    edge = bodies.math_function("exp", np.float32([88.72283, -103.97, -103.98])).numpy()
    assert np.isfinite(edge[0]) and edge[0] > 3.4e38 and edge[1] == SMALLEST and edge[2] == 0


def test_special_values_of_log(each_isa: str) -> None:
    x = np.float32([1, 0, -0.0, np.inf, -1, -SMALLEST, -np.inf, np.nan])
    found = bodies.math_function("log", x).numpy()
    assert found[:4].tolist() == [0, -math.inf, -math.inf, math.inf]
    assert not np.signbit(found[0]) and np.isnan(found[4:]).all()


def test_every_isa_gives_the_same_bits(each_isa: str) -> None:
    x = np.concatenate([dense(2.0**-149, 3e38, 65537), dense(0.25, 4, 257), level_data(999, 3, 64)])
    values = [bodies.math_function("exp", v).numpy() for v in (x, -x)]
    values.append(bodies.math_function("log", np.abs(x)).numpy())
    values += [bodies.math_function(name, x).numpy() for name in ("sigmoid", "tanh")]
    _seen.setdefault("digest", digest(*values))
    assert digest(*values) == _seen["digest"]
    assert digest(*values[::-1]) != _seen["digest"]


_seen: dict[str, str] = {}
