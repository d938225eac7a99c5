"""Makers of language models and log-probabilities for the tests of decoding."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from majelpy import ops

ARPA = """
\\data\\
ngram 1=6
ngram 2=5
ngram 3=3

\\1-grams:
-99\t<s>\t-0.5
-1.2\t</s>
-1.5\t<unk>
-0.7\ta\t-0.3
-0.9\tb\t-0.2
-1.1\tab\t-0.1

\\2-grams:
-0.4\t<s> a\t-0.25
-0.6\ta b\t-0.15
-0.8\tb </s>
-0.5\tab a\t-0.35
-0.9\ta a

\\3-grams:
-0.3\t<s> a b
-0.2\ta b </s>
-0.1\tab a a

\\end\\
"""
"""A model of words over the letters a and b."""


def write(folder: Path, text: str = ARPA, name: str = "lm.arpa") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def plain(text: str) -> dict[tuple[str, ...], tuple[float, float]]:
    """Return the n-grams of an ARPA text with their two numbers, read in the simplest way."""
    grams = {}
    order = 0
    for line in text.splitlines():
        if line.endswith("-grams:"):
            order = int(line[1])
        elif order and line and not line.startswith("\\"):
            fields = line.split()
            grams[tuple(fields[1 : order + 1])] = (
                float(fields[0]),
                float(fields[order + 1]) if len(fields) > order + 1 else 0.0,
            )
    return grams


def log10_prob(grams: dict, history: tuple[str, ...], token: str) -> float:
    """Return log10 p(token | history) by the definition of back-off."""
    if (*history, token) in grams:
        return grams[(*history, token)][0]
    return grams.get(history, (0.0, 0.0))[1] + log10_prob(grams, history[1:], token)


def log10_text(grams: dict, tokens: list[str], order: int) -> float:
    """Return log10 p of a text with its end."""
    known = [token if (token,) in grams else "<unk>" for token in tokens]
    history, total = ["<s>"], 0.0
    for token in [*known, "</s>"]:
        kept = tuple(history[len(history) - min(order - 1, len(history)) :])
        total += log10_prob(grams, kept, token)
        history.append(token)
    return total


def random_log_probs(frames: int, labels: int, seed: int) -> np.ndarray:
    """Log-probabilities of whole numbers by 16, so that no library's rounding enters."""
    logits = np.random.default_rng(seed).integers(-60, 61, (frames, labels)).astype(np.float32)
    return ops.log_softmax(logits / np.float32(16)).numpy()


def texts_of_paths(log_probs: np.ndarray, letters: str, words: bool) -> dict[str, float]:
    """Return log p of every text, from every path one by one."""
    sums: dict[str, float] = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        labels = [v for v, _ in itertools.groupby(path) if v]
        text = "".join(letters[v - 1] for v in labels)
        text = " ".join(text.split()) if words else text
        p = float(np.exp(sum(float(log_probs[t, v]) for t, v in enumerate(path))))
        sums[text] = sums.get(text, 0.0) + p
    return {text: float(np.log(p)) for text, p in sums.items()}
