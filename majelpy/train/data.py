"""The training and dev utterances of a run, and the batches made of them.

Policy. Features are verified against the corpus's digests at their first use, normalised by the
training corpus's statistics and then kept in memory within a budget.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from majelpy import ops
from majelpy.array import asarray, empty
from majelpy.errors import CorpusError, TextError
from majelpy.nn.batch import Batch
from majelpy.speech.corpus import Corpus
from majelpy.speech.text import Alphabet


class Utterances:
    """Some utterances of a corpus, with the labels of an alphabet.

    Parameters
    ----------
    corpus : Corpus
    members : (N,) int64
        Which of the corpus's utterances.
    alphabet : Alphabet
    outside : {'error', 'drop'}
        What to do with characters outside the alphabet.
    mean, scale : (F,) float32
        Normalisation.
    cache_bytes : int
        Features kept in memory.

    Attributes
    ----------
    lengths : (N,) int64
    labels : list of N lists of int
    texts, names : list of N str

    Raises
    ------
    TextError
        If a transcript has characters outside the alphabet and they are not dropped.
    CorpusError
        If an utterance has fewer frames than its labels need.
    """

    def __init__(
        self,
        corpus: Corpus,
        members: np.ndarray,
        alphabet: Alphabet,
        outside: str,
        mean: np.ndarray,
        scale: np.ndarray,
        cache_bytes: int,
    ):
        self._corpus, self._members = corpus, members
        self._mean, self._scale = mean, scale
        self._cache: dict[int, np.ndarray] = {}
        self._cache_room = cache_bytes
        transcripts = [corpus.transcripts[i] for i in members]
        self.names = [corpus.names[i] for i in members]
        found = alphabet.outside(transcripts)
        if found and outside == "error":
            count = sum(1 for text in transcripts if alphabet.outside([text]))
            raise TextError(
                f"{corpus.path}: {count} of {len(transcripts)} transcripts have characters "
                f"outside the alphabet: {_listing(found.most_common(8))}; "
                "set data.outside='drop' or extend data.alphabet"
            )
        self.outside = found
        self.texts = [alphabet.fit(text, "drop") for text in transcripts]
        self.emptied = sum(1 for text in self.texts if not text)
        if self.emptied * 10 > len(self.texts):
            raise TextError(
                f"{corpus.path}: {self.emptied} of {len(self.texts)} transcripts have no character "
                f"of the alphabet {alphabet.characters[:40]!r}; set data.alphabet (the empty text "
                "takes that of the corpus)"
            )
        self.labels = [alphabet.encode(text) for text in self.texts]
        self.lengths = corpus.lengths[members]

    @property
    def features(self) -> int:
        return self._corpus.features

    def __len__(self) -> int:
        return len(self._members)

    def require_alignments(self, frames: np.ndarray) -> None:
        """Raise CorpusError if a model gives an utterance too few frames for its labels.

        Parameters
        ----------
        frames : (N,) int64
            Frames of log-probabilities of each utterance.
        """
        found = zip(self.names, self.labels, self.lengths, frames, strict=True)
        for name, labels, length, given in found:
            if given < ops.frames_needed(labels):
                raise CorpusError(
                    f"{self._corpus.path}: utterance {name!r} has {length} frames"
                    f"{f', of which the model makes {given},' if given < length else ''} for "
                    f"{len(labels)} labels; needs at least {ops.frames_needed(labels)}"
                )

    def warn_outside(self) -> None:
        """Say on standard error which characters were dropped, if any."""
        if self.outside:
            print(
                f"{self._corpus.path}: dropped characters outside the alphabet: "
                f"{_listing(self.outside.most_common(8))}"
                f"{f'; {self.emptied} transcripts are left empty' if self.emptied else ''}",
                file=sys.stderr,
            )

    def frames(self, index: int) -> np.ndarray:
        """Normalised features of an utterance, (T, F) float32."""
        cached = self._cache.get(index)
        if cached is not None:
            return cached
        raw = self._corpus.frames(int(self._members[index]))
        frames = ops.normalise(raw, self._mean, self._scale).numpy()
        if frames.nbytes <= self._cache_room:
            self._cache_room -= frames.nbytes
            frames = self._cache[index] = frames.copy()  # the pool is for what a step needs
        return frames

    def batch(self, leaves: Sequence[np.ndarray], merges: np.ndarray) -> Batch:
        """Return the batch of some leaves (arrays of indices), with their tree program."""
        members = [int(i) for leaf in leaves for i in leaf]
        offsets = np.cumsum([0, *(int(self.lengths[i]) for i in members)], dtype=np.int64)
        frames = empty((int(offsets[-1]), self.features))
        if members:
            np.concatenate([self.frames(i) for i in members], out=frames.numpy())
        return Batch(
            frames=asarray(frames),
            offsets=offsets,
            labels=[self.labels[i] for i in members],
            names=[self.names[i] for i in members],
            ids=np.array(members, dtype=np.int64),
            leaf_utterances=np.cumsum([0, *(len(leaf) for leaf in leaves)], dtype=np.int64),
            merges=merges,
            starts=np.zeros(len(members), dtype=np.int64),
            lengths=np.diff(offsets),
        )


def _listing(counts: list[tuple[str, int]]) -> str:
    return ", ".join(f"{character!r} ({count})" for character, count in counts)
