"""Recordings and feature files: from a file to checked float32 numbers.

Policy: soundfile decodes and soxr resamples; nothing here calculates. A recording is read block by
block, so what it costs is bounded by what is kept of it, whatever its header says. A file that
cannot be used wholly is refused, never shortened or patched, and every complaint names it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import soxr
from numpy.typing import NDArray

from majelpy import ops
from majelpy.errors import AudioError
from majelpy.files import open_plain
from majelpy.sound.channel import Channel, one_of
from majelpy.sound.level import Level
from majelpy.sound.sound_file import blocks, naming, opened, reason

LONGEST = 3600.0
"""Seconds that are read at a time, unless the caller says otherwise: 360,000 frames of features."""

ROUNDED = Decimal("0.005")
"""Seconds that an end may lie behind the recording's, as ends are rounded to 1/100 s and finer."""

_NOBODY_KNOWS = 1 << 62  # frames: a FLAC whose header has no length; libsndfile gives 2^63 - 1


@dataclass(frozen=True)
class Recording:
    """What was read of a recording.

    Attributes
    ----------
    samples : ndarray, float32, (S,)
        One channel at the wanted rate; full scale is 1.
    frames, rate : int
        Samples as they were before resampling, and their rate in Hz.
    silent, clipped : bool
        Whether all samples are 0, or some in a row lie at full scale (majelpy.sound.level).
    """

    samples: NDArray[np.float32]
    frames: int
    rate: int
    silent: bool
    clipped: bool


def audio_rate(path: str | os.PathLike[str]) -> int:
    """Return the sample rate of a recording in Hz, from its header only; raises as `read_audio`."""
    with opened(path) as sound:
        return int(sound.samplerate)


def audio_length(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return the number of samples of a recording, per channel, and its rate in Hz.

    Both come from its header; for an MP3 libsndfile looks through the whole file, and a FLAC from a
    pipe, whose header has no length, is decoded.

    Raises
    ------
    AudioError
        If the file is missing, is not audio or is cut off.
    """
    with opened(path) as sound:
        frames = int(sound.frames)
        if frames >= _NOBODY_KNOWS:
            frames = sum(map(len, blocks(path, sound, frames)))
        return frames, int(sound.samplerate)


def span(
    path: str | os.PathLike[str],
    frames: int,
    rate: int,
    start: Decimal | None,
    end: Decimal | None,
) -> tuple[int, int]:
    """Return the first sample of a piece of a recording and the one behind its last.

    Parameters
    ----------
    frames, rate : int
        Of the recording.
    start, end : Decimal, optional
        Seconds, each rounded down to a sample; an end behind the recording's by no more than
        `ROUNDED` is the recording's.

    Raises
    ------
    AudioError
        If the piece goes beyond the recording.
    """
    first = 0 if start is None else int(start * rate)
    last = frames if end is None else int(end * rate)
    if end is not None and last > frames >= int((end - ROUNDED) * rate):
        last = frames
    if last > frames:
        raise AudioError(
            f"{path}: the utterance ends at {end} s, sample {last}; the recording has {frames}"
        )
    if first > frames:
        raise AudioError(
            f"{path}: the utterance begins at {start} s, sample {first}; the recording has {frames}"
        )
    return first, last


def read_audio(
    path: str | os.PathLike[str],
    rate: int,
    start: Decimal | None = None,
    end: Decimal | None = None,
    *,
    channel: Channel = None,
    longest: float = LONGEST,
) -> Recording:
    """Return the samples of a recording.

    Parameters
    ----------
    path : str or path
        WAV, FLAC, Ogg, NIST SPHERE or whatever else libsndfile reads.
    rate : int
        Wanted sample rate in Hz. soxr (quality HQ) resamples a recording of another rate.
    start, end : Decimal, optional
        Seconds: read the samples from `start` up to but without `end` only; see `span`.
    channel : int or 'mix', optional
        Which channel, from 0, or the mean of all; by default there must be one, or equal ones.
    longest : float
        Seconds; more are refused.

    Raises
    ------
    AudioError
        If the file is missing, is not audio, is cut off or damaged, has no samples, ends
        before `end`, is too long, has a rate outside `RATES`, lacks the channel or leaves open
        which, or holds values that are not finite.
    """
    with opened(path) as sound, naming(path):
        native, frames = int(sound.samplerate), int(sound.frames)
        if frames >= _NOBODY_KNOWS and (start is not None or end is not None):
            frames = audio_length(path)[0]
        first, last = span(path, frames, native, start, end)
        if frames < _NOBODY_KNOWS:
            _require_short(path, last - first, native, longest)
        if first:
            sound.seek(first)
        level, resample = Level(sound.subtype), _Resampler(native, rate)
        read, pieces = 0, []
        for block in blocks(path, sound, last - first):
            samples = one_of(block, channel, first + read)
            _require_finite(path, samples, first + read)
            level.hear(samples)
            pieces.append(resample(samples))
            read += len(block)
            _require_short(path, read, native, longest)
        if frames < _NOBODY_KNOWS and read < last - first:
            raise AudioError(
                f"{path}: cut off: its header declares {frames} frames, {first + read} are there"
            )
        if not read:
            raise AudioError(f"{path}: the recording has no samples")
        pieces.append(resample.rest())
        return Recording(np.concatenate(pieces), read, native, level.silent, level.clipped)


def read_pieces(
    path: str | os.PathLike[str],
    rate: int,
    size: int,
    *,
    channel: Channel = None,
    longest: float = LONGEST,
) -> Iterator[tuple[NDArray[np.float32], bool]]:
    """Yield a recording in pieces of ``size`` samples, each with whether it is the last.

    The path ``-`` is standard input: 16-bit little-endian mono samples at ``rate``, told as they
    come, however long; its last piece is empty. Otherwise as `read_audio`.

    Raises
    ------
    AudioError
        As `read_audio`, or if standard input ends within a sample or begins with a header.
    """
    if os.fspath(path) != "-":
        samples = read_audio(path, rate, channel=channel, longest=longest).samples
        for start in range(0, len(samples), size):
            yield samples[start : start + size], start + size >= len(samples)
        return
    first = True
    while piece := sys.stdin.buffer.read(2 * size):
        if first and piece[:4] in (b"RIFF", b"fLaC", b"OggS", b"NIST"):
            raise AudioError("-: standard input is a sound file; needs bare samples (PCM)")
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
        raise AudioError(f"{path}: cannot be read ({error.strerror or reason(error)})") from None
    except Exception as error:  # NumPy parses the header as Python; any error may come of it
        raise AudioError(f"{path}: not a usable .npy file: {reason(error)}") from None
    if values.dtype.newbyteorder("=") != np.float32 or values.ndim != 2 or 0 in values.shape:
        raise AudioError(
            f"{path}: features must be float32 of shape (frames, features), "
            f"found {values.dtype} {values.shape}"
        )
    _require_finite(path, values)
    # A .npy file may be big-endian or in Fortran order.
    return np.ascontiguousarray(values, dtype="<f4")


class _Resampler:
    """Block by block what soxr makes of the whole; nothing where the rates are equal."""

    def __init__(self, native: int, rate: int) -> None:
        self._stream = None
        if native != rate:
            self._stream = soxr.ResampleStream(native, rate, 1, dtype="float32", quality="HQ")

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        return samples if self._stream is None else self._stream.resample_chunk(samples)

    def rest(self) -> NDArray[np.float32]:
        """Return what comes of the end."""
        nothing = np.zeros(0, np.float32)
        return nothing if self._stream is None else self._stream.resample_chunk(nothing, last=True)


def _require_short(path: str | os.PathLike[str], frames: int, rate: int, longest: float) -> None:
    if frames > longest * rate:
        raise AudioError(
            f"{path}: {frames / rate:.3f} s long; at most {longest:g} s are read at a time "
            "(--longest)"
        )


def _require_finite(
    path: str | os.PathLike[str], values: NDArray[np.float32], start: int = 0
) -> None:
    """Raise unless all values are finite; the first of them is that of number ``start``."""
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        where = (start + int(bad[0][0]), *map(int, bad[0][1:]))
        raise AudioError(
            f"{path}: {len(bad)} values are not finite; the first is {values[tuple(bad[0])]} "
            f"at {where if len(where) > 1 else where[0]}"
        )
