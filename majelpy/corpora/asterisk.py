"""Asterisk sounds: prompts of a telephone exchange, one voice a language, no splits.

Policy: the packings with WAV files; the others are headerless. A remark in brackets, such as
`(simple tone sound plays)`, is no speech and is removed; a prompt that is nothing else (beeps,
silence, monkeys) is left out and counted.
"""

from __future__ import annotations

import re
from pathlib import Path

from majelpy.corpora.source import Faults, Found, Source, Utterance, lines, root

_REMARK = re.compile(r"\[[^]]*\]|\([^)]*\)")


def read(folder: Path, split: str, faults: Faults) -> Found:
    """Read core-sounds-LANGUAGE.txt and extra-sounds-LANGUAGE.txt; recordings are NAME.wav."""
    root(folder, "Asterisk sounds", ["*-sounds-*.txt", "**/*.wav"])
    found = Found()
    silent: set[Path] = set()
    for listing in sorted(folder.glob("*-sounds-*.txt")):
        for where, line in lines(listing, faults):
            if line.startswith(";"):
                continue
            name, colon, text = line.partition(":")
            path = folder / f"{name.strip().removesuffix('.wav')}.wav"
            if not colon or not name.strip() or not text.strip():
                faults(where, f"'NAME: TEXT' is needed, found {line!r}")
            elif spoken := _REMARK.sub(" ", text).strip():
                speaker = listing.stem.rpartition("-")[2]
                found.utterances.append(Utterance(path, spoken, speaker, where))
            else:
                found.left_out["prompts without speech"] += 1
                silent.add(path)
    found.recordings = [path for path in sorted(folder.glob("**/*.wav")) if path not in silent]
    return found


ASTERISK = Source("Asterisk sounds", ("all",), read)
