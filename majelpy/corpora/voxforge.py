"""VoxForge: sentences read by volunteers, a folder a session, no official splits.

Policy: a session's `etc/PROMPTS` counts, and `etc/prompts-original` where that is missing.
Sessions of one user share a speaker, but each anonymous session is a speaker of its own.
"""

from __future__ import annotations

from pathlib import Path

from majelpy.corpora.source import Faults, Found, Source, Utterance, pairs, root

_PROMPTS = ("PROMPTS", "prompts-original")


def read(folder: Path, split: str, faults: Faults) -> Found:
    """Read SESSION/etc/PROMPTS and SESSION/wav/*.wav or SESSION/flac/*.flac."""
    root(folder, "VoxForge", [" or ".join(f"*/etc/{name}" for name in _PROMPTS)])
    found = Found()
    for session in sorted(path for path in folder.iterdir() if path.is_dir()):
        kind = "wav" if (session / "wav").is_dir() else "flac"
        found.recordings += sorted((session / kind).glob(f"*.{kind}"))
        user = session.name.partition("-")[0]
        speaker = session.name if user == "anonymous" else user
        prompts = next((p for name in _PROMPTS if (p := session / "etc" / name).is_file()), None)
        if prompts is None:
            continue
        for where, name, text in pairs(prompts, faults):
            # PROMPTS has names such as ralf-20070622/mfc/a0001, the other file just a0001.
            path = session / kind / f"{name.rpartition('/')[2]}.{kind}"
            found.utterances.append(Utterance(path, text, speaker, where))
    return found


VOXFORGE = Source("VoxForge", ("all",), read)
