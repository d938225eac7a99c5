"""What a corpus is, apart from how it is stored: its metadata and its digests.

Policy: a corpus holds features, or samples of 16 bits from which features are calculated when they
are needed; noise is samples without transcripts. Every field is hashed with its length in front, in
an order that is fixed here, as little-endian bytes; so two corpora with one digest hold the same
utterances, whatever wrote them.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from majelpy.version import ARITHMETIC

FORMATS = {
    "features": "majelpy corpus 1",
    "samples": "majelpy samples 1",
    "noise": "majelpy noise 1",
}
"""Name of the layout of each kind; a change of layout or of the digest's definition changes it."""


def metadata(
    rate: int,
    window: int,
    hop: int,
    features: int,
    arithmetic: int = ARITHMETIC,
    *,
    kind: str = "features",
    shard: int = 0,
    shards: int = 1,
) -> dict[str, int | str]:
    """Return what a corpus says about itself, all of it part of its digest.

    The file number ``shard`` (from 0) of several that make one corpus says so.
    """
    return {
        "format": FORMATS[kind],
        "rate": rate,
        "window": window,
        "hop": hop,
        "features": features,
        "arithmetic": arithmetic,
        **({"shard": shard, "shards": shards} if shards > 1 else {}),
    }


def utterance_digest(
    content: NDArray[np.float32] | NDArray[np.int16], transcript: str, name: str
) -> bytes:
    """Return the SHA-256 of an utterance: frames (T, F) or samples (S,), number of these, texts."""
    data = np.ascontiguousarray(content, dtype=content.dtype.newbyteorder("<"))
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
    """Return the hex SHA-256 of a corpus; ``lengths`` are in frames, or in samples if it has these.

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
