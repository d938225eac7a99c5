"""Mean and scale of features over a corpus."""

from __future__ import annotations

import numpy as np
import pytest
from makers import CHUNK, U, level_data, same_bits, sum_rows, tree

from majelpy.errors import AudioError
from majelpy.speech.features import Statistics

LENGTHS = [7, 300, 1, 50, 600, 33, 2, 90, 41, 5, 77]
FEATURES = 21


def utterances(lengths: list[int], offset: float = -8.0) -> list[np.ndarray]:
    """Return features as they are: far from 0, spread by about 2.3."""
    made = [level_data((n, FEATURES), i) + np.float32(offset) for i, n in enumerate(lengths)]
    for x in made:
        x[:, 3] = 5  # a constant feature
    return made


def statistics(parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    found = Statistics()
    for part in parts:
        found.add(part)
    return found.finish()


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 11])
def test_sums_follow_the_tree_over_utterances(count: int) -> None:
    parts = utterances(LENGTHS[:count])
    frames = np.float32(sum(LENGTHS[:count]))
    center = sum_rows(parts[0]) / np.float32(len(parts[0]))
    deviations = [part - center for part in parts]
    total = tree([sum_rows(d) for d in deviations])
    squares = tree([sum_rows(d * d) for d in deviations])
    mean = total / frames
    variance = np.maximum(squares / frames - mean * mean, np.float32(1e-6))
    found_mean, found_scale = statistics(parts)
    assert same_bits(found_mean, center + mean)
    assert same_bits(found_scale, np.float32(1) / np.sqrt(variance))


def test_another_order_gives_other_bits() -> None:
    parts = utterances(LENGTHS)
    _, scale = statistics(parts)
    _, other_scale = statistics([parts[0], *parts[:0:-1]])
    assert not same_bits(other_scale, scale)


@pytest.mark.parametrize("offset", [0.0, -8.0, 1000.0])
def test_mean_and_scale_are_right(offset: float) -> None:
    # Deviations d, |d| <= 16, err by 2^-24 |d| each; their canonical sum by (256 + n/256) 2^-24 of
    # the magnitudes, the tree by another log2(11) < 4, division, product and center by 3 more.
    parts = utterances(LENGTHS, offset)
    wide = np.concatenate(parts).astype(np.float64)
    mean, scale = statistics(parts)
    spread = 8.0 if offset < 100 else 1005.0
    roundings = (CHUNK + 600 / CHUNK + 4 + 4) * U
    assert (np.abs(mean - wide.mean(0)) <= roundings * spread + U * np.abs(wide.mean(0))).all()
    variance = np.maximum(wide.var(0), 1e-6)
    error = np.abs(1 / scale.astype(np.float64) ** 2 - variance)
    live = np.arange(FEATURES) != 3
    assert (error <= 3 * roundings * 16 * variance + 4 * U)[live].all()


def test_a_constant_feature_gets_a_finite_scale() -> None:
    mean, scale = statistics(utterances(LENGTHS))
    assert mean[3] == 5 and scale[3] == np.float32(1) / np.sqrt(np.float32(1e-6))


def test_no_utterance_is_an_error() -> None:
    with pytest.raises(AudioError, match=r"^statistics: no utterance was added; needs at least 1$"):
        Statistics().finish()
