"""Preparing: from manifests to a corpus.

Policy: one utterance at a time, so memory does not grow with the corpus. A recording that
cannot be trained on is an error that names its line in the manifest; it is left out only if
the caller asked for that, and then it is counted and told. A corpus (or each of its shards)
appears under its name only when it is whole. Statistics are those of all utterances.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from majelpy import arguments, ops
from majelpy.errors import AudioError, ManifestError, RecipeError
from majelpy.sound.audio import LONGEST, Recording, audio_rate, read_audio, read_features
from majelpy.sound.channel import Channel
from majelpy.sound.sound_file import naming
from majelpy.speech import features
from majelpy.speech.corpus_format import FORMATS
from majelpy.speech.manifest import Entry, read_manifest
from majelpy.speech.remarks import Remarks
from majelpy.speech.shards import MOST_SHARDS, Shards
from majelpy.speech.text import normalise
from majelpy.telling import Telling, say
from majelpy.wording import counted

HIGHEST_DEFAULT_RATE = 16000
_RATES = (1000, 192000)


@dataclass(frozen=True)
class Report:
    """What was prepared.

    Attributes
    ----------
    digest : str
        Hex digest of the corpus.
    utterances, frames, features : int
        How many utterances, frames in all, and features per frame.
    rate, hop : int
        Sample rate in Hz and step between frames in samples; 0 for `.npy` features.
    skipped : int
        Recordings that were left out.
    remarks : tuple of str
        Lines on what is strange about others (majelpy.speech.remarks).
    """

    digest: str
    utterances: int
    frames: int
    features: int
    rate: int
    hop: int
    skipped: int
    remarks: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Duration of the frames; 0 for `.npy` features, whose rate is not known."""
        return self.frames * self.hop / self.rate if self.rate else 0.0


def prepare(
    manifest: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    rate: int | None = None,
    skip_bad: bool = False,
    kind: str = "features",
    shards: int = 1,
    channel: Channel = None,
    longest: float = LONGEST,
) -> Report:
    """Make a corpus from the recordings of manifests and return what it holds.

    Parameters
    ----------
    manifest : str or path, or a sequence of them
        See `majelpy.speech.manifest.read_manifest`. They name either recordings or `.npy`
        files with features of one width. Several are taken one after the other.
    out : str or path
        The corpus; an existing file is replaced once the new one is whole. Of several shards
        each has a number in its name (`majelpy.speech.shards.path_of`).
    rate : int, optional
        Sample rate in Hz that all recordings are brought to; by default the lowest among
        them, but at most 16000.
    skip_bad : bool
        Leave recordings out that cannot be used, with a line each on standard error,
        instead of stopping at the first one.
    kind : {'features', 'samples', 'noise'}
        What to store: features; the samples, rounded to 16 bits, that features are calculated from
        when they are needed; or such samples of noise, whose manifests need no transcripts.
    shards : int
        Files to write, each with equally many lines of the manifests, to within one.
    channel : int or 'mix', optional
        What to take of recordings with several channels, unless their lines say so themselves;
        see `majelpy.sound.audio.read_audio`.
    longest : float
        Seconds; longer utterances cannot be used.

    Raises
    ------
    ManifestError
        If a manifest cannot be read, mixes recordings and features, has an empty
        transcript, or has no usable recording.
    AudioError
        If a recording cannot be read, is too long, is shorter than a window or has too few
        frames for its transcript.
    RecipeError
        If the rate or the number of shards is out of range, there is no such kind, or `out` has
        the name of a manifest.
    ArgumentError
        If an argument is of another type.
    OutputError
        If the corpus cannot be written.
    """
    manifests = arguments.paths(manifest, "prepare: manifest")
    out = arguments.path(out, "prepare: out")
    shards = arguments.whole(shards, "prepare: shards")
    if rate is not None:
        rate = arguments.whole(rate, "prepare: rate")
    if kind not in FORMATS:
        raise RecipeError(f"prepare: no kind {kind!r}; there are {', '.join(FORMATS)}")
    if not manifests:
        raise ManifestError("prepare: no manifest; at least 1 is needed")
    if out.endswith((".tsv", ".jsonl")):
        raise RecipeError(f"prepare: {out}: a corpus cannot be written over a manifest")
    spoken = kind != "noise"
    entries = [e for each in manifests for e in read_manifest(each, transcripts=spoken)]
    bad = _Bad(", ".join(manifests), skip_bad)
    from_features = _are_features(entries)
    if from_features:
        if kind != "features":
            raise RecipeError(f"prepare: there are no {kind} in .npy files, only features")
        if rate is not None:
            raise RecipeError(f"prepare: rate {rate} Hz has no use for features in .npy files")
        rate = window = hop = 0
    else:
        if rate is None:
            entries, rate = _common_rate(entries, bad)
        elif not _RATES[0] <= rate <= _RATES[1]:
            raise RecipeError(f"prepare: rate {rate} Hz; needs {_RATES[0]} to {_RATES[1]}")
        window, hop = features.window_length(rate), features.hop_length(rate)
    if not 1 <= shards <= min(MOST_SHARDS, len(entries)):
        raise RecipeError(
            f"prepare: {counted(shards, 'shard')}; needs 1 to {min(MOST_SHARDS, len(entries))}, of "
            f"which each has at least one of {counted(len(entries), 'utterance')}"
        )
    statistics, remarks = features.Statistics(), Remarks()
    frames_in_all = 0
    reader = _Reader(rate, kind, channel, longest)
    described = {"rate": rate, "window": window, "hop": hop, "kind": kind}
    with ExitStack() as stack:
        files = Shards(out, shards, described, stack)
        told = stack.enter_context(Telling("prepare", "utterance", len(entries)))
        for number, entry in enumerate(told.over(entries)):
            try:
                transcript = _transcript(entry) if spoken else ""
                content, frames, found = reader.read(entry)
                _require_enough_frames(entry, frames, transcript)
                if files.width not in (0, frames.shape[1]):
                    raise AudioError(
                        f"{entry.path}: {counted(frames.shape[1], 'feature')}, the files before "
                        f"have {files.width}"
                    )
                with naming(entry.path):
                    statistics.add(frames)
            except (AudioError, ManifestError) as error:
                bad(entry, error)
                continue
            if found is not None:
                remarks.hear(entry.name, entry.piece, found)
            writer = files.at(number * shards // len(entries), frames.shape[1])
            writer.append(content, transcript, entry.name)
            frames_in_all += len(frames)
        if not files.writers:
            raise _nothing_left(bad)
        digest = files.finish(*statistics.finish())
        return Report(
            digest=digest,
            utterances=sum(len(writer) for writer in files.writers),
            frames=frames_in_all,
            features=files.width,
            rate=rate,
            hop=hop,
            skipped=bad.count,
            remarks=remarks.lines(),
        )


@dataclass
class _Bad:
    """What to do with recordings that cannot be used: stop, or tell and count."""

    manifests: str
    skip: bool
    count: int = field(default=0, init=False)

    def __call__(self, entry: Entry, error: AudioError | ManifestError) -> None:
        message = f"{entry.where}: {error}"
        if not self.skip:
            raise type(error)(message) from None
        self.count += 1
        say(f"skipped {message}")


def _are_features(entries: list[Entry]) -> bool:
    kinds = [entry.path.suffix == ".npy" for entry in entries]
    if len(set(kinds)) > 1:
        other = entries[kinds.index(not kinds[0])]
        raise ManifestError(
            f"{other.where}: {other.name!r} after {entries[0].name!r}: "
            f"a corpus is made from recordings or from .npy features, not from both"
        )
    return kinds[0]


def _common_rate(entries: list[Entry], bad: _Bad) -> tuple[list[Entry], int]:
    """Return the entries with a readable header and the rate for all of them."""
    readable: list[Entry] = []
    rates: list[int] = []
    for entry in entries:
        try:
            rates.append(audio_rate(entry.path))
            readable.append(entry)
        except AudioError as error:
            bad(entry, error)
    if not rates:
        raise _nothing_left(bad)
    rate = min(*rates, HIGHEST_DEFAULT_RATE)
    others = sum(found != rate for found in rates)
    say(f"rate: {rate} Hz ({others} of {counted(len(rates), 'recording')} will be resampled)")
    return readable, rate


def _transcript(entry: Entry) -> str:
    transcript = normalise(entry.transcript)
    if not transcript:
        raise ManifestError(f"{entry.path}: its transcript is empty")
    return transcript


@dataclass(frozen=True)
class _Reader:
    """How recordings are read; rate 0 means that features are what is read."""

    rate: int
    kind: str
    channel: Channel
    longest: float

    def read(
        self, entry: Entry
    ) -> tuple[NDArray[np.float32] | NDArray[np.int16], NDArray[np.float32], Recording | None]:
        """Return what is stored of an utterance, its features (T, F), and what it comes from."""
        with naming(entry.path):
            return self._features(entry) if not self.rate else self._sound(entry)

    def _features(self, entry: Entry) -> tuple[NDArray[np.float32], NDArray[np.float32], None]:
        if entry.piece.start is not None or entry.piece.channel is not None:
            raise ManifestError(
                f"{entry.path}: start and end, offset and channel have no use for features"
            )
        frames = read_features(entry.path)
        return frames, frames, None

    def _sound(
        self, entry: Entry
    ) -> tuple[NDArray[np.float32] | NDArray[np.int16], NDArray[np.float32], Recording]:
        piece = entry.piece
        found = read_audio(
            entry.path,
            self.rate,
            piece.start,
            piece.end,
            channel=self.channel if piece.channel is None else piece.channel,
            longest=self.longest,
        )
        if self.kind == "features":
            frames = features.spectrogram(found.samples, self.rate)
            return frames, frames, found
        pcm = ops.pcm(found.samples)
        return pcm, features.spectrogram(ops.samples(pcm).numpy(), self.rate), found


def _require_enough_frames(entry: Entry, frames: NDArray[np.float32], transcript: str) -> None:
    """Check that CTC has an alignment: equal neighbours need a blank between them."""
    repeats = sum(a == b for a, b in pairwise(transcript))
    needed = len(transcript) + repeats
    if len(frames) < needed:
        raise AudioError(
            f"{entry.path}: {counted(len(frames), 'frame')} for "
            f"{counted(len(transcript), 'label')} with {counted(repeats, 'repeat')}; needs at "
            f"least {needed}"
        )


def _nothing_left(bad: _Bad) -> ManifestError:
    return ManifestError(f"{bad.manifests}: none of {counted(bad.count, 'recording')} can be used")
