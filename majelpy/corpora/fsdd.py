"""Free Spoken Digit Dataset: isolated English digits, DIGIT_SPEAKER_NUMBER.wav.

Policy: the publisher's split: numbers 0 to 4 of each digit and speaker are for testing.
"""

from __future__ import annotations

import re
from pathlib import Path

from majelpy.corpora.source import Faults, Found, Source, Utterance, root

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_NAME = re.compile(r"([0-9])_([^_]+)_([0-9]+)\.wav")
_FIRST_TO_TRAIN_ON = 5


def read(folder: Path, split: str, faults: Faults) -> Found:
    """Read recordings/*.wav, whose names say all."""
    top = root(folder, "Free Spoken Digit Dataset", ["recordings/*.wav"])
    found = Found()
    for path in sorted((top / "recordings").glob("*.wav")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            faults(path, "a name such as 7_jackson_32.wav is needed")
        elif (int(match[3]) < _FIRST_TO_TRAIN_ON) == (split == "test"):
            found.utterances.append(Utterance(path, _WORDS[int(match[1])], match[2]))
    return found


FSDD = Source("Free Spoken Digit Dataset", ("train", "test"), read)
