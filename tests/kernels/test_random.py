"""Counter-based random numbers."""

from __future__ import annotations

import numpy as np
import pytest
from makers import level_data, philox, same_bits

from majelpy import native, ops
from majelpy.array import asarray
from majelpy.errors import ShapeError


def hexes(words: list[int]) -> str:
    return " ".join(f"{word:08x}" for word in words)


def test_the_reference_gives_the_known_answers() -> None:
    # Random123, kat_vectors, philox4x32 10.
    ones = 0xFFFF_FFFF_FFFF_FFFF
    pi = (0x299F_31D0_A409_3822, 0x85A3_08D3_243F_6A88, 0x0370_7344_1319_8A2E)
    assert hexes(philox(0, 0, 0)) == "6627e8d5 e169c58d bc57ac4c 9b00dbd8"
    assert hexes(philox(ones, ones, ones)) == "408f276d 41c83b0e a20bc7c6 6d5451fd"
    assert hexes(philox(*pi)) == "d16cfe09 94fdcceb 5001e420 24126ea1"


def test_words_are_philox_of_seed_and_stream(each_isa: str) -> None:
    assert hexes(ops.words(4, seed=0, stream=0).tolist()) == "6627e8d5 e169c58d bc57ac4c 9b00dbd8"
    for seed, stream in ((0, 1), (1, 0), ((1 << 64) - 1, (1 << 63) - 1), (0xFEDC_BA98_7654, 77)):
        wanted = [word for block in range(5) for word in philox(seed, block, stream)]
        assert ops.words(19, seed=seed, stream=stream).tolist() == wanted[:19]


def test_a_word_does_not_depend_on_how_many_are_asked_for() -> None:
    many = ops.words(1000, seed=3, stream=4)
    for count in (0, 1, 3, 4, 5, 999):
        assert same_bits(ops.words(count, seed=3, stream=4), many[:count])


def test_uniform_numbers_are_bounded_multiples(each_isa: str) -> None:
    # bound = sqrt(3 gain / fan_in); a number is (w >> 8) 2^-23 - 1, exact, times the bound.
    bound = np.sqrt(np.float32(3) * np.float32(2) / np.float32(77))
    bits = ops.words(1001, seed=5, stream=6)
    signed = (bits >> 8).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    found = ops.uniform(1001, gain=2.0, fan_in=77, seed=5, stream=6)
    assert same_bits(found, signed * bound)


def test_uniform_numbers_have_the_variance_asked_for() -> None:
    x = ops.uniform(100_000, gain=2.0, fan_in=50, seed=1, stream=2).numpy().astype(np.float64)
    # The mean's standard error is sqrt(0.04 / 1e5) = 6e-4, the variance's 0.04 sqrt(0.8 / 1e5).
    assert abs(x.mean()) < 5 * 6.4e-4 and abs(x.var() - 0.04) < 5 * 1.2e-4


@pytest.mark.parametrize("count", [0, 1, 2, 7, 1000])
def test_permutations_hold_each_number_once(count: int) -> None:
    found = ops.permutation(count, seed=1, stream=2)
    assert found.dtype == np.int64 and sorted(found.tolist()) == list(range(count))


def test_permutations_depend_on_seed_and_stream() -> None:
    base = ops.permutation(100, seed=1, stream=2)
    assert same_bits(ops.permutation(100, seed=1, stream=2), base)
    for other in ((2, 2), (1, 3), (1 << 40, 2)):
        assert not same_bits(ops.permutation(100, seed=other[0], stream=other[1]), base)


def dropout(rate: float = 0.25, **changed: object) -> ops.Dropout:
    settings: dict[str, object] = {
        "rate": rate,
        "seed": 7,
        "epoch": 3,
        "offsets": np.array([0, 40, 40, 45], np.int64),
        "ids": np.array([11, 5, 2], np.int64),
    }
    return ops.Dropout(**(settings | changed))  # type: ignore[arg-type]


def test_dropout_by_the_definition() -> None:
    x = np.arange(1, 45 * 37 + 1, dtype=np.float32).reshape(45, 37)
    wanted = np.zeros_like(x)
    for utterance, (first, last) in {11: (0, 40), 2: (40, 45)}.items():
        for row in range(first, last):
            for column in range(37):
                low = (row - first) << 32 | column // 16
                block = philox(7, low, utterance << 32 | 2 << 24 | 3)
                byte = block[column % 16 // 4] >> 8 * (column % 4) & 0xFF
                kept = x[row, column] * (np.float32(256) / np.float32(192))
                wanted[row, column] = 0 if byte < 64 else kept
    assert same_bits(dropout().apply(x, 2), wanted)


def test_dropout_of_an_utterance_does_not_depend_on_its_company(threads: None) -> None:
    x = np.ones((45, 37), np.float32)
    whole = dropout().apply(x, 0).numpy()
    alone = dropout(offsets=np.array([0, 5]), ids=np.array([2])).apply(x[40:], 0)
    assert same_bits(alone, whole[40:])
    native.set_threads(3)
    assert same_bits(dropout().apply(x, 0), whole)


def test_dropout_depends_on_seed_epoch_layer_and_utterance() -> None:
    x = np.ones((45, 37), np.float32)
    base = dropout().apply(x, 0)
    for other in (
        dropout().apply(x, 1),
        dropout(seed=8).apply(x, 0),
        dropout(epoch=4).apply(x, 0),
        dropout(ids=np.array([12, 5, 3])).apply(x, 0),
    ):
        assert not same_bits(other, base)


def test_dropout_drops_the_share_asked_for() -> None:
    for share in (0.0, 0.0625, 0.5):
        found = dropout(share).apply(np.ones((45, 1000), np.float32), 0).numpy()
        # 45,000 coins: 5 standard deviations are at most 5 sqrt(0.25 / 45000) = 0.012.
        assert abs((found == 0).mean() - share) < 0.012
        assert set(np.unique(found)) <= {np.float32(0), np.float32(1 / (1 - share))}


def test_errors_of_dropout() -> None:
    x = np.ones((45, 3), np.float32)
    with pytest.raises(ShapeError, match=r"^dropout: rate 1.0, 3 ids for 3 utterances, columns"):
        dropout(1.0).apply(x, 0)
    with pytest.raises(ShapeError, match=r"^dropout: rate 0.25, 1 ids for 3 utterances, c"):
        dropout(ids=np.array([1])).apply(x, 0)
    with pytest.raises(
        ShapeError, match=r"^dropout: offsets \[0, 40, 40, 45\] must rise from 0 to"
    ):
        dropout().apply(x[:44], 0)


def normal_numbers(seed: int, stream: int, step: int, count: int) -> np.ndarray:
    """Return a step's normal numbers in float64, from the definition of Box and Muller."""
    blocks = [philox(seed, step << 32 | i, stream) for i in range(-(-count // 4))]
    pairs = np.array(blocks, dtype=np.float64).reshape(-1, 2) // 256
    radius = np.sqrt(-2 * np.log((pairs[:, 0] + 1) * 2.0**-24))
    angle = 2 * np.pi * pairs[:, 1] * 2.0**-24
    both = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return both.reshape(-1)[:count]


def test_noise_is_right(each_isa: str) -> None:
    # A radius is below 6. Errors: log 1 ulp of itself, halved by the root, which rounds; cos 1.5
    # ulp of at most 1; the product and the sum round once each. Together below 6 ulp of 6.
    zeros = np.zeros(3001, np.float32)
    found = ops.noisy(asarray(zeros), 1.0, seed=5, stream=77, step=9).numpy()
    wanted = normal_numbers(5, 77, 9, 3001)
    assert np.abs(found - wanted).max() < 6 * 6 * 2.0**-23


def test_noise_is_normal() -> None:
    x = ops.noisy(asarray(np.zeros(200_000, np.float32)), 1.0, seed=1, stream=2, step=3).numpy()
    x = x.astype(np.float64)
    # Standard errors: of the mean 200000^-0.5 = 2.2e-3, of the variance 3.2e-3, of the fourth
    # moment sqrt(96 / 200000) = 0.022, of the share within 1 (68.27 %) 1.04e-3.
    assert abs(x.mean()) < 5 * 2.3e-3 and abs(x.var() - 1) < 5 * 3.2e-3
    assert abs((x**4).mean() - 3) < 5 * 0.022
    assert abs((np.abs(x) < 1).mean() - 0.682689) < 5 * 1.1e-3
    assert abs(np.mean(x[:-1] * x[1:])) < 5 * 2.3e-3  # neighbours do not go together


@pytest.mark.parametrize("first", [0, 1, 2, 3, 4, 97, 998])
def test_noise_is_of_the_place_in_the_whole(each_isa: str, first: int) -> None:
    weights = level_data(1003, 1)
    whole = ops.noisy(asarray(weights), 0.075, seed=-1, stream=3, step=4).numpy()
    part = asarray(weights[first:].copy())
    found = ops.noisy(part, 0.075, seed=-1, stream=3, step=4, first=first, out=part).numpy()
    assert same_bits(found, whole[first:])


def test_noise_depends_on_seed_stream_and_step(threads: None) -> None:
    zeros = asarray(np.zeros(40_000, np.float32))
    base = {"seed": 1, "stream": 2, "step": 3}
    found = [
        ops.noisy(zeros, 1.0, **(base | change)).numpy()
        for change in ({}, {"seed": 2}, {"stream": 1}, {"step": 2}, {"step": 4})
    ]
    assert len({x.tobytes() for x in found}) == len(found)
    native.set_threads(3)
    assert same_bits(ops.noisy(zeros, 1.0, **base).numpy(), found[0])
    weights = asarray(level_data(50, 1))
    assert same_bits(ops.noisy(weights, 0.0, **base).numpy(), weights.numpy())


def test_noise_of_another_shape_is_named() -> None:
    weights, out = asarray(np.zeros(3, np.float32)), asarray(np.zeros(4, np.float32))
    with pytest.raises(ShapeError, match=r"^noisy: shapes \(3,\) and \(4,\) differ$"):
        ops.noisy(weights, 1.0, seed=1, stream=2, step=3, out=out)
