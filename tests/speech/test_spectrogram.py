"""Spectrograms against NumPy's float64 transform."""

from __future__ import annotations

import numpy as np
import pytest
from makers import U, level_data, same_bits

from majelpy import native, ops
from majelpy.errors import DTypeError, ShapeError


def factors(n: int) -> list[int]:
    return [] if n < 2 else [r := next(r for r in range(2, n + 1) if n % r == 0), *factors(n // r)]


def frames_of(samples: np.ndarray, window: int, hop: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(samples, window)[::hop]


def reference(samples: np.ndarray, window: int, hop: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the log power in float64, and how far float32 may be from it.

    A stage of radix r computes each output by 2r fma from r inputs, with roots right to 1.5 ulp,
    and a turn by 4 more: an error below (2r + 8) 2^-24 of the sum of the inputs' magnitudes, by
    Cauchy sqrt(r) more in the 2-norm than the stage's own growth. The window's values err by
    2 2^-24 and their product by one rounding. Over the stages: |error of X| <= e |X|_2.
    """
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    spectrum = np.fft.rfft(frames_of(samples.astype(np.float64), window, hop) * hann)
    power = np.abs(spectrum) ** 2
    norm = np.sqrt(window * np.square(frames_of(samples, window, hop) * hann).sum(1, keepdims=True))
    error = U * norm * (4 + sum((2 * r + 8) * np.sqrt(r) for r in factors(window)))
    floor = power + 1e-6
    relative = (2 * np.abs(spectrum) * error + error**2) / floor + 4 * U
    wanted = np.log(floor)
    return wanted, np.where(relative < 0.5, 1.5 * relative, np.inf) + 3 * U * np.abs(wanted)


@pytest.mark.parametrize("window", [160, 320, 220, 77, 2, 3, 441, 127])
def test_spectrograms_are_right(window: int) -> None:
    hop = max(1, window // 2)
    samples = level_data(window * 10 + 3, window, 1.0) * np.float32(0.5)
    found = ops.spectrogram(samples, window, hop).numpy()
    wanted, bound = reference(samples, window, hop)
    assert found.shape == wanted.shape == (1 + (len(samples) - window) // hop, window // 2 + 1)
    assert (np.abs(found - wanted) <= bound).all()
    assert np.median(bound) < 1e-2, "the bound must say something"


@pytest.mark.parametrize("window", [61, 127])
def test_roots_of_unity_are_right(window: int) -> None:
    # A window of prime length takes its roots straight from the table. Of two samples that are not
    # 0, each meets two fma, a root right to 1.5 ulp (3 2^-24), a window value right to 4 2^-24 and
    # its product: 10 2^-24 of the sample for each part of X, sqrt(2) of it for |X|.
    # Then mj_log_power: 4 roundings of the power, 1 ulp of the logarithm.
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    for first in range(1, window // 2):
        samples = np.zeros(window, np.float32)
        samples[[first, window - 1 - first // 2]] = 1.0, 0.75
        spectrum = np.fft.rfft(samples * hann)
        floor = np.abs(spectrum) ** 2 + 1e-6
        error = 1.75 * 10 * np.sqrt(2) * U
        bound = (2 * np.abs(spectrum) * error + error**2) / floor + 4 * U
        bound += 2 * U * np.abs(np.log(floor))
        found = ops.spectrogram(samples, window, 1).numpy()[0]
        assert (np.abs(found - np.log(floor)) <= 1.01 * bound).all()


def test_a_tone_stands_in_its_own_bin() -> None:
    t = np.arange(1600) / 16000
    tone = (0.5 * np.cos(2 * np.pi * 1000 * t)).astype(np.float32)
    assert (ops.argmax(ops.spectrogram(tone, 320, 160)) == 1000 // 50).all()


def test_silence_gives_the_floor() -> None:
    found = ops.spectrogram(np.zeros(400, np.float32), 160, 80).numpy()
    assert np.abs(found - np.log(1e-6)).max() < 14 * 2 * U  # log of the rounded 1e-6, 1 ulp


def test_a_frame_alone_equals_itself_in_company(each_isa: str, threads: None) -> None:
    samples = level_data(3000, 1, 1.0)
    whole = ops.spectrogram(samples, 220, 110).numpy()
    native.set_threads(3)
    assert same_bits(ops.spectrogram(samples, 220, 110), whole)
    for t in range(0, len(whole), 3):
        alone = ops.spectrogram(samples[t * 110 : t * 110 + 220], 220, 110)
        assert same_bits(alone, whole[t : t + 1])


def test_lengths() -> None:
    x = np.zeros(1000, np.float32)
    for count in (320, 479, 480, 639, 640):
        assert ops.spectrogram(x[:count], 320, 160).shape == ((count - 320) // 160 + 1, 161)


def test_errors_of_the_spectrogram() -> None:
    x = np.zeros(100, np.float32)
    for window, hop in ((101, 10), (1, 1), (50, 0)):
        with pytest.raises(
            ShapeError,
            match=rf"^spectrogram: 100 samples, window {window}, hop {hop}; needs window >= 2, hop",
        ):
            ops.spectrogram(x, window, hop)
    with pytest.raises(DTypeError, match=r"^spectrogram: samples is int16; needs float32$"):
        ops.spectrogram(x.astype(np.int16), 20, 10)
