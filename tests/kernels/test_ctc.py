"""Connectionist temporal classification, against enumeration and a float64 reference."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ctc64 import reference
from makers import CHUNK, U, level_data, same_bits, words

from majelpy import native, ops
from majelpy.errors import DTypeError, ShapeError


def log_probs(frames: int, alphabet: int, seed: int, span: float = 4.0) -> np.ndarray:
    return ops.log_softmax(level_data((frames, alphabet), seed, span)).numpy()


def random_labels(count: int, alphabet: int, seed: int) -> list[int]:
    return (1 + words(count, seed) % (alphabet - 1)).tolist()


def collapse(path: tuple[int, ...]) -> list[int]:
    """Return the labels of an alignment: repeats merged, then blanks removed."""
    return [label for label, _ in itertools.groupby(path) if label]


def by_enumeration(lp: np.ndarray, labels: list[int]) -> tuple[float, np.ndarray]:
    """Return loss and gradient by the logits from all alignments there are."""
    frames, alphabet = lp.shape
    wide = lp.astype(np.float64)
    posterior, likelihood = np.zeros(lp.shape), 0.0
    for path in itertools.product(range(alphabet), repeat=frames):
        if collapse(path) == labels:
            p = np.exp(wide[range(frames), path].sum())
            likelihood += p
            posterior[range(frames), path] += p
    return -np.log(likelihood), np.exp(wide) - posterior / likelihood


def ctc(lp: np.ndarray, labels: list[int], scale: float = 1.0) -> tuple[float, np.ndarray]:
    losses, gradient = ops.ctc_loss(lp, [0, len(lp)], [labels], scale=scale)
    return float(losses.numpy()[0]), gradient.numpy()


SMALL = [
    (frames, labels)
    for frames in range(1, 6)
    for labels in ([], [1], [2], [1, 2], [1, 1], [2, 1, 2], [1, 1, 2], [1, 1, 1], [3, 2, 1, 3, 1])
    if ops.frames_needed(labels) <= frames
]


@pytest.mark.parametrize(("frames", "labels"), SMALL)
def test_small_cases_agree_with_all_alignments(frames: int, labels: list[int]) -> None:
    lp = log_probs(frames, 4, 10 * frames + len(labels))
    loss, gradient = by_enumeration(lp, labels)
    found_loss, found_gradient = ctc(lp, labels)
    ref = reference(lp, labels)
    assert abs(ref.loss - loss) < 1e-12 and np.abs(ref.gradient - gradient).max() < 1e-12
    assert abs(found_loss - loss) <= ref.loss_bound
    assert np.abs(found_gradient - gradient).max() <= ref.gradient_bound


@pytest.mark.parametrize(
    ("frames", "labels", "alphabet", "span"),
    [(1500, 300, 29, 4.0), (700, 257, 5, 2.0), (1200, 520, 3, 1.0), (400, 40, 29, 16.0)],
)
def test_long_utterances_agree_with_float64(
    frames: int, labels: int, alphabet: int, span: float
) -> None:
    sequence = random_labels(labels, alphabet, frames)
    lp = log_probs(frames, alphabet, labels, span)
    loss, gradient = ctc(lp, sequence)
    ref = reference(lp, sequence)
    assert abs(loss - ref.loss) <= ref.loss_bound < 3e-5 * ref.loss
    assert np.abs(gradient - ref.gradient).max() <= ref.gradient_bound < 0.2
    # Each row is softmax - posterior: both sum to 1 but for a rounding a term, and the softmax for
    # that of its log-probabilities.
    rows = np.abs(gradient.astype(np.float64).sum(axis=1))
    most = (3 * alphabet + CHUNK + 4 + 3 * np.abs(lp).max()) * U
    assert rows.max() <= most


@pytest.mark.parametrize("labels", [[1], [1, 2, 1], [2, 2], [1, 1, 1, 2], [3] * 40, [1, 2] * 150])
def test_one_alignment_only(labels: list[int]) -> None:
    frames = ops.frames_needed(labels)
    lp = log_probs(frames, 4, len(labels))
    path = [labels[0]]
    for before, label in itertools.pairwise(labels):
        path += [0, label] if before == label else [label]
    loss, gradient = ctc(lp, labels)
    ref = reference(lp, labels)
    assert abs(loss + lp.astype(np.float64)[range(frames), path].sum()) <= ref.loss_bound
    wanted = np.exp(lp.astype(np.float64))
    wanted[range(frames), path] -= 1
    assert np.abs(gradient - wanted).max() <= 4 * U


def test_the_reference_gradient_agrees_with_differences() -> None:
    logits, labels = level_data((7, 5), 5).astype(np.float64), [2, 2, 4]

    def loss(x: np.ndarray) -> float:
        return reference(x - np.logaddexp.reduce(x, axis=1, keepdims=True), labels).loss

    wanted = reference(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True), labels).gradient
    for index in np.ndindex(logits.shape):
        step = np.zeros_like(logits)
        step[index] = 1e-5
        numeric = (loss(logits + step) - loss(logits - step)) / 2e-5
        assert abs(numeric - wanted[index]) < 1e-9  # h^2 for the step, 2^-52 / h for rounding


def batch(seed: int) -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
    shapes = [(9, 3), (1, 0), (40, 17), (2, 1), (300, 60), (33, 16), (5, 0), (31, 15)]
    labels = [random_labels(count, 12, seed + count) for _, count in shapes]
    offsets = np.cumsum([0, *(frames for frames, _ in shapes)], dtype=np.int64)
    return log_probs(int(offsets[-1]), 12, seed), offsets, labels


def test_an_utterance_alone_equals_itself_in_a_batch() -> None:
    lp, offsets, labels = batch(1)
    losses, gradient = (array.numpy() for array in ops.ctc_loss(lp, offsets, labels, scale=0.125))
    for n, (first, last) in enumerate(itertools.pairwise(offsets)):
        one, one_gradient = ops.ctc_loss(
            lp[first:last], [0, last - first], [labels[n]], scale=0.125
        )
        assert same_bits(one, losses[n : n + 1])
        assert same_bits(one_gradient, gradient[first:last])


@pytest.mark.parametrize("count", [2, 3, 5])
def test_threads_change_no_bit(count: int, threads: None) -> None:
    lp, offsets, labels = batch(2)
    alone = [array.numpy() for array in ops.ctc_loss(lp, offsets, labels)]
    native.set_threads(count)
    for _ in range(3):
        found = ops.ctc_loss(lp, offsets, labels)
        assert all(same_bits(a, b) for a, b in zip(found, alone, strict=True))


def test_scale_multiplies_the_gradient_alone() -> None:
    lp, labels = log_probs(20, 6, 3), [1, 2, 2]
    loss, gradient = ctc(lp, labels)
    scaled_loss, scaled = ctc(lp, labels, 0.25)
    assert scaled_loss == loss and same_bits(scaled, gradient * np.float32(0.25))


def test_labels_that_cannot_be_emitted_give_a_huge_loss() -> None:
    lp = log_probs(6, 4, 4)
    lp[:, 2] = -1e30
    assert ctc(lp, [2])[0] >= 1e30


@pytest.mark.parametrize("low", [-200.0, -1e6])
def test_hopeless_symbols_are_only_alignments_less(low: float) -> None:
    lp = log_probs(5, 4, 5)
    lp[2, 0] = lp[3, 3] = lp[0, 2] = low
    loss, gradient = by_enumeration(lp, [1, 2])
    ref = reference(lp, [1, 2])
    found, found_gradient = ctc(lp, [1, 2])
    assert abs(found - loss) <= ref.loss_bound
    assert np.abs(found_gradient - gradient).max() <= ref.gradient_bound


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("frame", [0, 11, 29])
def test_infinities_and_nan_do_not_crash(value: float, frame: int) -> None:
    lp = log_probs(30, 5, 6)
    lp[frame, :] = value
    loss, gradient = ctc(lp, [1, 2, 2, 3])
    assert gradient.shape == (30, 5)
    if np.isnan(value):
        assert np.isnan(gradient[frame]).all(), "a NaN must not be trained on unseen"
    else:
        assert not abs(loss) < 1e29


def test_nothing_to_do() -> None:
    losses, gradient = ops.ctc_loss(np.zeros((0, 4), np.float32), [0], [])
    assert losses.shape == (0,) and gradient.shape == (0, 4)


def test_errors_name_the_utterance() -> None:
    lp = log_probs(7, 4, 9)
    with pytest.raises(
        ShapeError,
        match=r"^ctc_loss: utterance 'fsdd/7' has 4 frames for 4 labels with 1 repeat; "
        r"needs at least 5$",
    ):
        ops.ctc_loss(lp, [0, 3, 7], [[1], [1, 2, 2, 3]], names=["a", "fsdd/7"])
    with pytest.raises(
        ShapeError, match=r"utterance 0 has 3 frames for 3 labels with 2 repeats; n"
    ):
        ops.ctc_loss(lp, [0, 3, 7], [[1, 1, 1], [1]])
    with pytest.raises(
        ShapeError, match=r"utterance 1 has 0 frames for 0 labels with 0 repeats; n"
    ):
        ops.ctc_loss(lp, [0, 7, 7], [[1], []])
    for bad in (0, 4, -1):
        with pytest.raises(
            ShapeError, match=rf"^ctc_loss: utterance 0 has label {bad}; needs 1..3$"
        ):
            ops.ctc_loss(lp, [0, 7], [[1, bad]])
    with pytest.raises(ShapeError, match=r"^ctc_loss: 2 label sequences for 1 utterances$"):
        ops.ctc_loss(lp, [0, 7], [[1], [2]])
    with pytest.raises(DTypeError, match=r"^ctc_loss: log_probs is float64; needs float32$"):
        ops.ctc_loss(lp.astype(np.float64), [0, 7], [[1]])
    assert [ops.frames_needed(x) for x in ([], [1], [1, 1], [1, 2, 2, 2])] == [1, 1, 3, 6]
