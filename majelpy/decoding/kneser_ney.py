"""Estimating an n-gram model: interpolated modified Kneser-Ney smoothing.

Policy. Counts are whole numbers, each probability a few operations in float64 in one order, and the
logarithms those of the array library: the same texts in any order give the same file. Words are
never left out; an unknown word has what the smoothing leaves to one more word.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from majelpy.array import asarray
from majelpy.decoding.ngram import END, SPACE, START, UNKNOWN, head
from majelpy.errors import LanguageModelError
from majelpy.files import open_plain, require_replaceable, write_whole
from majelpy.speech.text import Alphabet, normalise
from majelpy.standard.elementary import log10

Gram = tuple[str, ...]

USUAL = (0.5, 1.0, 1.5)
"""Discounts of counts 1, 2 and more where a text is too small or too even to tell (as lmplz)."""

NEVER = 1e-99
"""What stands in place of a probability of <s>, which is never said."""


@dataclass(frozen=True)
class Estimate:
    """Probabilities and back-off weights of the n-grams, a dictionary for each length.

    Attributes
    ----------
    prob : list of dict
        Interpolated probability of each n-gram.
    backoff : list of dict
        Weight of each context of that length, where it is not 1.
    """

    prob: list[dict[Gram, float]]
    backoff: list[dict[Gram, float]]


def sentences(
    paths: Sequence[str], characters: bool, alphabet: Alphabet | None = None
) -> Iterator[list[str]]:
    """Yield the tokens of every line that has some, normalised as transcripts are.

    With an alphabet all other characters are dropped.

    Raises
    ------
    LanguageModelError
        If a line is no UTF-8 or has a mark of a model among its words.
    OSError
        If a file cannot be read.
    """
    for path in paths:
        with open_plain(path) as file:
            for number, raw in enumerate(file, 1):
                encoding = "utf-8-sig" if number == 1 else "utf-8"
                try:
                    text = normalise(raw.decode(encoding))
                except UnicodeDecodeError as error:
                    raise LanguageModelError(f"{path}:{number}: no UTF-8: {error}") from None
                text = alphabet.fit(text, "drop") if alphabet else text
                tokens = [SPACE if c == " " else c for c in text] if characters else text.split()
                marks = {START, END, UNKNOWN} & set(tokens)
                if marks:
                    raise LanguageModelError(
                        f"{path}:{number}: the word {min(marks)!r} is a mark of language models"
                    )
                if tokens:
                    yield tokens


def estimate(texts: Iterable[Sequence[str]], order: int) -> Estimate:
    """Return the model of some texts, each a sequence of tokens.

    Raises
    ------
    LanguageModelError
        If the order is not in 1..9, or there is no text.

    References
    ----------
    Chen and Goodman 1998, An Empirical Study of Smoothing Techniques for Language Modeling,
    sections 3 and 4 (modified Kneser-Ney, interpolated).
    """
    if not 1 <= order <= 9:
        raise LanguageModelError(f"order is {order}; needs 1..9")
    counts = _adjusted(_counts(texts, order))
    vocabulary = len(counts[0]) + 1
    prob: list[dict[Gram, float]] = []
    backoff: list[dict[Gram, float]] = [{} for _ in counts]
    for n, level in enumerate(counts):
        discounts = _discounts(level)
        totals: dict[Gram, int] = defaultdict(int)
        taken: dict[Gram, float] = defaultdict(float)
        for gram in sorted(level):
            totals[gram[:-1]] += level[gram]
            taken[gram[:-1]] += discounts[min(level[gram], 3) - 1]
        left = {context: taken[context] / totals[context] for context in totals}
        found: dict[Gram, float] = {}
        for gram, count in level.items():
            lower = prob[n - 1][gram[1:]] if n else 1 / vocabulary
            own = (count - discounts[min(count, 3) - 1]) / totals[gram[:-1]]
            found[gram] = own + left[gram[:-1]] * lower
        if n == 0:
            found[(UNKNOWN,)] = left[()] / vocabulary
            found[(START,)] = NEVER
        else:
            backoff[n - 1] = left
        prob.append(found)
    return Estimate(prob, backoff)


def _counts(texts: Iterable[Sequence[str]], order: int) -> list[Counter[Gram]]:
    counts: list[Counter[Gram]] = [Counter() for _ in range(order)]
    for tokens in texts:
        marked = (START, *tokens, END)
        for n in range(1, order + 1):
            counts[n - 1].update(marked[i : i + n] for i in range(len(marked) - n + 1))
    if not counts[0]:
        raise LanguageModelError("no text; needs one line with a word at least")
    return counts


def _adjusted(counts: list[Counter[Gram]]) -> list[dict[Gram, int]]:
    """Below the highest order, how many tokens precede an n-gram; nothing can precede <s>."""
    adjusted: list[dict[Gram, int]] = []
    for level, longer in zip(counts, [*counts[1:], None], strict=True):
        if longer is None:
            kept = dict(level)
        else:
            kept = {gram: count for gram, count in level.items() if gram[0] == START}
            kept.update(Counter(gram[1:] for gram in longer))
        kept.pop((START,), None)
        adjusted.append(kept)
    return adjusted


def _discounts(level: dict[Gram, int]) -> tuple[float, float, float]:
    """Chen and Goodman 1998, equation 26, or the usual ones where it gives none in range."""
    of = Counter(level.values())
    n1, n2, n3, n4 = (of[count] for count in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return USUAL
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    inside = all(0 < discount <= count for count, discount in enumerate(found, 1))
    return found if inside else USUAL


def write_arpa(path: str | Path, model: Estimate, kind: str = "words") -> None:
    """Write a model of ``words`` or ``characters`` to a file, which appears once it is whole.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    target = Path(path)
    require_replaceable(target)
    write_whole(target, (line.encode() for line in _lines(model, kind)))


def _lines(model: Estimate, kind: str) -> Iterator[str]:
    yield f"{head(kind)}\n\n\\data\\\n"
    for n, level in enumerate(model.prob, 1):
        yield f"ngram {n}={len(level)}\n"
    for n, (level, backoff) in enumerate(zip(model.prob, model.backoff, strict=True), 1):
        yield f"\n\\{n}-grams:\n"
        grams = sorted(level)
        prob = _log10([level[gram] for gram in grams])
        weight = _log10([backoff.get(gram, 1.0) for gram in grams])
        for gram, p, w in zip(grams, prob, weight, strict=True):
            end = f"\t{w:.7g}" if gram in backoff else ""
            yield f"{p:.7g}\t{' '.join(gram)}{end}\n"
    yield "\n\\end\\\n"


def _log10(values: list[float]) -> list[float]:
    found: list[float] = log10(asarray(np.array(values, dtype=np.float64))).numpy().tolist()
    # A probability of 1 may come out a rounding above it.
    return [min(value, 0.0) + 0.0 for value in found]
