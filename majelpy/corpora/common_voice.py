"""Common Voice (Mozilla): sentences read by volunteers, MP3, a table a split.

Policy: the folder is that of one language. Fields are never quoted. Durations come from
`clip_durations.tsv` where the release has it: to find an MP3's length all of it must be read.
"""

from __future__ import annotations

import re
from pathlib import Path

from majelpy.corpora.source import Faults, Found, Source, Utterance, lines, root
from majelpy.wording import counted

_COLUMNS = ("client_id", "path", "sentence")


def read(folder: Path, split: str, faults: Faults) -> Found:
    """Read SPLIT.tsv; recordings lie in clips/, those of all splits together."""
    top = root(folder, "Common Voice language", [f"{split}.tsv", "clips"])
    durations = _durations(top / "clip_durations.tsv", faults)
    found = Found()
    header: list[str] = []
    for where, line in lines(top / f"{split}.tsv", faults):
        fields = line.split("\t")
        if not header:
            header = fields
            missing = [column for column in _COLUMNS if column not in header]
            if missing:
                faults(where, f"no column {missing[0]!r}; it has {', '.join(map(repr, header))}")
                break
        elif len(fields) != len(header):
            faults(where, f"{counted(len(fields), 'field')}, the header has {len(header)}")
        else:
            speaker, clip, sentence = (fields[header.index(column)] for column in _COLUMNS)
            found.utterances.append(
                Utterance(
                    path=top / "clips" / clip,
                    transcript=sentence,
                    speaker=speaker,
                    where=where,
                    milliseconds=durations.get(clip),
                )
            )
    return found


def _durations(path: Path, faults: Faults) -> dict[str, int]:
    """Return the milliseconds of clips; the table has the columns `clip` and `duration[ms]`."""
    durations: dict[str, int] = {}
    if path.is_file():
        rows = lines(path, faults)
        next(rows, None)
        for where, line in rows:
            clip, _, milliseconds = line.partition("\t")
            if re.fullmatch("[0-9]{1,12}", milliseconds):
                durations[clip] = int(milliseconds)
            else:
                faults(where, f"a clip and its whole milliseconds are needed, found {line!r}")
    return durations


COMMON_VOICE = Source("Common Voice", ("train", "dev", "test", "validated"), read)
