"""LibriSpeech (OpenSLR 12): read books, FLAC, a transcript file a chapter.

Policy: `train`, `dev` and `test` are all folders of that kind that are there, for most people
download some of them only.
"""

from __future__ import annotations

import re
from pathlib import Path

from majelpy.corpora.source import Faults, Found, Source, Utterance, pairs, root

_FOLDERS = (
    *("train-clean-100", "train-clean-360", "train-other-500"),
    *("dev-clean", "dev-other", "test-clean", "test-other"),
)
_NAME = re.compile(r"(\d+)-(\d+)-\d+")


def read(folder: Path, split: str, faults: Faults) -> Found:
    """Read SPLIT/SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt and the recordings beside it."""
    pattern = split if split in _FOLDERS else f"{split}-*"
    top = root(folder, "LibriSpeech", [f"{pattern}/*/*/*.trans.txt"], "LibriSpeech")
    found = Found()
    for name in _FOLDERS:
        if name != split and not name.startswith(f"{split}-"):
            continue
        found.recordings += sorted((top / name).glob("*/*/*.flac"))
        for transcripts in sorted((top / name).glob("*/*/*.trans.txt")):
            for where, utterance, text in pairs(transcripts, faults):
                match = _NAME.fullmatch(utterance)
                if match is None:
                    faults(where, f"a name such as 84-121123-0000 is needed, found {utterance!r}")
                    continue
                path = transcripts.with_name(f"{utterance}.flac")
                found.utterances.append(Utterance(path, text, match[1], where))
    return found


LIBRISPEECH = Source("LibriSpeech", ("train", "dev", "test", *_FOLDERS), read)
