"""The minibatches, sizes and operation counts that all sides share; only NumPy, and no timing."""

from __future__ import annotations

from typing import Any

import numpy as np

LEAVES = 8
FEATURES, ALPHABET, CONTEXT = 81, 28, 5


class Minibatch:
    """Utterances of lengths and label counts typical of a corpus, sorted by length.

    Parameters
    ----------
    utterances : int
    frames : (int, int)
        Shortest length, and one above the longest.
    labels : int
        Labels of an utterance at most.
    """

    def __init__(self, utterances: int, frames: tuple[int, int], labels: int):
        random = np.random.default_rng(1)
        self.lengths = np.sort(random.integers(*frames, utterances))
        self.frames = [
            random.standard_normal((n, FEATURES)).astype(np.float32) for n in self.lengths
        ]
        self.labels = [
            random.integers(1, ALPHABET, min(labels, n // 3)).tolist() for n in self.lengths
        ]


def matrices(m: int, n: int, k: int) -> tuple[Any, Any]:
    """Return the operands of a product, (m, k) and (k, n) float32."""
    random = np.random.default_rng(2)
    return (
        random.standard_normal((m, k)).astype(np.float32),
        random.standard_normal((k, n)).astype(np.float32),
    )


def operations(case: str, sizes: dict[str, Any]) -> float:
    """Return the floating-point operations of the products in a case; 0 where others rule.

    A learning layer's product is done three times: forward, for the weight's gradient, and for the
    input's gradient, which the first layer does without.
    """
    if case == "gemm":
        return 2.0 * sizes["m"] * sizes["n"] * sizes["k"]
    if case == "birnn":
        frames, units = sizes["utterances"] * sizes["frames"], sizes["units"]
        return 3 * 2.0 * frames * 2 * (units * units + units * units)
    if case == "step":
        work = Minibatch(sizes["utterances"], tuple(sizes["frames"]), sizes["labels"])
        units = sizes["units"]
        first = (2 * CONTEXT + 1) * FEATURES * units
        others = (2 + 2 + 2 + 1) * units * units + units * ALPHABET
        return 2.0 * float(work.lengths.sum()) * (2 * first + 3 * others)
    return 0.0
