"""Writing a corpus, utterance by utterance.

Policy: the file appears under its name only when all of it is on the disk, and nothing but a corpus
is ever replaced. The layout and its digests: majelpy/speech/corpus_format.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py
import numpy as np
from numpy.typing import NDArray

from majelpy.errors import CorpusError, OutputError
from majelpy.files import aside_of, open_plain, put_in_place
from majelpy.sink import Sink
from majelpy.speech.corpus_format import corpus_digest, metadata, utterance_digest
from majelpy.wording import counted

# From this layout on HDF5 keeps a checksum of its own structure. Strings of variable length
# have none: a flipped bit in them sends the library into an endless loop. Hence texts are
# stored as the bytes of a JSON list, and short ones as strings of fixed length.
_LIBRARY_VERSION = ("v110", "v110")

# Rows of a stored block of frames, or samples of one: some 100 KiB for a spectrogram, 1 s of
# sound, so that reading one utterance reads little else.
_CHUNK_FRAMES = 128
_CHUNK_SAMPLES = 1 << 14


class CorpusWriter:
    """Writes a corpus utterance by utterance; a context manager.

    The file appears under its name only when all of it is on the disk: it is written
    beside, and removed again after any error or interruption.

    Parameters
    ----------
    path : str or path
        Where the corpus goes; an existing file is replaced at the very end.
    features : int
        Features per frame F.
    rate, window, hop : int
        Sample rate in Hz, window and hop in samples; all 0 for features from `.npy` files.
    kind : {'features', 'samples', 'noise'}
        What is stored.
    shard, shards : int
        Number of this file, from 0, of those that make one corpus.

    Raises
    ------
    OutputError
        If the file cannot be written, here or in any method.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        features: int,
        rate: int = 0,
        window: int = 0,
        hop: int = 0,
        kind: str = "features",
        shard: int = 0,
        shards: int = 1,
    ) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            raise OutputError(f"{path}: a folder; the corpus needs the name of a file")
        if self.path.exists() and not _is_hdf5(self.path):
            raise OutputError(f"{path}: exists and is no corpus; give the corpus another name")
        self.features = features
        self._metadata = metadata(
            rate, window, hop, features, kind=kind, shard=shard, shards=shards
        )
        rows: tuple[int, ...] = () if kind != "features" else (features,)
        self._dtype = np.dtype("<f4") if rows else np.dtype("<i2")
        self._offsets = [0]
        self._transcripts: list[str] = []
        self._names: list[str] = []
        self._digests: list[bytes] = []
        self._aside = aside_of(self.path)
        try:
            self._sink = Sink(self._aside)
        except OSError as error:
            raise OutputError(f"{path}: cannot write the corpus: {error.strerror}") from None
        try:
            with self._writing():
                self._file = h5py.File(self._sink, "w", libver=_LIBRARY_VERSION)
                self._content = self._file.create_dataset(
                    "frames" if rows else "samples",
                    shape=(0, *rows),
                    maxshape=(None, *rows),
                    chunks=(_CHUNK_FRAMES if rows else _CHUNK_SAMPLES, *rows),
                    dtype=self._dtype,
                )
        except BaseException:
            self._discard()
            raise

    def __len__(self) -> int:
        """Return the number of utterances so far."""
        return len(self._names)

    def append(
        self, content: NDArray[np.float32] | NDArray[np.int16], transcript: str, name: str
    ) -> None:
        """Add an utterance: frames float32 (T, F), T >= 1, or samples int16 (S,), and its texts."""
        of_samples = self._content.ndim == 1
        if content.dtype != self._dtype or content.ndim != self._content.ndim or not len(content):
            needed = f"frames must be float32 (T, {self.features}) with T >= 1"
            if of_samples:
                needed = "samples must be int16 (S,) with S >= 1"
            raise CorpusError(f"{name}: {needed}, found {content.dtype} {content.shape}")
        if not of_samples and content.shape[1] != self.features:
            raise CorpusError(
                f"{name}: {counted(content.shape[1], 'feature')}, the utterances before have "
                f"{self.features}"
            )
        start, stop = self._offsets[-1], self._offsets[-1] + len(content)
        with self._writing():
            self._content.resize(stop, axis=0)
            self._content[start:stop] = content
        self._offsets.append(stop)
        self._transcripts.append(transcript)
        self._names.append(name)
        self._digests.append(utterance_digest(content, transcript, name))

    def finish(self, mean: NDArray[np.float32], scale: NDArray[np.float32]) -> str:
        """Store the statistics (F,), put the file in its place and return its digest."""
        if not self._names:
            raise CorpusError(f"{self.path}: a corpus needs at least 1 utterance, there are 0")
        digests = np.frombuffer(b"".join(self._digests), np.uint8).reshape(-1, 32)
        offsets = np.array(self._offsets, np.int64)
        digest = corpus_digest(
            self._metadata, mean, scale, np.diff(offsets).tolist(),
            self._transcripts, self._names, digests,
        )  # fmt: skip
        with self._writing():
            for key, value in (*self._metadata.items(), ("digest", digest)):
                self._file.attrs[key] = np.bytes_(value) if isinstance(value, str) else value
            self._file.create_dataset("offsets", data=offsets, dtype="<i8")
            for name, texts in (("transcripts", self._transcripts), ("names", self._names)):
                encoded = json.dumps(texts, ensure_ascii=False).encode()
                self._file.create_dataset(name, data=np.frombuffer(encoded, np.uint8))
            self._file.create_dataset("digests", data=digests, dtype="u1")
            self._file.create_dataset("mean", data=mean, dtype="<f4")
            self._file.create_dataset("scale", data=scale, dtype="<f4")
            self._file.close()
            self._require_written()
            self._sink.close()
            put_in_place(self._aside, self.path)
        return digest

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._discard()

    def _discard(self) -> None:
        """Remove the unfinished file; after `finish` there is none."""
        self._sink.give_up()
        with suppress(AttributeError, OSError, RuntimeError):  # there may be no file yet
            self._file.close()
        with suppress(OSError):
            self._sink.close()
        with suppress(OSError):
            self._aside.unlink(missing_ok=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn what h5py and the system raise into an `OutputError`."""
        try:
            try:
                yield
            finally:
                self._require_written()
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:160]
            raise OutputError(f"{self.path}: cannot write the corpus: {reason}") from None

    def _require_written(self) -> None:
        # The error of the first write is the cause; what h5py says of it is not needed.
        if self._sink.error is not None:
            raise self._sink.error


def _is_hdf5(path: Path) -> bool:
    """Whether a file may be a corpus, be it damaged: nothing else is ever replaced."""
    try:
        with open_plain(path) as file:
            return file.read(4) == b"\x89HDF"
    except OSError:
        return False
