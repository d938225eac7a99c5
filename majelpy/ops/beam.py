"""Prefix beam search with a language model. Bodies: kernels/beam.h."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from majelpy import arguments, native
from majelpy.array import checks, operands
from majelpy.errors import RangeError, ShapeError


@dataclass(frozen=True)
class Trie:
    """An n-gram model as arrays; an entry is an n-gram, entry 0 the empty one.

    Attributes
    ----------
    first : (entries + 1,) int64
        Entry e is followed by the entries ``first[e]..first[e + 1]``, in the order of their tokens;
        token t alone is entry t + 1.
    token, suffix, after : (entries,) int32
        Last token of each entry; the longest proper suffix that is an entry; the entry that is
        the context of what follows.
    log10_prob, backoff : (entries,) float32
        Decimal logarithms.
    start, unknown, end : int
        Context at the start of a text; tokens that stand for unknown ones and for the end.
    """

    first: np.ndarray
    token: np.ndarray
    suffix: np.ndarray
    after: np.ndarray
    log10_prob: np.ndarray
    backoff: np.ndarray
    start: int
    unknown: int
    end: int


Answer = Callable[[int, int], tuple[float, int]]
"""Of a context and a token: log10 p(token | context) in float32, and the next context."""


@dataclass(frozen=True)
class Foreign:
    """A model of another library, which is asked for one token after the other.

    Attributes
    ----------
    begin : callable
        Returns an `Answer` for one search. Contexts are whole numbers of its own; 0 is that at the
        start of a text. Threads ask at the same time, and their order must change no answer.
    unknown, end : int
        Tokens that stand for unknown ones and for the end.
    """

    begin: Callable[[], Answer]
    unknown: int
    end: int


class _Asked:
    """An answer that raises nothing, as nothing can be raised through C; it keeps the error."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.error: BaseException | None = None

    def __call__(self, context: int, token: int) -> tuple[float, int]:
        if self.error is None:
            try:
                return self._answer(context, token)
            except BaseException as error:
                self.error = error
        return 0.0, 0


@dataclass(frozen=True)
class Spelling:
    """How labels make tokens.

    Attributes
    ----------
    space : int
        Label between words; -1 if there is none.
    characters : (V,) int32 or None
        Token of each label; None where tokens are words.
    offsets, labels, tokens : int64, int32, int32
        Labels of each word, words sorted by them, and its token.
    """

    space: int
    characters: np.ndarray | None
    offsets: np.ndarray
    labels: np.ndarray
    tokens: np.ndarray


@dataclass(frozen=True)
class Best:
    """A text of the search: its labels and its score."""

    labels: list[int]
    score: np.float32


def check_settings(
    *, alpha: float, beta: float, unknown: float, beam: int, most: int, share: float, best: int
) -> None:
    """Raise RangeError where a setting of `beam_search` is out of range."""
    for name, value in (("beam", beam), ("most", most), ("best", best)):
        value = arguments.whole(value, f"beam_search: {name}")
        if not 1 <= value < 2**31:
            raise RangeError(f"beam_search: {name} is {value}; needs at least 1, below 2^31")
    share = arguments.number(share, "beam_search: share")
    if not 0 < share <= 1:
        raise RangeError(f"beam_search: share is {share}; needs above 0, at most 1")
    for name, weight in (("alpha", alpha), ("beta", beta), ("unknown", unknown)):
        if not abs(arguments.number(weight, f"beam_search: {name}")) <= 1e6:
            raise RangeError(f"beam_search: {name} is {weight}; needs a number within 1e6 of 0")


def beam_search(
    log_probs: Any,
    offsets: Any,
    spelling: Spelling,
    model: Trie | Foreign | None,
    *,
    alpha: float,
    beta: float,
    unknown: float,
    beam: int,
    most: int,
    share: float,
    best: int,
) -> list[list[Best]]:
    """Return the best texts of each utterance, the best first.

    Parameters
    ----------
    log_probs : (rows, V) float32
        Logarithms of the probabilities of labels, on the CPU; label 0 is the blank.
    offsets : (utterances + 1,) int64
        First row of each utterance, and the number of rows.
    spelling, model
        What tokens are, and their language model if there is one.
    alpha, beta, unknown : float
        The score of a text is log p(text) + alpha * log p_lm(text) + beta * tokens, and of a model
        of words + unknown * words that the model lacks.
    beam : int
        Prefixes that are kept after each frame.
    most, share : int, float
        A frame offers the fewest labels that have this share of its probability, at most ``most``.
    best : int
        Most texts to return.

    Raises
    ------
    ShapeError
        If offsets do not fit, or labels and spelling have different alphabets.
    RangeError
        If a setting is out of range or a logarithm is NaN or infinity.
    Exception
        What a foreign model raises.

    Notes
    -----
    Order: a prefix adds its own paths to those of the prefix before it; ties go by the labels.
    Spaces at the ends of a text and repeated ones count as none or as one.

    References
    ----------
    Hannun et al. 2014, First-Pass Large Vocabulary Continuous Speech Recognition using
    Bi-Directional Recurrent DNNs, algorithm 1. Amodei et al. 2015, Deep Speech 2, section 7 (the
    share of the probability).
    """
    lp = operands.matrix("beam_search", "log_probs", log_probs)
    rows = checks.offsets("beam_search", offsets, lp.shape[0])
    checks.on_cpu("beam_search", log_probs=lp)
    check_settings(
        alpha=alpha, beta=beta, unknown=unknown, beam=beam, most=most, share=share, best=best
    )
    host = lp.numpy()
    if host.shape[1] < 1:
        raise ShapeError("beam_search: log_probs has 0 columns; needs the blank at least")
    if spelling.characters is not None and len(spelling.characters) != host.shape[1]:
        raise ShapeError(
            f"beam_search: log_probs has {host.shape[1]} columns and the spelling "
            f"{len(spelling.characters)} labels"
        )
    if np.isnan(host).any() or np.isposinf(host).any():
        raise RangeError("beam_search: log_probs has NaN or infinity; needs logarithms")
    count, width = len(rows) - 1, max(1, int(np.diff(rows).max(initial=0)))
    lengths = np.zeros((count, best), dtype=np.int32)
    labels = np.zeros((count, best, width), dtype=np.int32)
    scores = np.zeros((count, best), dtype=np.float32)
    asked = _Asked(model.begin()) if isinstance(model, Foreign) else None
    ask = None if asked is None else native.ask(asked)
    characters = None if spelling.characters is None else spelling.characters.ctypes.data
    native.library().mj_beam_search(
        count,
        rows.ctypes.data,
        host.shape[1],
        lp.pointer,
        beam,
        most,
        share,
        spelling.space,
        alpha,
        beta,
        unknown,
        characters,
        len(spelling.tokens),
        spelling.offsets.ctypes.data,
        spelling.labels.ctypes.data,
        spelling.tokens.ctypes.data,
        *_tables(model),
        ask,
        best,
        width,
        lengths.ctypes.data,
        labels.ctypes.data,
        scores.ctypes.data,
    )
    if asked is not None and asked.error is not None:
        raise asked.error
    return [
        [
            Best(labels[u, k, : lengths[u, k]].tolist(), scores[u, k])
            for k in range(best)
            if lengths[u, k] >= 0
        ]
        for u in range(count)
    ]


def _tables(model: Trie | Foreign | None) -> tuple[int | None, ...]:
    """Return the arguments from ``entries`` to ``backoff``."""
    if not isinstance(model, Trie):
        unknown, end = (model.unknown, model.end) if model else (0, 0)
        return (0, 0, unknown, end, *[None] * 6)
    return (
        len(model.token),
        model.start,
        model.unknown,
        model.end,
        model.first.ctypes.data,
        model.token.ctypes.data,
        model.suffix.ctypes.data,
        model.after.ctypes.data,
        model.log10_prob.ctypes.data,
        model.backoff.ctypes.data,
    )
