"""AISHELL-1 (OpenSLR 33): read Mandarin, one transcript file for all splits.

Policy: a line belongs to the split that has its speaker's folder. Spaces between words are the
publisher's segmentation, not speech, and are removed.
"""

from __future__ import annotations

import re
from pathlib import Path

from majelpy.corpora.source import Faults, Found, Source, Utterance, pairs, root
from majelpy.errors import CorpusError

_TRANSCRIPTS = "transcript/aishell_transcript_v0.8.txt"
_NAME = re.compile(r"BAC\d+(S\d+)W\d+")


def read(folder: Path, split: str, faults: Faults) -> Found:
    """Read wav/SPLIT/SPEAKER/*.wav and the transcript file."""
    top = root(folder, "AISHELL-1", ["wav", _TRANSCRIPTS], "data_aishell")
    recordings = sorted((top / "wav" / split).glob("*/*.wav"))
    if not recordings:
        packed = " (unpack wav/*.tar.gz first)" if any((top / "wav").glob("*.tar.gz")) else ""
        raise CorpusError(f"{top}: no recordings; looked for wav/{split}/*/*.wav{packed}")
    speakers = {path.parent.name for path in recordings}
    found = Found(recordings=recordings)
    for where, name, text in pairs(top / _TRANSCRIPTS, faults):
        match = _NAME.fullmatch(name)
        if match is None:
            faults(where, f"a name such as BAC009S0002W0122 is needed, found {name!r}")
        elif match[1] in speakers:
            path = top / "wav" / split / match[1] / f"{name}.wav"
            found.utterances.append(Utterance(path, "".join(text.split()), match[1], where))
    return found


AISHELL1 = Source("AISHELL-1", ("train", "dev", "test"), read)
