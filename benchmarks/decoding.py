"""Beam search with a word trigram: majelpy against pyctcdecode (with kenlm), on one thread.

Usage: python benchmarks/decoding.py [--utterances N] [--beam N] [--json FILE]

Text is Python's own help topics; a tenth of the lines is kept from the language model. Instead of a
recogniser, random logits: each character has one to three frames and then a blank one, and noise
hides some of them. Both decoders get the same arrays, ARPA file, beam and weights. Each one's
weights are also taken from a grid on other utterances, since they score unfinished words
differently: equal weights are not the fairest comparison.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np

from majelpy import native, ops
from majelpy.decoding.beam import Decoder, Search
from majelpy.decoding.best_path import greedy
from majelpy.decoding.kneser_ney import estimate, write_arpa
from majelpy.decoding.metrics import Errors, errors
from majelpy.decoding.ngram import read_arpa
from majelpy.speech.text import ENGLISH, Alphabet

ALPHABET = Alphabet(ENGLISH)
GRID = [(a, b) for a in (0.25, 0.5, 1.0) for b in (0.0, 1.0, 2.0)]


def texts() -> tuple[list[str], list[str]]:
    """Return lines to estimate from and lines to recognise."""
    found = []
    for name in sorted(topics):
        for paragraph in re.split(r"\n\s*\n", topics[name]):
            words = re.findall(r"[a-z']+", paragraph.lower())
            found += [" ".join(words[i : i + 15]) for i in range(0, len(words) - 4, 15)]
    unique = sorted(set(found))
    random.Random(1).shuffle(unique)
    tenth = len(unique) // 10
    return unique[tenth:], unique[:tenth]


def spoken(text: str, noise: np.random.Generator) -> np.ndarray:
    """Return the log-probabilities of one text, (frames, labels) float32."""
    labels = []
    for label in ALPHABET.encode(text):
        labels += [label] * int(noise.integers(1, 4)) + [0]
    logits = 1.6 * noise.standard_normal((len(labels), ALPHABET.size))
    logits[range(len(labels)), labels] += 6.0
    return ops.log_softmax(logits.astype(np.float32)).numpy()


def measure(decode: Callable[[np.ndarray], str], said: list[str], heard: list[np.ndarray]) -> dict:
    """Return the rates of errors and utterances a second."""
    start = time.perf_counter()
    found = [decode(log_probs) for log_probs in heard]
    seconds = time.perf_counter() - start
    total = sum((errors(a, b) for a, b in zip(said, found, strict=True)), Errors())
    return {"cer": total.cer, "wer": total.wer, "utterances_per_second": len(said) / seconds}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--utterances", type=int, default=100)
    parser.add_argument("--tuning", type=int, default=20)
    parser.add_argument("--beam", type=int, default=100)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    native.set_threads(1)
    train, test = texts()
    said = test[: options.utterances + options.tuning]
    noise = np.random.default_rng(1)
    heard = [spoken(text, noise) for text in said]
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        arpa = Path(folder) / "lm.arpa"
        write_arpa(arpa, estimate((line.split() for line in train), 3))
        makers = {"majelpy": ours(arpa, options.beam), "pyctcdecode": theirs(arpa, options.beam)}
        for name, maker in makers.items():
            tuned = min(
                GRID,
                key=lambda w: measure(  # type: ignore[no-any-return]
                    maker(*w), said[: options.tuning], heard[: options.tuning]
                )["wer"],
            )
            for kind, weights in (("equal", (0.5, 1.0)), ("tuned", tuned)):
                row = measure(maker(*weights), said[options.tuning :], heard[options.tuning :])
                rows[f"{name}, {kind} {weights}"] = row
    best_path = lambda x: ALPHABET.decode(greedy(ops.argmax(x)))  # noqa: E731
    rows["best path"] = measure(best_path, said[options.tuning :], heard[options.tuning :])
    print(f"{options.utterances} utterances, beam {options.beam}, one thread")
    for name, row in rows.items():
        print(
            f"{name:34} CER {row['cer']:.4f}  WER {row['wer']:.4f}  "
            f"{row['utterances_per_second']:8.1f} utterances/s"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def ours(arpa: Path, beam: int) -> Callable[..., Callable[[np.ndarray], str]]:
    """Return what makes majelpy's decoder of two weights."""
    decoder = Decoder(ALPHABET, read_arpa(arpa), Search(beam=beam))

    def maker(alpha: float, beta: float) -> Callable[[np.ndarray], str]:
        weighed = decoder.weighed(alpha, beta)
        return lambda log_probs: weighed(log_probs, [0, len(log_probs)])[0][0].text

    return maker


def theirs(arpa: Path, beam: int) -> Callable[..., Callable[[np.ndarray], str]]:
    """Return what makes pyctcdecode's decoder of two weights."""
    from pyctcdecode import build_ctcdecoder

    logging.disable(logging.WARNING)
    decoder = build_ctcdecoder(["", *ALPHABET.characters], str(arpa))

    def maker(alpha: float, beta: float) -> Callable[[np.ndarray], str]:
        decoder.reset_params(alpha=alpha, beta=beta)
        return lambda log_probs: decoder.decode(log_probs, beam_width=beam)

    return maker


if __name__ == "__main__":
    main()
