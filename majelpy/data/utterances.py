"""The training and dev utterances of a run, and the batches made of them.

Policy. Features are verified against the corpus's digests at their first use, normalised by the
training corpus's statistics and then kept in memory within a budget. Where augmentation changes the
sound of each epoch anew, samples and noise are kept in their place. Any number of threads may ask
for batches.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from majelpy import ops
from majelpy.array import Array, empty, zeros
from majelpy.data.augment import Augmentation
from majelpy.errors import CorpusError, TextError
from majelpy.memory import Place
from majelpy.nn.batch import Batch
from majelpy.speech.corpus import Corpus
from majelpy.speech.joined import Joined
from majelpy.speech.text import Alphabet
from majelpy.wording import counted

_NAMED = 8
"""Characters that a message names."""


@dataclass(frozen=True)
class Outside:
    """What an alphabet lacks of some transcripts; false where it lacks nothing.

    Attributes
    ----------
    characters : dict of str to int
        How often each of them stands there, the most frequent first.
    utterances : int
        In how many transcripts.
    emptied : int
        How many transcripts have no other characters.
    """

    characters: dict[str, int]
    utterances: int
    emptied: int

    @classmethod
    def of(cls, alphabet: Alphabet, transcripts: Sequence[str]) -> Outside:
        """Return what the alphabet lacks of these transcripts."""
        found = alphabet.outside(transcripts)
        return cls(
            dict(sorted(found.items(), key=lambda item: (-item[1], item[0]))),
            sum(1 for text in transcripts if alphabet.outside([text])),
            sum(1 for text in transcripts if not alphabet.fit(text, "drop")),
        )

    def __bool__(self) -> bool:
        return bool(self.characters)

    def __str__(self) -> str:
        named = [f"{c!r} ({n})" for c, n in list(self.characters.items())[:_NAMED]]
        more = len(self.characters) - len(named)
        return f"{', '.join(named)}{f' and {more} more' if more else ''}"

    def content(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        return {
            "characters": self.characters,
            "count": sum(self.characters.values()),
            "utterances": self.utterances,
        }


class Utterances:
    """Some utterances of a corpus, with the labels of an alphabet.

    Parameters
    ----------
    corpus : Corpus or Joined
    members : (N,) int64
        Which of the corpus's utterances.
    alphabet : Alphabet
    outside : {'error', 'drop'}
        What to do with characters outside the alphabet.
    mean, scale : (F,) float32
        Normalisation.
    cache_bytes : int
        Features or samples kept in memory.
    augmentation : Augmentation, optional
        Of that corpus; it applies to the batches of an epoch.

    Attributes
    ----------
    lengths, shortest, longest : (N,) int64
        Frames of each, as it is and at the highest and lowest speed that augmentation gives it.
    labels : list of N lists of int
    transcripts, texts, names : list of N str
        What was said; what the labels spell, without characters outside the alphabet; names.
    outside : Outside
        What the alphabet lacks of the transcripts.

    Raises
    ------
    TextError
        If a transcript has characters outside the alphabet and they are not dropped.
    """

    def __init__(
        self,
        corpus: Corpus | Joined,
        members: np.ndarray,
        alphabet: Alphabet,
        outside: str,
        mean: np.ndarray,
        scale: np.ndarray,
        cache_bytes: int,
        augmentation: Augmentation | None = None,
    ):
        self._corpus, self._members, self._alphabet = corpus, members, alphabet
        self._mean, self._scale = mean, scale
        self._kept = _Kept(cache_bytes)
        self._augmentation = augmentation
        self.transcripts = [corpus.transcripts[i] for i in members]
        self.names = [corpus.names[i] for i in members]
        self.outside = Outside.of(alphabet, self.transcripts)
        if self.outside and outside == "error":
            raise TextError(
                f"{corpus.path}: characters outside the alphabet in {self.outside.utterances} of "
                f"{counted(len(members), 'transcript')}: {self.outside}; set data.outside='drop' "
                "or extend data.alphabet"
            )
        self.texts = [alphabet.fit(text, "drop") for text in self.transcripts]
        self.labels = [alphabet.encode(text) for text in self.texts]
        self.lengths = self.shortest = self.longest = corpus.lengths[members]
        if augmentation is not None and augmentation.of_sound:
            shortest = [augmentation.shortest(int(i)) for i in members]
            longest = [augmentation.longest(int(i)) for i in members]
            self.shortest = np.array(shortest, dtype=np.int64)
            self.longest = np.array(longest, dtype=np.int64)

    @property
    def features(self) -> int:
        return self._corpus.features

    def __len__(self) -> int:
        return len(self._members)

    def require_texts(self) -> None:
        """Raise TextError if more than a tenth of the transcripts have nothing to learn."""
        if self.outside.emptied * 10 > len(self):
            raise TextError(
                f"{self._corpus.path}: no character of the alphabet "
                f"{self._alphabet.characters[:40]!r} in {self.outside.emptied} of "
                f"{counted(len(self), 'transcript')}; set data.alphabet (the empty text takes "
                "that of the corpus)"
            )

    def require_alignments(self, frames: np.ndarray) -> None:
        """Raise CorpusError if a model gives an utterance too few frames for its labels.

        Parameters
        ----------
        frames : (N,) int64
            Frames of log-probabilities of each utterance.
        """
        found = zip(self.names, self.labels, self.shortest, frames, strict=True)
        for i, (name, labels, length, given) in enumerate(found):
            needed = max(ops.frames_needed(labels), 1)
            if given < needed:
                raise CorpusError(
                    f"{self._corpus.path}: utterance {name!r} has {counted(length, 'frame')}"
                    f"{' at its highest speed' if length < self.lengths[i] else ''}"
                    f"{f', of which the model makes {given},' if given < length else ''} for "
                    f"{counted(len(labels), 'label')}; needs at least {needed}"
                )

    def warn_outside(self, fate: str) -> None:
        """Say on standard error what becomes of characters outside the alphabet, if any."""
        if self.outside:
            emptied = counted(self.outside.emptied, "transcript")
            print(
                f"{self._corpus.path}: characters outside the alphabet {fate}: {self.outside}, in "
                f"{self.outside.utterances} of {counted(len(self), 'utterance')}"
                f"{f'; {emptied} without any other' if self.outside.emptied else ''}",
                file=sys.stderr,
            )

    def lengths_in(self, epoch: int | None, indices: np.ndarray) -> np.ndarray:
        """Return the frames of some utterances in an epoch, (n,) int64; None: as they are."""
        if epoch is None or self._augmentation is None or not self._augmentation.of_sound:
            return np.asarray(self.lengths[indices])
        found = [self._augmentation.length(epoch, int(self._members[i])) for i in indices]
        return np.array(found, dtype=np.int64)

    def frames(self, index: int) -> np.ndarray:
        """Normalised features of an utterance as it is, (T, F) float32."""
        return self._kept.get(index, lambda: self._normalised(self._corpus.frames(self._at(index))))

    def _frames_in(self, epoch: int, index: int) -> np.ndarray:
        """Normalised features of an utterance in an epoch, before masks."""
        if self._augmentation is None or not self._augmentation.of_sound:
            return self.frames(index)
        at = self._at(index)
        pcm = self._kept.get(("samples", index), lambda: self._corpus.samples(at))
        sound = self._augmentation.sound(epoch, at, pcm, self._kept.get)
        return self._normalised(ops.spectrogram(sound, self._corpus.window, self._corpus.hop))

    def _at(self, index: int) -> int:
        return int(self._members[index])

    def _normalised(self, frames: np.ndarray | Array) -> np.ndarray:
        return ops.normalise(frames, self._mean, self._scale).numpy()

    def batch(
        self,
        leaves: Sequence[np.ndarray],
        merges: np.ndarray,
        epoch: int | None = None,
        into: Array | None = None,
    ) -> Batch:
        """Return the batch of some leaves (arrays of indices), with their tree program.

        It is augmented as in that epoch; with None it is not. Its frames are read into the array
        that is given.
        """
        members = _joined(leaves)
        lengths = self.lengths_in(epoch, members)
        frames = empty((int(lengths.sum()), self.features)) if into is None else into
        batch = self._batch(leaves, merges, lengths, frames)
        rows = frames.numpy()
        for i, start, stop in zip(members.tolist(), batch.offsets, batch.offsets[1:], strict=False):
            rows[start:stop] = self.frames(i) if epoch is None else self._frames_in(epoch, i)
            if epoch is not None and self._augmentation is not None:
                self._augmentation.mask(epoch, self._at(i), rows[start:stop])
        return batch

    def longest_batch(
        self, leaves: Sequence[np.ndarray], merges: np.ndarray, place: Place
    ) -> Batch:
        """The same, with each utterance as long as it ever is, and zeros for its features."""
        lengths = self.longest[_joined(leaves)]
        frames = zeros((int(lengths.sum()), self.features), device=place)
        return self._batch(leaves, merges, lengths, frames)

    def _batch(
        self, leaves: Sequence[np.ndarray], merges: np.ndarray, lengths: np.ndarray, frames: Array
    ) -> Batch:
        members = _joined(leaves)
        return Batch(
            frames=frames,
            offsets=np.cumsum([0, *lengths], dtype=np.int64),
            labels=[self.labels[i] for i in members],
            names=[self.names[i] for i in members],
            ids=members,
            leaf_utterances=np.cumsum([0, *(len(leaf) for leaf in leaves)], dtype=np.int64),
            merges=merges,
            starts=np.zeros(len(members), dtype=np.int64),
            lengths=lengths,
        )


class _Kept:
    """Arrays that are kept in memory, of so many bytes in all; for any thread."""

    def __init__(self, room: int) -> None:
        self._room, self._arrays = room, dict[Hashable, np.ndarray]()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the array of that key, made if it is not kept."""
        found = self._arrays.get(key)
        if found is None:
            found = make()
            with self._lock:
                if key not in self._arrays and found.nbytes <= self._room:
                    self._room -= found.nbytes
                    self._arrays[key] = found.copy()  # the pool is for what a step needs
        return found


def _joined(leaves: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype=np.int64), *leaves]).astype(np.int64)
