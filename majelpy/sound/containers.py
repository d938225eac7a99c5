"""What the header of a recording says of its length, held against what the file has.

Policy. libsndfile reads a file that was cut off as if it were whole; here such a one is told apart
from a stream: a program that writes into a pipe cannot come back to its header and leaves a size
there that means "to the end of the file". Only headers are read.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import BinaryIO, Literal

_TOPS = (1 << 31, 1 << 32, 1 << 63, 1 << 64)
_BELOW = 4096
"""Sizes from so far below these numbers up to them are no sizes.

ALSA's arecord leaves 0x7FFFFF00 or 0x80000000, sox 0x7FFFF000, ffmpeg 0xFFFFFFFF (in Wave64
2^63 - 1), others 0x7FFFFFFF, or 0xFFFFFFFF less the header. Some leave 0.
"""

_MOST_CHUNKS = 10_000


@dataclass(frozen=True)
class Samples:
    """The bytes of samples of a file.

    Attributes
    ----------
    declared, there : int
        What the header says, and what the file has from the first of them on.
    streamed : bool
        Whether what is declared only means "to the end of the file".
    at : int
        Where in the file the size stands.
    size : bytes
        What would have to stand there; empty where it has no room.
    """

    declared: int
    there: int
    streamed: bool = False
    at: int = 0
    size: bytes = b""

    @property
    def cut_off(self) -> bool:
        """Whether the file has less than its header declares."""
        return self.declared > self.there and not self.streamed


@dataclass(frozen=True)
class _Chunks:
    """How chunks stand in a file: each a name, a size and content, at multiples of ``step``."""

    first: int
    name: int  # bytes of it
    width: int  # bytes of the size
    order: Literal["little", "big"]
    step: int
    data: bytes
    counted: int = 0  # bytes of a chunk's own head that its size includes
    whole: int = 0  # where the size of the whole file stands
    left_out: int = 0  # bytes that it does not count


_W64 = bytes.fromhex("f3acd3118cd100c04f8edb8a")
_FORMATS = {
    b"RIFF": _Chunks(12, 4, 4, "little", 2, b"data", whole=4, left_out=8),
    b"RIFX": _Chunks(12, 4, 4, "big", 2, b"data", whole=4, left_out=8),
    b"RF64": _Chunks(12, 4, 4, "little", 2, b"data"),
    b"FORM": _Chunks(12, 4, 4, "big", 2, b"SSND", whole=4, left_out=8),
    b"riff": _Chunks(40, 16, 8, "little", 8, b"data" + _W64, counted=24, whole=16),
    b"caff": _Chunks(8, 4, 8, "big", 1, b"data"),
}


def samples_of(file: BinaryIO) -> Samples | None:
    """Return what is known of the samples of a file; None of formats that are not known here."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    head = file.read(1024)
    if head[:4] == b".snd":
        there = max(size - int.from_bytes(head[4:8], "big"), 0)
        declared = int.from_bytes(head[8:12], "big")
        streamed = _no_size(declared) or (not declared and there > 0)
        return Samples(declared, there, streamed, 8, _field(there, 4, "big"))
    if head[:7] == b"NIST_1A":
        return _sphere(size, head)
    form = _FORMATS.get(head[:4])
    return None if form is None else _chunk(file, size, head, form)


def ogg_is_whole(file: BinaryIO) -> bool:
    """Return whether a file is no Ogg file, or ends in a page that says it is the last.

    See RFC 3533, 6.
    """
    file.seek(0)
    if file.read(4) != b"OggS":
        return True
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - 2 * 65307))  # a page has at most 65307 bytes
    tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27 or not page[5] & 4:
        return False
    lengths = page[27 : 27 + page[26]]
    return len(lengths) == page[26] and len(page) >= 27 + len(lengths) + sum(lengths)


def _chunk(file: BinaryIO, size: int, head: bytes, form: _Chunks) -> Samples | None:
    """Go from chunk to chunk up to the one with the samples; None if there is no such."""
    at, long_sizes = form.first, 0
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        start = file.read(form.name + form.width)
        if len(start) < form.name + form.width:
            return None
        name, field = start[: form.name], start[form.name :]
        if name == form.data:
            break
        if name == b"ds64":
            long_sizes = at + len(start)
        at += max(int.from_bytes(field, form.order) - form.counted, 0) + len(start)
        at += -at % form.step
    else:
        return None
    there = size - at - len(start)
    if long_sizes and field == b"\xff" * 4:
        # Of an RF64: sizes of 64 bits, that of the whole and that of the samples.
        file.seek(long_sizes)
        whole, field = file.read(8), file.read(8)
        where = long_sizes + 8
        right = int.from_bytes(whole, form.order) + 8 == size
    else:
        where = at + form.name
        whole = head[form.whole : form.whole + form.width] if form.whole else b""
        right = int.from_bytes(whole, form.order) + form.left_out == size
    found = int.from_bytes(field, form.order)
    return Samples(
        declared=max(found - form.counted, 0),
        there=there,
        # An empty recording may have chunks behind its samples, and then its whole size is right.
        streamed=_no_size(found) or (found <= form.counted and there > 0 and not right),
        at=where,
        size=_field(there + form.counted, len(field), form.order),
    )


def _sphere(size: int, head: bytes) -> Samples | None:
    """A NIST SPHERE file: lines of text, the second of which is their size."""
    fields = dict(re.findall(rb"^(\w+) -\w+ (\S+)", head, re.MULTILINE))
    try:
        text = int(head[8:16])
        frames, channels, width = (
            int(fields[key]) for key in (b"sample_count", b"channel_count", b"sample_n_bytes")
        )
    except (KeyError, ValueError):
        return None
    if b"," in fields.get(b"sample_coding", b""):  # compressed
        return None
    return Samples(frames * channels * width, max(size - text, 0))


def _no_size(declared: int) -> bool:
    return any(0 <= top - declared <= _BELOW for top in _TOPS)


def _field(size: int, width: int, order: Literal["little", "big"]) -> bytes:
    return size.to_bytes(width, order) if size < 1 << 8 * width else b""
