"""Several corpus files that are one corpus.

Policy. The utterances of the first file come first, then those of the second, and so on; statistics
are the first file's. So the shards that `majel prepare` writes, each with the statistics of the
whole, make the corpus that one file would have been, with its digest.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from majelpy import arguments
from majelpy.errors import CorpusError
from majelpy.speech.corpus import Corpus
from majelpy.speech.corpus_format import corpus_digest
from majelpy.wording import counted


class Joined:
    """Open corpora, one after another; a context manager. See `open_corpora`.

    Attributes
    ----------
    path : str
        The first file and how many more there are, for messages.
    digest, kind, features, rate, window, hop, arithmetic, names, transcripts
        As of `Corpus`.
    lengths, sizes, mean, scale
        As of `Corpus`.

    Raises
    ------
    CorpusError
        If the corpora differ in what they hold, or shards of one are missing.
    """

    def __init__(self, corpora: Sequence[Corpus]) -> None:
        self._corpora = list(corpora)
        first, *others = self._corpora
        for other in others:
            if _described(other) != _described(first):
                same = other.rate == first.rate
                remedy = "" if same else f"; prepare it with --rate {first.rate}"
                raise CorpusError(
                    f"{other.path}: {_described(other)}; {first.path} has {_described(first)}, and "
                    f"files that are one corpus must be alike{remedy}"
                )
        _check_shards(self._corpora)
        self.path = f"{first.path}{f' and {len(others)} more' if others else ''}"
        self.kind, self.arithmetic = first.kind, first.arithmetic
        self.features, self.rate = first.features, first.rate
        self.window, self.hop = first.window, first.hop
        self.mean, self.scale = first.mean, first.scale
        self.names = [name for corpus in self._corpora for name in corpus.names]
        self.transcripts = [text for corpus in self._corpora for text in corpus.transcripts]
        self.lengths = np.concatenate([corpus.lengths for corpus in self._corpora])
        self.sizes = np.concatenate([corpus.sizes for corpus in self._corpora])
        self._starts = np.cumsum([0, *(len(corpus) for corpus in self._corpora)])
        self.digest = corpus_digest(
            first.metadata(whole=True), self.mean, self.scale, self.sizes.tolist(),
            self.transcripts, self.names,
            np.concatenate([corpus.digests for corpus in self._corpora]),
        )  # fmt: skip

    def __len__(self) -> int:
        """Return the number of utterances N."""
        return len(self.names)

    def _find(self, i: int) -> tuple[Corpus, int]:
        if not 0 <= i < len(self):
            raise CorpusError(f"{self.path}: no utterance {i}; there are {len(self)}, from 0")
        file = int(np.searchsorted(self._starts, i, side="right")) - 1
        return self._corpora[file], i - int(self._starts[file])

    def frames(self, i: int) -> NDArray[np.float32]:
        """Return the frames of utterance i, as `Corpus.frames` does."""
        corpus, at = self._find(i)
        return corpus.frames(at)

    def samples(self, i: int) -> NDArray[np.int16]:
        """Return the samples of utterance i, as `Corpus.samples` does."""
        corpus, at = self._find(i)
        return corpus.samples(at)

    def close(self) -> None:
        """Close all files."""
        for corpus in self._corpora:
            corpus.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_corpora(names: str | Sequence[str], *, noise: bool = False) -> Joined:
    """Return the corpus that files make together.

    Parameters
    ----------
    names : str or sequence of str
        Paths, or patterns with ``*``, ``?`` or ``[`` that stand for paths in name order.
    noise : bool
        Whether it must be one of noise, or one of utterances.

    Raises
    ------
    CorpusError
        If one is missing, named twice, damaged or of the wrong sort, or they do not go together.
    """
    corpora: list[Corpus] = []
    try:
        for path in files(names):
            if any(path == corpus.path for corpus in corpora):
                raise CorpusError(f"{path}: the corpus is named twice")
            corpora.append(Corpus.open(path))
            if noise and corpora[-1].kind != "noise":
                raise CorpusError(
                    f"{path}: not a corpus of noise; make one with 'majel prepare --noise'"
                )
            if not noise and corpora[-1].kind == "noise":
                raise CorpusError(f"{path}: a corpus of noise, which has no transcripts")
        return Joined(corpora)
    except BaseException:
        for corpus in corpora:
            corpus.close()
        raise


def files(names: str | Sequence[str]) -> list[Path]:
    """Return the files that paths and patterns name; a pattern needs at least one."""
    found: list[Path] = []
    for name in arguments.paths(names, "corpus"):
        if os.path.exists(name) or not glob.has_magic(name):
            found.append(Path(name))
            continue
        matches = sorted(glob.glob(name))
        if not matches:
            raise CorpusError(f"{name}: there is no such corpus; make it with 'majel prepare'")
        found += map(Path, matches)
    return found


def exist(names: str | Sequence[str]) -> bool:
    """Return whether each path or pattern names a file."""
    several = [names] if isinstance(names, str) else names
    return all(os.path.exists(name) or glob.glob(name) for name in several)


def _described(corpus: Corpus) -> str:
    at = f" of {corpus.window} samples every {corpus.hop} at {corpus.rate} Hz"
    kind = "" if corpus.kind == "features" else f" from stored {corpus.kind}"
    return f"{counted(corpus.features, 'feature')}{at if corpus.rate else ''}{kind}"


def _check_shards(corpora: Sequence[Corpus]) -> None:
    """Raise CorpusError unless all shards of each corpus follow one another."""
    start = 0
    while start < len(corpora):
        first = corpora[start]
        group = corpora[start : start + first.shards]
        found = [f"{c.shard + 1}/{c.shards}" for c in group]
        needed = [f"{n + 1}/{first.shards}" for n in range(len(group))]
        if len(group) < first.shards or found != needed:
            raise CorpusError(
                f"{first.path}: shard {found[0]} of a corpus; needs all its shards in order, found "
                f"{', '.join(found[:12])}"
            )
        for corpus in group[1:]:
            same = (corpus.mean, first.mean), (corpus.scale, first.scale)
            if any(a.tobytes() != b.tobytes() for a, b in same):
                raise CorpusError(f"{corpus.path}: a shard of another corpus than {first.path}")
        start += first.shards
