"""The files that a corpus is written to: one, or shards that wait for the statistics of all.

Policy: shards are filled one after the other and get their names together, each when it is whole.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from majelpy.errors import ManifestError
from majelpy.speech.corpus_writer import CorpusWriter
from majelpy.speech.joined import open_corpora

MOST_SHARDS = 512
"""Files that are open at a time."""


class Shards:
    """The writers of a corpus.

    Parameters
    ----------
    out : str or path
        Its name; of several shards each adds its number (`path_of`).
    shards : int
        How many files.
    described : dict
        Settings of `CorpusWriter` that all have alike.
    stack : ExitStack
        Closes what is not finished.

    Attributes
    ----------
    writers : list of CorpusWriter
        Those opened so far.
    width : int
        Features per frame; 0 before the first utterance.

    Raises
    ------
    ManifestError
        If a shard has no utterance; by any method.
    """

    def __init__(
        self,
        out: str | os.PathLike[str],
        shards: int,
        described: dict[str, Any],
        stack: ExitStack,
    ):
        self._out, self._shards, self._described, self._stack = out, shards, described, stack
        self.writers: list[CorpusWriter] = []
        self.width = 0

    def at(self, shard: int, width: int) -> CorpusWriter:
        """Return the writer of a shard, whose number never falls."""
        if shard > len(self.writers):
            raise self._empty(len(self.writers))
        if shard == len(self.writers):
            path = path_of(self._out, shard) if self._shards > 1 else self._out
            writer = CorpusWriter(
                path, features=width, shard=shard, shards=self._shards, **self._described
            )
            self.writers.append(self._stack.enter_context(writer))
            self.width = width
        return self.writers[-1]

    def finish(self, mean: NDArray[np.float32], scale: NDArray[np.float32]) -> str:
        """Put the files in their places and return the digest of the whole."""
        if len(self.writers) < self._shards:
            raise self._empty(len(self.writers))
        for writer in self.writers:
            digest = writer.finish(mean, scale)
        if self._shards == 1:
            return digest
        names = [os.fspath(writer.path) for writer in self.writers]
        with open_corpora(names, noise=self._described["kind"] == "noise") as corpus:
            return corpus.digest

    def _empty(self, shard: int) -> ManifestError:
        return ManifestError(
            f"{self._out}: none of the recordings for shard {shard} of {self._shards} (from 0) can "
            "be used; make fewer shards"
        )


def path_of(path: str | os.PathLike[str], shard: int) -> Path:
    """Return the name of a shard: ``train.h5`` becomes ``train-00003.h5``."""
    whole = Path(path)
    return whole.with_name(f"{whole.stem}-{shard:05d}{whole.suffix}")
