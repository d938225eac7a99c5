"""speechocean762 (OpenSLR 101): English read by Mandarin speakers, in files of Kaldi's kind."""

from __future__ import annotations

import os
from pathlib import Path

from majelpy.corpora.source import Faults, Found, Source, Utterance, pairs, root, table


def read(folder: Path, split: str, faults: Faults) -> Found:
    """Read SPLIT/text, SPLIT/wav.scp and SPLIT/utt2spk; recordings are WAVE/SPEAKER*/*.WAV."""
    inside = [f"{split}/text", f"{split}/wav.scp", f"{split}/utt2spk", "WAVE"]
    top = root(folder, "speechocean762", inside, "speechocean762")
    paths, speakers = (table(top / split / name, faults) for name in ("wav.scp", "utt2spk"))
    recordings = [path for name in paths.values() if os.path.isfile(path := top / name)]
    found = Found(recordings=recordings)
    for where, name, text in pairs(top / split / "text", faults):
        if name not in paths or name not in speakers:
            faults(where, f"{name} is not in {inside[1] if name not in paths else inside[2]}")
        else:
            found.utterances.append(Utterance(top / paths[name], text, speakers[name], where))
    return found


SPEECHOCEAN762 = Source("speechocean762", ("train", "test"), read)
