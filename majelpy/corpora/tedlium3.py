"""TED-LIUM 3 (OpenSLR 51): talks, NIST SPHERE, transcripts of pieces in STM files.

Policy: the splits of the folder `legacy`, whose dev and test are those of the earlier releases.
Marks of noises, fillers and pronunciations are removed. A piece that is not to be scored, has no
words, or has an `<unk>` (a word that nobody wrote down) is left out and counted. `it 's` becomes
`it's`.
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

from majelpy.corpora.source import Faults, Found, Source, Utterance, lines, root

_LINE = re.compile(r"(\S+)\s+\S+\s+(\S+)\s+(\S+)\s+(\S+)\s+<[^>]*>\s*(.*)")
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9}")
_IGNORED = "ignore_time_segment_in_scoring"
# <sil>, {NOISE}, the (2) of a pronunciation, and the name of an utterance at the end of its line.
_MARKS = re.compile(r"<sil>|\{[^}]*\}|\(\d+\)|\([^ ]*\)$")
_SUFFIX = re.compile(r" ('(?:s|t|m|d|re|ve|ll))\b")


def read(folder: Path, split: str, faults: Faults) -> Found:
    """Read legacy/SPLIT/stm/*.stm; the recordings are legacy/SPLIT/sph/*.sph."""
    inside = [f"legacy/{split}/stm/*.stm", f"legacy/{split}/sph"]
    top = root(folder, "TED-LIUM 3", inside, "TEDLIUM_release-3") / "legacy" / split
    found = Found(recordings=sorted((top / "sph").glob("*.sph")))
    for talk in sorted((top / "stm").glob("*.stm")):
        for where, line in lines(talk, faults):
            if line.startswith(";;"):
                continue
            match = _LINE.fullmatch(line.strip())
            if match is None:
                faults(
                    where,
                    f"'TALK CHANNEL SPEAKER START END <LABEL> TEXT' is needed, found {line!r}",
                )
                continue
            name, speaker, start, end, text = match.groups()
            if not _seconds(start, end):
                faults(where, f"start {start} and end {end}; needs seconds, 0 <= start < end")
                continue
            words = _SUFFIX.sub(r"\1", " ".join(_MARKS.sub(" ", text).split()))
            if text.strip().lower() == _IGNORED:
                found.left_out["pieces not to be scored"] += 1
            elif not words:
                found.left_out["pieces without words"] += 1
            elif "<unk>" in words:
                found.left_out["pieces with <unk>"] += 1
            else:
                path = top / "sph" / f"{name}.sph"
                found.utterances.append(Utterance(path, words, speaker, where, start, end))
    return found


def _seconds(start: str, end: str) -> bool:
    numbers = _SECONDS.fullmatch(start) and _SECONDS.fullmatch(end)
    return bool(numbers) and Decimal(start) < Decimal(end)


TEDLIUM3 = Source("TED-LIUM 3", ("train", "dev", "test"), read)
