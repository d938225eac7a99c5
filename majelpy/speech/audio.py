"""Recordings and feature files: from a file to checked float32 numbers.

Policy: soundfile decodes and soxr resamples; nothing here calculates. A recording with
several channels gives its first channel: averaging them would be arithmetic outside the
bodies. A file that cannot be used wholly is refused, never shortened or patched.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from decimal import Decimal

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from majelpy import ops
from majelpy.errors import AudioError
from majelpy.files import open_plain

# libsndfile reads a WAV that was cut off without complaint, but notes the difference in
# its log. Programs that write a WAV into a pipe cannot know its length and put one of
# these sizes in the header instead.
_CUT_OFF = re.compile(r"^\s*data\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN_LENGTH = (0, 0x7FFFFFFF, 0x7FFFF000, 0xFFFFFFFF, 0xFFFFF000)


def audio_rate(path: str | os.PathLike[str]) -> int:
    """Return the sample rate of a recording in Hz, from its header only.

    Raises
    ------
    AudioError
        If the file is missing or is not audio.
    """
    return audio_length(path)[1]


def audio_length(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return the number of samples of a recording, per channel, and its rate in Hz.

    Both come from its header; for an MP3 libsndfile looks through the whole file.

    Raises
    ------
    AudioError
        If the file is missing or is not audio.
    """
    with _open(path) as sound:
        return int(sound.frames), int(sound.samplerate)


def read_audio(
    path: str | os.PathLike[str],
    rate: int,
    start: Decimal | None = None,
    end: Decimal | None = None,
) -> NDArray[np.float32]:
    """Return the samples of a recording.

    Parameters
    ----------
    path : str or path
        WAV, FLAC, Ogg, NIST SPHERE or whatever else libsndfile reads.
    rate : int
        Wanted sample rate in Hz. soxr (quality HQ) resamples a recording of another rate.
    start, end : Decimal, optional
        Seconds: read the samples from `start` up to but without `end` only, each limit rounded
        down to a sample of the recording.

    Returns
    -------
    ndarray, float32, (S,)
        The first channel; full scale is 1.

    Raises
    ------
    AudioError
        If the file is missing, is not audio, is cut off or damaged, has no samples, ends
        before `end`, or holds values that are not finite.
    """
    with _open(path) as sound:
        cut_off = _CUT_OFF.search(sound.extra_info)
        if cut_off is not None:
            declared, found = int(cut_off[1]), int(cut_off[2])
            if declared > found and declared not in _UNKNOWN_LENGTH:
                raise AudioError(
                    f"{path}: cut off: its header declares {declared} bytes of samples, "
                    f"{found} are there"
                )
        declared, native = int(sound.frames), int(sound.samplerate)
        if start is not None and end is not None:
            first, last = int(start * native), int(end * native)
            if last > declared:
                raise AudioError(
                    f"{path}: the utterance ends at {end} s, sample {last}; "
                    f"the recording has {declared}"
                )
            sound.seek(first)
            declared = last - first
        try:
            samples = sound.read(declared, dtype="float32", always_2d=True)[:, 0]
        except (soundfile.SoundFileError, MemoryError) as error:
            raise AudioError(f"{path}: damaged or cut off: {_reason(error)}") from None
    if _ogg_cut_off(path):
        raise AudioError(f"{path}: cut off: its last Ogg page is missing or not whole")
    if len(samples) < declared:
        raise AudioError(
            f"{path}: cut off: its header declares {declared} frames, {len(samples)} are there"
        )
    if not len(samples):
        raise AudioError(f"{path}: the recording has no samples")
    _require_finite(path, samples)
    if native != rate:
        samples = soxr.resample(samples, native, rate, quality="HQ")
    return np.ascontiguousarray(samples, dtype=np.float32)


def read_pieces(
    path: str | os.PathLike[str], rate: int, size: int
) -> Iterator[tuple[NDArray[np.float32], bool]]:
    """Yield a recording in pieces of ``size`` samples, each with whether it is the last.

    The path ``-`` is standard input: 16-bit little-endian mono samples at ``rate``, told as they
    come; its last piece is empty.

    Raises
    ------
    AudioError
        As `read_audio`, or if standard input ends within a sample or begins with a header.
    """
    if os.fspath(path) != "-":
        samples = read_audio(path, rate)
        for start in range(0, len(samples), size):
            yield samples[start : start + size], start + size >= len(samples)
        return
    first = True
    while piece := sys.stdin.buffer.read(2 * size):
        if first and piece[:4] in (b"RIFF", b"fLaC", b"OggS", b"NIST"):
            raise AudioError("-: a file of a format, by its first bytes; needs bare samples")
        first = False
        if len(piece) % 2:
            raise AudioError("-: standard input ends within a sample of 16 bits")
        yield ops.samples(np.frombuffer(piece, "<i2").astype(np.int16)).numpy(), False
    yield np.zeros(0, np.float32), True


def read_features(path: str | os.PathLike[str]) -> NDArray[np.float32]:
    """Return the features of an utterance from a `.npy` file.

    Returns
    -------
    ndarray, float32, (T, F)
        At least one frame of one feature, all finite.

    Raises
    ------
    AudioError
        If the file is missing, is no `.npy` file, is cut off, or holds anything else.
    """
    try:
        with open_plain(path) as stream:
            values = np.lib.format.read_array(stream, allow_pickle=False)
    except FileNotFoundError:
        raise AudioError(f"{path}: there is no such file") from None
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror or _reason(error)})") from None
    except Exception as error:  # NumPy parses the header as Python; any error may come of it
        raise AudioError(f"{path}: not a usable .npy file: {_reason(error)}") from None
    if values.dtype.newbyteorder("=") != np.float32 or values.ndim != 2 or 0 in values.shape:
        raise AudioError(
            f"{path}: features must be float32 of shape (frames, features), "
            f"found {values.dtype} {values.shape}"
        )
    _require_finite(path, values)
    # A .npy file may be big-endian or in Fortran order.
    return np.ascontiguousarray(values, dtype="<f4")


def _ogg_cut_off(path: str | os.PathLike[str]) -> bool:
    """Whether an Ogg file lacks a whole last page that says it is the last (RFC 3533, 6)."""
    with open(path, "rb") as file:
        if file.read(4) != b"OggS":
            return False
        file.seek(max(0, os.path.getsize(path) - 2 * 65307))  # a page has at most 65307 bytes
        tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27 or not page[5] & 4:
        return True
    lengths = page[27 : 27 + page[26]]
    return len(lengths) < page[26] or len(page) < 27 + len(lengths) + sum(lengths)


def _open(path: str | os.PathLike[str]) -> soundfile.SoundFile:
    # libsndfile calls a missing file a 'System error', and would wait at a FIFO.
    try:
        open_plain(path).close()
    except FileNotFoundError:
        raise AudioError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise AudioError(f"{path}: a folder, not a recording") from None
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return soundfile.SoundFile(os.fspath(path))
    except (soundfile.SoundFileError, TypeError, ValueError, OSError) as error:
        reason = _reason(error)
        if "MP3" not in soundfile.available_formats() and str(path).lower().endswith(".mp3"):
            reason = (
                f"libsndfile {soundfile.__libsndfile_version__} reads no MP3, "
                f"1.1.0 and later do; soundfile 0.12 and later brings one"
            )
        raise AudioError(f"{path}: not a readable recording: {reason}") from None


def _require_finite(path: str | os.PathLike[str], values: NDArray[np.float32]) -> None:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        where = tuple(int(i) for i in bad[0])
        raise AudioError(
            f"{path}: {len(bad)} values are not finite; the first is {values[where]} "
            f"at {where if len(where) > 1 else where[0]}"
        )


def _reason(error: BaseException) -> str:
    """Return the library's reason on one line."""
    text = getattr(error, "error_string", "") or str(error) or type(error).__name__
    return " ".join(text.split()).rstrip(".")
