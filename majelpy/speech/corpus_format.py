"""What a corpus is, apart from how it is stored: its metadata and its digests.

Policy: every field is hashed with its length in front, in an order that is fixed here, as
little-endian bytes; so two corpora with one digest hold the same utterances, whatever
wrote them.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from majelpy import ARITHMETIC

FORMAT = "majelpy corpus 1"
"""Name of the layout; a change of layout or of the digest's definition changes it."""


def metadata(
    rate: int, window: int, hop: int, features: int, arithmetic: int = ARITHMETIC
) -> dict[str, int | str]:
    """Return what a corpus says about itself, all of it part of its digest."""
    return {
        "format": FORMAT,
        "rate": rate,
        "window": window,
        "hop": hop,
        "features": features,
        "arithmetic": arithmetic,
    }


def utterance_digest(frames: NDArray[np.float32], transcript: str, name: str) -> bytes:
    """Return the SHA-256 of an utterance: its frames (T, F), their number, and its texts."""
    data = np.ascontiguousarray(frames, dtype="<f4")
    digest = hashlib.sha256()
    digest.update(data.nbytes.to_bytes(8, "little"))
    digest.update(data.data)
    _update(digest, len(data).to_bytes(8, "little"))
    _update(digest, transcript.encode())
    _update(digest, name.encode())
    return digest.digest()


def corpus_digest(
    metadata: dict[str, int | str],
    mean: NDArray[np.float32],
    scale: NDArray[np.float32],
    lengths: list[int],
    transcripts: list[str],
    names: list[str],
    digests: NDArray[np.uint8],
) -> str:
    """Return the hex SHA-256 of a corpus.

    The texts and lengths are already in the digests of the utterances; they are hashed
    here once more so that opening a corpus verifies them without reading any frames.
    """
    root = hashlib.sha256()
    _update(root, "".join(f"{key}={metadata[key]}\n" for key in sorted(metadata)).encode())
    _update(root, np.ascontiguousarray(mean, dtype="<f4").tobytes())
    _update(root, np.ascontiguousarray(scale, dtype="<f4").tobytes())
    _update(root, np.asarray(lengths, dtype="<i8").tobytes())
    for text in (*transcripts, *names):
        _update(root, text.encode())
    _update(root, digests.tobytes())
    return root.hexdigest()


def _update(digest: hashlib._Hash, data: bytes) -> None:
    digest.update(len(data).to_bytes(8, "little"))
    digest.update(data)
