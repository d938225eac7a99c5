"""Decoding with a beam and a language model: texts, their scores, and when words were said.

Policy. Whether tokens are words or characters is the caller's choice. In a model of characters a
space is the token <space>, and what the model lacks is <unk>. Words that the alphabet cannot spell
stay in the model, but no search can reach them.
"""

from __future__ import annotations

from copy import copy
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from majelpy import ops
from majelpy.decoding.ngram import END, SPACE, START, UNKNOWN, NGram
from majelpy.errors import LanguageModelError
from majelpy.ops.beam import Spelling, check_settings
from majelpy.speech.text import Alphabet
from majelpy.wording import counted


@dataclass(frozen=True)
class Search:
    """Settings of the search.

    Attributes
    ----------
    alpha, beta : float
        Weight of the language model, and what every word (character) adds to the score.
    unknown : float
        What every word that the model lacks adds.
    beam : int
        Prefixes that are kept.
    most, share : int, float
        Labels a frame offers at most, and the share of its probability after which it stops.
    best : int
        Texts to find.
    characters : bool
        Whether the tokens of the model are characters.
    """

    alpha: float = 0.5
    beta: float = 1.0
    unknown: float = -10.0
    beam: int = 100
    most: int = 40
    share: float = 0.99
    best: int = 1
    characters: bool = False

    def check(self) -> None:
        """Raise RangeError where a setting is out of range."""
        settings = asdict(self)
        del settings["characters"]
        check_settings(**settings)


@dataclass(frozen=True)
class Word:
    """A word and the frames of its first and its last label on the best path."""

    text: str
    first: int
    last: int


@dataclass(frozen=True)
class Hypothesis:
    """A text, its score (natural logarithms; see `ops.beam_search`), and its words."""

    text: str
    score: np.float32
    words: tuple[Word, ...]


class Decoder:
    """Turns log-probabilities into texts.

    Parameters
    ----------
    alphabet : Alphabet
    model : NGram or None
        Without one the score is log p + beta tokens.
    search : Search

    Raises
    ------
    LanguageModelError
        If not one token of the model can be spelled with the alphabet.
    """

    def __init__(self, alphabet: Alphabet, model: NGram | None, search: Search) -> None:
        self.alphabet, self.model, self.search = alphabet, model, search
        self._spelling = _spelling(alphabet, model, search.characters)

    def weighed(self, alpha: float, beta: float) -> Decoder:
        """Return the same decoder with other weights."""
        other = copy(self)
        other.search = replace(self.search, alpha=alpha, beta=beta)
        return other

    def __call__(self, log_probs: Any, offsets: Any) -> list[list[Hypothesis]]:
        """Return the best texts of each utterance, the best first; see `ops.beam_search`."""
        s = self.search
        found = ops.beam_search(
            log_probs,
            offsets,
            self._spelling,
            self.model.scores if self.model else None,
            alpha=s.alpha,
            beta=s.beta,
            unknown=s.unknown,
            beam=s.beam,
            most=s.most,
            share=s.share,
            best=s.best,
        )
        flat = [(n, one) for n, texts in enumerate(found) for one in texts]
        frames = ops.align(
            log_probs,
            [int(offsets[n]) for n, _ in flat],
            [int(offsets[n + 1]) for n, _ in flat],
            [one.labels for _, one in flat],
        )
        result: list[list[Hypothesis]] = [[] for _ in found]
        for (n, one), (first, last) in zip(flat, frames, strict=True):
            text = self.alphabet.decode(one.labels)
            result[n].append(Hypothesis(text, one.score, tuple(_words(text, first, last))))
        return result


def _words(text: str, first: np.ndarray, last: np.ndarray) -> list[Word]:
    words, start = [], 0
    for word in text.split(" "):
        stop = start + len(word)
        if word:
            words.append(Word(word, int(first[start]), int(last[stop - 1])))
        start = stop + 1
    return words


def _spelling(alphabet: Alphabet, model: NGram | None, characters: bool) -> Spelling:
    letters = alphabet.characters
    space = letters.find(" ") + 1 or -1
    known = {token: i for i, token in enumerate(model.tokens)} if model else {}
    none = np.zeros(0, dtype=np.int32)
    if characters:
        names = [SPACE if letter == " " else letter for letter in letters]
        if model and not any(name in known for name in names):
            raise LanguageModelError(
                f"language model: not one of its {counted(len(known), 'token')} is a character of "
                f"the alphabet {letters!r}; is it a model of words?"
            )
        unknown = model.scores.unknown if model else 0
        tokens = np.array([unknown, *(known.get(name, unknown) for name in names)], dtype=np.int32)
        return Spelling(space, tokens, np.zeros(1, dtype=np.int64), none, none)
    marks = {START, END, UNKNOWN}
    rank = {letter: i for i, letter in enumerate(letters, 1) if letter != " "}
    spelled = sorted(
        ([rank[letter] for letter in token], i)
        for token, i in known.items()
        if token not in marks and all(letter in rank for letter in token)
    )
    if model and not spelled:
        raise LanguageModelError(
            f"language model: not one of its {counted(len(known), 'token')} can be spelled with "
            f"the alphabet {letters!r}; needs words in the same case, or characters"
        )
    return Spelling(
        space,
        None,
        np.cumsum([0, *(len(labels) for labels, _ in spelled)], dtype=np.int64),
        np.array([v for labels, _ in spelled for v in labels], dtype=np.int32),
        np.array([i for _, i in spelled], dtype=np.int32),
    )
