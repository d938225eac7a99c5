"""From an importer's findings to a manifest.

Policy: recordings are looked at here, by their headers, for all corpora alike; a missing one is a
fault of the line that names it. Nothing is written before everything is checked, and the manifest
appears under its name only when it is whole. Paths in it are relative to its folder.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

from majelpy import arguments
from majelpy.corpora import CORPORA
from majelpy.corpora.source import Faults, Utterance
from majelpy.errors import AudioError, CorpusError, RecipeError
from majelpy.files import require_replaceable, write_whole
from majelpy.sound.audio import audio_length, span
from majelpy.telling import Telling

_COLUMNS = ("path", "transcript", "duration", "speaker")

# Pieces of one recording follow each other, so its header need be read only once.
_length = lru_cache(maxsize=1)(audio_length)


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes
    ----------
    utterances, speakers : int
        How many of each.
    milliseconds : int
        Duration of the utterances together.
    left_out : Counter
        How many utterances or recordings were left out, for each reason.
    """

    utterances: int
    speakers: int
    milliseconds: int
    left_out: Counter[str]


def write_manifest(
    name: str,
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    split: str | None = None,
    skip_bad: bool = False,
) -> Report:
    """Write the manifest of a split of a downloaded corpus and return what it holds.

    Parameters
    ----------
    name : str
        A key of `majelpy.corpora.CORPORA`.
    folder : str or path
        Where the corpus was unpacked.
    out : str or path
        The manifest, a `.tsv` file; an existing one is replaced. Columns: path, transcript,
        duration (seconds) and speaker; for pieces of recordings also start and end (seconds).
    split : str, optional
        One of the corpus's splits; by default the first of them.
    skip_bad : bool
        Leave out utterances that cannot be used, with a line each on standard error, instead
        of stopping at the first one.

    Raises
    ------
    RecipeError
        If there is no such corpus or split, or `out` does not end in `.tsv`.
    CorpusError
        If the folder is not that corpus, a line is malformed, an utterance stands there twice,
        a recording is missing or unreadable, or the split has no utterances.
    OutputError
        If `out` cannot be written.
    """
    arguments.require(name, str, "corpus", f"one of {', '.join(CORPORA)}")
    folder, out = arguments.path(folder, "folder"), arguments.path(out, "manifest")
    source = CORPORA.get(name)
    if source is None:
        raise RecipeError(f"no corpus {name!r}; there are {', '.join(CORPORA)}")
    split = source.splits[0] if split is None else split
    if split not in source.splits:
        splits = ", ".join(source.splits)
        raise RecipeError(f"{source.title} has no split {split!r}; there are {splits}")
    path = Path(os.path.abspath(out))
    if path.suffix != ".tsv":
        raise RecipeError(f"{out}: a manifest ends in .tsv, this one in {path.suffix!r}")
    require_replaceable(path)
    faults = Faults(skip_bad)
    found = source.read(Path(os.path.abspath(folder)), split, faults)
    rows = _rows(found.utterances, faults)
    if not rows:
        raise CorpusError(f"{folder}: split {split!r} of {source.title} has no usable utterances")
    left_out = found.left_out.copy()
    left_out["that cannot be used"] = faults.count
    named = {utterance.path for utterance in found.utterances}
    left_out["recordings without a transcript"] = sum(p not in named for p in found.recordings)
    _write(path, rows)
    return Report(
        utterances=len(rows),
        speakers=len({utterance.speaker for utterance, _ in rows}),
        milliseconds=sum(milliseconds for _, milliseconds in rows),
        left_out=+left_out,
    )


def _rows(utterances: Sequence[Utterance], faults: Faults) -> list[tuple[Utterance, int]]:
    """Return the usable utterances with their milliseconds."""
    rows = []
    first: dict[tuple[Path, str, str], str] = {}
    with Telling("corpus", "utterance", len(utterances)) as told:
        for utterance in told.over(utterances):
            key = utterance.path, utterance.start, utterance.end
            try:
                if key in first:
                    raise CorpusError(f"{utterance.path} stands there twice, first at {first[key]}")
                first[key] = utterance.where
                rows.append((utterance, _milliseconds(utterance)))
            except (AudioError, CorpusError) as error:
                faults(utterance.where, str(error))
    return rows


def _milliseconds(utterance: Utterance) -> int:
    """Return the duration of an utterance and check what can be checked without decoding."""
    path = utterance.path
    if not utterance.transcript.strip():
        raise CorpusError(f"{path}: its transcript is empty")
    if any(character in str(path) for character in "\t\r\n"):
        raise CorpusError(f"{str(path)!r}: a path in a manifest holds no tab and no new line")
    if utterance.milliseconds is not None and path.is_file():
        return utterance.milliseconds
    samples, rate = _length(path)
    if not samples:
        raise CorpusError(f"{path}: the recording has no samples")
    if not utterance.end:
        return samples * 1000 // rate
    start, end = Decimal(utterance.start), Decimal(utterance.end)
    span(path, samples, rate, start, end)
    return int((end - start) * 1000)


def _write(path: Path, rows: Sequence[tuple[Utterance, int]]) -> None:
    pieces = any(utterance.end for utterance, _ in rows)
    lines = [(*_COLUMNS, "start", "end") if pieces else _COLUMNS]
    for utterance, milliseconds in rows:
        line = (
            Path(os.path.relpath(utterance.path, path.parent)).as_posix(),
            " ".join(utterance.transcript.split()),
            f"{milliseconds // 1000}.{milliseconds % 1000:03d}",
            " ".join(utterance.speaker.split()),
        )
        lines.append((*line, utterance.start, utterance.end) if pieces else line)
    require_replaceable(path)
    write_whole(path, "".join("\t".join(line) + "\n" for line in lines).encode())
