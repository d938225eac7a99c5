"""Opening a recording: the only door to soundfile, and so to libsndfile.

Policy. A file is read block by block, forwards. What libsndfile does not notice is noticed here: a
file that was cut off, a rate that no recorder has. Every complaint names the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from majelpy.errors import AudioError, MajelError
from majelpy.files import open_plain
from majelpy.sound import containers

RATES = (1000, 1_000_000)
"""Sample rates of recordings in Hz: from the least of a corpus to more than any recorder has."""

_BLOCK = 1 << 18  # samples, of all channels together


class Sound(soundfile.SoundFile):
    """A file that is read on and on.

    soundfile seeks to where it stands after each read. The decoders of MP3 and Opus then begin
    anew and give other bits, and at the end of a FLAC without a length it fails.
    """

    def seekable(self) -> bool:
        return False


class _Mended:
    """A file whose header has the size of its samples where a stream left none."""

    def __init__(self, file: BinaryIO, found: containers.Samples) -> None:
        self._file, self._at, self._size = file, found.at, found.size
        file.seek(0)
        self.seek, self.tell = file.seek, file.tell

    def read(self, count: int) -> bytes:
        start = self._file.tell()
        data = bytearray(self._file.read(count))
        for at, byte in enumerate(self._size, self._at - start):
            if 0 <= at < len(data):
                data[at] = byte
        return bytes(data)


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let every error within, of whatever library, be an `AudioError` that names the file."""
    try:
        yield
    except (MajelError, MemoryError, RuntimeError, ValueError, OSError) as error:
        text = reason(error)
        if isinstance(error, MajelError) and os.fspath(path) in text:
            raise
        raise AudioError(f"{path}: {text}") from None


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Sound]:
    """Open a recording.

    Raises
    ------
    AudioError
        If it is missing, is not audio, is cut off or has a rate outside `RATES`.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open_plain(path))
        except FileNotFoundError:
            raise AudioError(f"{path}: there is no such file") from None
        except IsADirectoryError:
            raise AudioError(f"{path}: a folder, not a recording") from None
        except OSError as error:
            raise AudioError(f"{path}: cannot be read: {error.strerror}") from None
        found = containers.samples_of(file)
        if found is not None and found.cut_off:
            raise AudioError(
                f"{path}: cut off: its header declares {found.declared} bytes of samples, "
                f"{found.there} are there"
            )
        if not containers.ogg_is_whole(file):
            raise AudioError(f"{path}: cut off: its last Ogg page is missing or not whole")
        source: str | _Mended = os.fspath(path)
        if found is not None and found.streamed and found.size:
            source = _Mended(file, found)
        try:
            sound = stack.enter_context(Sound(source))
        except (soundfile.SoundFileError, TypeError, ValueError, OSError) as error:
            raise AudioError(f"{path}: not a readable recording: {_why(path, error)}") from None
        if not RATES[0] <= sound.samplerate <= RATES[1]:
            raise AudioError(f"{path}: {sound.samplerate} Hz; needs {RATES[0]} to {RATES[1]} Hz")
        yield sound


def blocks(
    path: str | os.PathLike[str], sound: Sound, frames: int
) -> Iterator[NDArray[np.float32]]:
    """Yield the next frames, at most so many, in blocks (S, C)."""
    size = max(_BLOCK // sound.channels, 1)
    while frames > 0:
        try:
            block = sound.read(min(size, frames), dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, MemoryError) as error:
            raise AudioError(f"{path}: damaged or cut off: {reason(error)}") from None
        if not len(block):
            return
        yield block
        frames -= len(block)


def _why(path: str | os.PathLike[str], error: BaseException) -> str:
    """Return why a file cannot be opened."""
    if "MP3" not in soundfile.available_formats() and str(path).lower().endswith(".mp3"):
        return (
            f"libsndfile {soundfile.__libsndfile_version__} reads no MP3, "
            f"1.1.0 and later do; soundfile 0.12 and later brings one"
        )
    return reason(error)


def reason(error: BaseException) -> str:
    """Return the library's reason on one line."""
    text = getattr(error, "error_string", "") or str(error) or type(error).__name__
    return " ".join(text.split()).rstrip(".")
