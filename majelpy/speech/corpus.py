"""The corpus: features or samples of all utterances in one HDF5 file, transcripts, digests.

Policy: a corpus is read in pieces, so it may be larger than memory, and every piece is
held against its digest before it is used. The digest of the corpus covers everything that
may influence training and nothing else: not where the data lay, not how HDF5 stored them.
A damaged file is a `CorpusError`, and so is one that cannot be read; only the first is called so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from majelpy import arguments, hdf5, ops
from majelpy.errors import CorpusError
from majelpy.parsing import parse_json
from majelpy.speech.corpus_format import FORMATS, corpus_digest, metadata, utterance_digest

_REMEDY = "prepare the corpus again"


class Corpus:
    """An open corpus; a context manager. Use `Corpus.open`.

    Attributes
    ----------
    path : Path
        The file.
    digest : str
        Hex SHA-256 of the whole corpus.
    kind : {'features', 'samples', 'noise'}
        What is stored; noise is samples with empty transcripts.
    shard, shards : int
        Number of this file, from 0, of those that make one corpus; 0 of 1 for a whole one.
    features, rate, window, hop, arithmetic : int
        Features per frame F; sample rate in Hz, window and hop in samples (all 0 if the
        features came from `.npy` files); version of the arithmetic that made it.
    names, transcripts : list of str
        One of each per utterance; transcripts are normalised.
    lengths : ndarray, int64, (N,)
        Frames of each utterance.
    sizes : ndarray, int64, (N,)
        What is stored of each: frames or samples.
    digests : ndarray, uint8, (N, 32)
        SHA-256 of each.
    mean, scale : ndarray, float32, (F,)
        Statistics over all frames.
    """

    def __init__(self, path: Path, file: hdf5.File) -> None:
        """Read and verify everything but the frames; `Corpus.open` is the way in."""
        self.path = path
        self._file = file
        with _reading(path):
            found = hdf5.text(file, "format") if "format" in file.attrs else None
            kinds = {name: kind for kind, name in FORMATS.items()}
            if found not in kinds:
                raise CorpusError(
                    f"{path}: not a corpus of this version of majelpy (its format is "
                    f"{str(found)[:40]!r}, needed is {FORMATS['features']!r}); {_REMEDY}"
                )
            self.kind = kinds[found]
            self.shards = hdf5.number(file, "shards", 1)
            self.shard = hdf5.number(file, "shard", 0)
            self.rate = hdf5.number(file, "rate")
            self.window = hdf5.number(file, "window")
            self.hop = hdf5.number(file, "hop")
            self.features = hdf5.number(file, "features")
            self.arithmetic = hdf5.number(file, "arithmetic")
            self.digest = hdf5.text(file, "digest")
            self._content = hdf5.dataset(file, "frames" if self.kind == "features" else "samples")
            self._offsets = _array(file, "offsets", np.int64, 1)
            self.digests = _array(file, "digests", np.uint8, 2)
            self.mean = _array(file, "mean", np.float32, 1)
            self.scale = _array(file, "scale", np.float32, 1)
            self.transcripts = _texts(file, "transcripts")
            self.names = _texts(file, "names")
            self._check_structure(self._content.shape, self._content.dtype)
            self.sizes: NDArray[np.int64] = np.diff(self._offsets)
            self.lengths = self.sizes
            if self.kind != "features":
                self.lengths = self._frames_of_samples()
            digest = corpus_digest(
                self.metadata(whole=False), self.mean, self.scale, self.sizes.tolist(),
                self.transcripts, self.names, self.digests,
            )  # fmt: skip
        if digest != self.digest:
            raise CorpusError(
                f"{path}: damaged: its content has the digest {digest[:16]}..., "
                f"its label says {self.digest[:16]!r}...; {_REMEDY}"
            )

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Corpus:
        """Return the corpus in a file, verified but for its frames.

        Raises
        ------
        CorpusError
            If the file is missing, is no corpus, or is cut off or damaged.
        """
        where = Path(arguments.path(path, "corpus"))
        with _reading(where):
            file = hdf5.open_file(where)
        try:
            return cls(where, file)
        except BaseException:
            file.close()
            raise

    def metadata(self, *, whole: bool) -> dict[str, int | str]:
        """Return what the corpus says about itself, or about the whole that it is a shard of."""
        shard, shards = (0, 1) if whole else (self.shard, self.shards)
        return metadata(
            self.rate, self.window, self.hop, self.features, self.arithmetic,
            kind=self.kind, shard=shard, shards=shards,
        )  # fmt: skip

    def _frames_of_samples(self) -> NDArray[np.int64]:
        if self.window < 2 or self.hop < 1 or self.features != self.window // 2 + 1:
            raise self._damaged(
                f"window {self.window}, hop {self.hop} and {self.features} features do not agree"
            )
        if (self.sizes < self.window).any():
            raise self._damaged(f"{self.sizes.min()} samples for a window of {self.window}")
        frames: NDArray[np.int64] = 1 + (self.sizes - self.window) // self.hop
        return frames

    def _check_structure(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        n = len(self.transcripts)
        if self.features < 1:
            raise self._damaged("it has frames without features")
        if self.kind != "features":
            if dtype != np.int16 or len(shape) != 1:
                raise self._damaged(f"samples are {dtype} {shape}, needed int16 (M,)")
        elif dtype != np.float32 or len(shape) != 2 or shape[1] != self.features:
            raise self._damaged(f"frames are {dtype} {shape}, needed float32 (M, {self.features})")
        if n < 1 or len(self.names) != n or self.digests.shape != (n, 32):
            raise self._damaged(
                f"{n} transcripts, {len(self.names)} names, digests {self.digests.shape}"
            )
        if not 0 <= self.shard < max(self.shards, 1):
            raise self._damaged(f"it is shard {self.shard} of {self.shards}")
        if self.mean.shape != (self.features,) or self.scale.shape != (self.features,):
            raise self._damaged(f"statistics are {self.mean.shape} and {self.scale.shape}")
        offsets = self._offsets
        if len(offsets) != n + 1 or offsets[0] != 0 or offsets[-1] != shape[0]:
            unit = "frames" if self.kind == "features" else "samples"
            raise self._damaged(f"{len(offsets)} offsets for {n} utterances and {shape[0]} {unit}")
        if not (offsets[1:] > offsets[:-1]).all():
            raise self._damaged("the offsets do not ascend")

    def _damaged(self, reason: str) -> CorpusError:
        return CorpusError(f"{self.path}: damaged: {reason}; {_REMEDY}")

    def __len__(self) -> int:
        """Return the number of utterances N."""
        return len(self.names)

    def frames(self, i: int) -> NDArray[np.float32]:
        """Return the frames of utterance i, verified: float32, (T, F).

        Raises
        ------
        CorpusError
            If the frames (or the samples that they are calculated from) do not have the digest
            that was stored with them, or there is no such utterance, or the corpus is closed.
        """
        if self.kind == "features":
            frames: NDArray[np.float32] = self._read(i)
            return frames
        return ops.spectrogram(ops.samples(self._read(i)), self.window, self.hop).numpy()

    def samples(self, i: int) -> NDArray[np.int16]:
        """Return the samples of utterance i, verified: int16, (S,).

        Raises
        ------
        CorpusError
            As `frames`; and if the corpus has features only.
        """
        if self.kind == "features":
            raise CorpusError(
                f"{self.path}: it has features, not samples; prepare it with --samples"
            )
        samples: NDArray[np.int16] = self._read(i)
        return samples

    def _read(self, i: int) -> NDArray[Any]:
        if not 0 <= i < len(self):
            raise CorpusError(f"{self.path}: no utterance {i}; there are {len(self)}, from 0")
        if not self._file:
            raise CorpusError(f"{self.path}: the corpus is closed")
        with _reading(self.path):
            content: NDArray[Any] = self._content[self._offsets[i] : self._offsets[i + 1]]
        digest = utterance_digest(content, self.transcripts[i], self.names[i])
        if digest != self.digests[i].tobytes():
            unit = "frames" if self.kind == "features" else "samples"
            raise self._damaged(f"the {unit} of utterance {i} ({self.names[i]!r}) have changed")
        return content

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _array(file: hdf5.File, name: str, dtype: type[np.generic], ndim: int) -> NDArray[Any]:
    return hdf5.array(hdf5.dataset(file, name), dtype, ndim)


def _texts(file: hdf5.File, name: str) -> list[str]:
    texts = parse_json(_array(file, name, np.uint8, 1).tobytes())
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"/{name} is no list of texts")
    return texts


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what reading raises into a `CorpusError`."""
    try:
        with hdf5.reading(path):
            yield
    except IsADirectoryError:
        raise CorpusError(f"{path}: a folder, not a corpus of 'majel prepare'") from None
    except (FileNotFoundError, NotADirectoryError):
        missing = "there is no such corpus; make it with 'majel prepare'"
        raise CorpusError(f"{path}: {missing}") from None
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror})") from None
    except hdf5.NotHdf5:
        raise CorpusError(f"{path}: not a corpus of 'majel prepare', or damaged") from None
    except hdf5.Damaged as error:
        raise CorpusError(f"{path}: not a corpus, or damaged ({error}); {_REMEDY}") from None
