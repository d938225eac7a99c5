"""Samples of sound: 16 bits, speed, level and noise, held against float64."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest
from makers import U, level_data, same_bits, words

from majelpy import native, ops
from majelpy.errors import DTypeError, ShapeError

SPEEDS = [Fraction(text) for text in ("9/10", "11/10", "1", "2", "1/2", "37/31", "97/100")]


def tone(frequency: float, count: int, rate: int = 16000) -> np.ndarray:
    return np.sin(2 * np.pi * frequency / rate * np.arange(count)).astype(np.float32)


def test_every_16_bit_sample_is_exact_and_comes_back() -> None:
    pcm = np.arange(-(1 << 15), 1 << 15).astype(np.int16)
    samples = ops.samples(pcm).numpy()
    assert same_bits(samples, (pcm / 32768.0).astype(np.float32))
    assert same_bits(ops.pcm(samples), pcm)
    assert same_bits(ops.samples(pcm[::3]).numpy(), samples[::3].copy())


def test_other_samples_are_rounded_to_the_nearest_and_limited() -> None:
    x = np.concatenate([level_data(5000, 1, 1.25), (np.arange(-99, 99) + 0.5) / 32768])
    x = np.concatenate([x, [3e38, -3e38, 1, -1, np.inf, -np.inf, -0.0]]).astype(np.float32)
    with np.errstate(over="ignore"):
        expected = np.clip(np.rint(x.astype(np.float64) * 32768), -32768, 32767)
    assert same_bits(ops.pcm(x), expected.astype(np.int16))


def reference(x: np.ndarray, speed: Fraction) -> tuple[np.ndarray, np.ndarray]:
    """Return in float64 what `change_speed` should give, and a bound of its error.

    A tap is off by 13 U of its unwindowed size: 3 U by the sine (1.5 ulp), 4 by its argument and
    the division, 3 by the width of the band and two products, 2.5 by the window. A sum of 64 terms
    adds 65 U of each.
    """
    count = ops.after_speed(len(x), speed)
    at = np.arange(count)[:, None] * float(speed)
    first = np.arange(count) * speed.numerator // speed.denominator
    taps = first[:, None] + np.arange(-31, 33)
    band = 15 / 16 * min(1, 1 / float(speed))
    plain = band * np.sinc(band * (taps - at))
    weight = plain * (0.5 + 0.5 * np.cos(np.pi * (taps - at) / 32))
    inside = (taps >= 0) & (taps < len(x))
    inputs = np.where(inside, x.astype(np.float64)[np.clip(taps, 0, len(x) - 1)], 0)
    bound = np.abs(inputs) * (65 * np.abs(weight) + 13 * np.abs(plain) + 1e-10)
    return (inputs * weight).sum(axis=1), U * bound.sum(axis=1)


@pytest.mark.parametrize("speed", SPEEDS, ids=str)
@pytest.mark.parametrize("count", [1, 63, 1501])
def test_speed_is_a_windowed_sinc(speed: Fraction, count: int) -> None:
    x = level_data(count, 2, 1.0)
    found = ops.change_speed(x, speed).numpy()
    expected, bound = reference(x, speed)
    assert found.shape == (count * speed.denominator // speed.numerator,)
    assert (np.abs(found - expected) <= bound).all()


@pytest.mark.parametrize("speed", SPEEDS, ids=str)
def test_speed_turns_a_tone_into_the_faster_one(speed: Fraction) -> None:
    found = ops.change_speed(tone(1000, 4000), speed).numpy()
    expected = tone(1000 * float(speed), len(found))
    assert np.abs(found - expected)[100:-100].max() < 1e-4


def test_speed_lets_nothing_fold_back() -> None:
    """7.9 kHz would be 8.69 kHz, which a rate of 16 kHz cannot hold."""
    found = ops.change_speed(tone(7900, 4000), Fraction(11, 10)).numpy()
    assert np.abs(found[100:-100]).max() < 0.01


def test_what_speed_refuses() -> None:
    for speed in (Fraction(0), Fraction(-1), Fraction(1, 1 << 16)):
        with pytest.raises(ShapeError, match=r"change_speed: speed .*; needs one above 0"):
            ops.change_speed(tone(1000, 10), speed)
    with pytest.raises(DTypeError, match="samples: found int32 with 1 axes; needs int16 with 1"):
        ops.samples(np.zeros(3, np.int32))


def drawn(low: float, high: float, bits: int) -> float:
    """Return the level in decibels that the bits stand for."""
    return low + (high - low) * (bits >> 8) / 2.0**24


def amplitude_error(low: float, high: float, level: float) -> float:
    """Bound of the relative error of 10^(level / 20): of its level, of the argument, of exp."""
    argument = (np.log(10) / 20) * (2 * abs(high - low) + abs(level)) + 2 * abs(level) / 8
    return float(U * (argument + 2.2))


@pytest.mark.parametrize(("low", "high"), [(-20.0, 10.0), (0.0, 0.0), (6.0, 6.0), (-90.0, 90.0)])
def test_level_is_the_drawn_gain(low: float, high: float) -> None:
    x = level_data(300, 3, 1.0)
    for bits in [0, 0xFFFFFFFF, *words(20, 4).tolist()]:
        found = ops.change_level(x, low, high, bits).numpy()
        level = drawn(low, high, bits)
        expected = x * 10 ** (level / 20)
        error = amplitude_error(low, high, level) + U
        assert (np.abs(found - expected) <= error * np.abs(expected) * 1.001).all()
    if low == high == 0:
        assert same_bits(found, x)


@pytest.mark.parametrize("count", [50, 3000, 70000])
@pytest.mark.parametrize("length", [40, 5000])
def test_noise_has_the_drawn_ratio(count: int, length: int) -> None:
    """Each power is off by (256 + chunks) U, and its root by half of that; adding rounds once."""
    x, noise = level_data(count, 5, 0.5), level_data(length, 6, 2.0**-7)
    for bits in words(5, 7).tolist():
        start = bits % length
        found = ops.add_noise(x, noise, start, -5.0, 30.0, bits).numpy().astype(np.float64)
        added = found - x
        squares, noise_squares = (x.astype(np.float64) ** 2).sum(), (added**2).sum()
        level = drawn(-5, 30, bits)
        error = (256 + count / 256 + 4) * U + amplitude_error(-5, 30, level)
        error += U * np.sqrt((found**2).sum() / noise_squares)
        ratio = 10 * np.log10(squares / noise_squares)
        assert abs(ratio - level) <= 20 / np.log(10) * error * 1.001
        beside = noise[(start + np.arange(count)) % length].astype(np.float64)
        factor = np.sqrt(noise_squares / (beside**2).sum())
        assert (np.abs(added - factor * beside) <= 2 * error * np.abs(found).max()).all()


def test_silence_gets_and_gives_no_noise() -> None:
    x, zeros = level_data(500, 8, 1.0), np.zeros(70, np.float32)
    assert same_bits(ops.add_noise(x, zeros, 3, 0.0, 10.0, 5).numpy(), x)
    silent = np.zeros(500, np.float32)
    assert same_bits(ops.add_noise(silent, x, 3, 0.0, 10.0, 5).numpy(), silent)
    for start in (-1, 70):
        with pytest.raises(ShapeError, match=f"add_noise: start {start} in 70 samples of noise"):
            ops.add_noise(x, zeros, start, 0.0, 10.0, 5)


def test_a_thread_that_computes_alone_has_the_same_bits() -> None:
    a = level_data((200, 300), 9)
    together = ops.gemm(a, a, transpose_b=True).numpy().copy()

    def alone() -> np.ndarray:
        native.compute_alone()
        return ops.gemm(a, a, transpose_b=True).numpy().copy()

    native.set_threads(2)
    try:
        with ThreadPoolExecutor(2) as readers:
            found = [readers.submit(alone) for _ in range(8)]
            assert same_bits(ops.gemm(a, a, transpose_b=True).numpy(), together)
            assert all(same_bits(each.result(), together) for each in found)
    finally:
        native.set_threads(1)
