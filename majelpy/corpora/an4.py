"""AN4 (CMU): spelled names and numbers, NIST SPHERE, an4_sphere.tar.gz.

Policy: a transcript and a file id belong together by the name in brackets. The packings with
headerless .raw files are refused: nothing in them says what their bytes mean.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from majelpy.corpora.source import Faults, Found, Source, Utterance, lines, root
from majelpy.errors import CorpusError

_LINE = re.compile(r"(?:<s>)?(.*?)(?:</s>)?\s*\(([^()\s]+)\)")


def read(folder: Path, split: str, faults: Faults) -> Found:
    """Read etc/an4_SPLIT.transcription and .fileids; recordings are wav/FILEID.sph."""
    inside = [f"etc/an4_{split}.transcription", f"etc/an4_{split}.fileids"]
    top = root(folder, "AN4", [*inside, "wav"], "an4")
    endings = {path.suffix for path in (top / "wav").glob("**/*.*")}
    ending = ".wav" if ".wav" in endings else ".sph"
    if ending not in endings and ".raw" in endings:
        raise CorpusError(f"{top}: headerless .raw recordings; download an4_sphere.tar.gz instead")
    paths: dict[str, Path] = {}
    for where, line in lines(top / inside[1], faults):
        name = Path(line.strip()).name
        if name in paths:
            faults(where, f"{name} stands there twice")
        paths[name] = top / "wav" / f"{line.strip()}{ending}"
    found = Found(recordings=[path for path in paths.values() if os.path.isfile(path)])
    for where, line in lines(top / inside[0], faults):
        match = _LINE.fullmatch(line.strip())
        if match is None:
            faults(where, f"'<s> WORDS </s> (NAME)' is needed, found {line!r}")
        elif match[2] not in paths:
            faults(where, f"{match[2]} is not in {inside[1]}")
        else:
            path = paths[match[2]]
            found.utterances.append(Utterance(path, match[1], path.parent.name, where))
    return found


AN4 = Source("AN4", ("train", "test"), read)
