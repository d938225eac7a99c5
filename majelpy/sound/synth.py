"""Made-up speech: spoken digits and sentences, the data that the project carries along.

Policy: the recordings are a function of (kind, seed, split, index) alone: the same bytes
on every call, whichever others are made, and in whatever order. Voices of the development
split are never heard in training. Everything is calculated in whole numbers after
espeak-ng; the samples of espeak-ng itself belong to its wheel.
"""

from __future__ import annotations

import os
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from majelpy import arguments
from majelpy.errors import OutputError, RecipeError
from majelpy.files import open_plain
from majelpy.sound import espeak
from majelpy.sound.mixing import Draw, mix, resample, trim
from majelpy.telling import Telling
from majelpy.wording import counted

RATE = 16000
"""Sample rate of the recordings in Hz."""

KINDS = ("digits", "sentences")

_ACCENTS = ("en-us", "en", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan")
_TRAIN_VARIANTS = ("m1", "m2", "m3", "m5", "m6", "m7", "m8", "f1", "f2", "f4", "linda", "paul")
_DEV_VARIANTS = ("m4", "f3", "steph")

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_ROOMS = ("kitchen", "bedroom", "office", "garden", "garage", "hall", "bathroom", "attic")
_COLOURS = ("red", "green", "blue", "white", "yellow")
_MUSIC = ("some jazz", "the news", "a quiet song", "my favourite record", "the radio")
# A sentence is one of these with each name in braces replaced by one of its words.
_SENTENCES = (
    "turn {switch} the {room} {device}",
    "make the {room} light {colour}",
    "play {music} in the {room}",
    "set a timer for {digit} minutes",
    "wake me at {digit} in the morning",
    "is the {room} {opening} open",
    "close the {room} {opening}",
    "what is the {fact} in {city}",
)
_WORDS = {
    "switch": ("on", "off"),
    "room": _ROOMS,
    "device": ("light", "heater", "fan", "radio"),
    "colour": _COLOURS,
    "music": _MUSIC,
    "digit": _DIGITS[2:],
    "opening": ("door", "window"),
    "fact": ("time", "weather", "temperature"),
    "city": ("london", "paris", "berlin", "tokyo", "boston", "madrid", "cairo", "sydney"),
}

_HEADER = "path\ttranscript\tduration\tvoice"

# Power of speech by power of noise: 20 dB to 40 dB, in steps of some 3 dB.
_NOISE_RATIOS = (100, 200, 400, 800, 1600, 3200, 6400, 10000)
# Lengths of the moving sum over white noise: white, then darker and darker.
_NOISE_COLOURS = (1, 4, 16)


@dataclass(frozen=True)
class Utterance:
    """What is said in a recording, and how."""

    text: str
    voice: str
    speed: int
    pitch: int


def utterance_of(kind: str, seed: int, split: str, index: int) -> Utterance:
    """Return the utterance with this index of the split `train` or `dev`."""
    draw = _draw(kind, seed, split, index)
    if kind == "digits":
        count = 1 + draw.below("count", 3)
        text = " ".join(_DIGITS[draw.below(f"digit {i}", 10)] for i in range(count))
    else:
        form = _SENTENCES[draw.below("form", len(_SENTENCES))]
        chosen = {name: words[draw.below(name, len(words))] for name, words in _WORDS.items()}
        text = form.format(**chosen)
    variants = _DEV_VARIANTS if split == "dev" else _TRAIN_VARIANTS
    accent = _ACCENTS[draw.below("accent", len(_ACCENTS))]
    variant = variants[draw.below("variant", len(variants))]
    return Utterance(
        text=text,
        voice=f"{accent}+{variant}",
        speed=140 + draw.below("speed", 61),
        pitch=35 + draw.below("pitch", 31),
    )


def recording(kind: str, seed: int, split: str, index: int) -> NDArray[np.int16]:
    """Return the samples of the utterance with this index: int16, (S,), 16000 Hz.

    Raises
    ------
    BuildError
        If espeak-ng cannot be used.
    """
    utterance = utterance_of(kind, seed, split, index)
    draw = _draw(kind, seed, split, index)
    spoken = espeak.speak(utterance.text, utterance.voice, utterance.speed, utterance.pitch)
    # 50 ms to 150 ms of pause on either side.
    before = RATE // 20 + draw.below("before", RATE // 10)
    after = RATE // 20 + draw.below("after", RATE // 10)
    samples = trim(resample(spoken, espeak.RATE, RATE), before, after)
    width = _NOISE_COLOURS[draw.below("noise colour", len(_NOISE_COLOURS))]
    white = draw.bell("noise", len(samples) + width)
    total = np.cumsum(white)
    noise = total[width:] - total[:-width]
    ratio = _NOISE_RATIOS[draw.below("noise ratio", len(_NOISE_RATIOS))]
    return mix(samples, noise, 8000 + draw.below("peak", 16000), ratio)


def synth(
    out_dir: str | os.PathLike[str],
    *,
    kind: str = "digits",
    utterances: int = 1500,
    dev: int = 150,
    seed: int = 0,
) -> list[Path]:
    """Make recordings with their manifests and return the manifests' paths, train first.

    The folder gets `wav/*.wav` (16 bit, 16000 Hz), `train.tsv` and, unless `dev` is 0,
    `dev.tsv`, with the columns path, transcript, duration (seconds) and voice. The manifests
    are written last; what an earlier call left under the same names is replaced.

    Parameters
    ----------
    out_dir : str or path
        Made if it does not exist.
    kind : {'digits', 'sentences'}
        One to three digits, or short orders to a house.
    utterances, dev : int
        How many for training and, in other voices, for development.
    seed : int
        Another seed gives other utterances.

    Raises
    ------
    RecipeError
        If an argument is out of range.
    ArgumentError
        If one is of another type.
    OutputError
        If the folder or a file cannot be written.
    BuildError
        If espeak-ng cannot be used.
    """
    if kind not in KINDS:
        raise RecipeError(f"synth: no kind {kind!r}; there are {', '.join(KINDS)}")
    folder = Path(arguments.path(out_dir, "synth: out_dir"))
    seed = arguments.whole(seed, "synth: seed")
    utterances = arguments.whole(utterances, "synth: utterances")
    dev = arguments.whole(dev, "synth: dev")
    if utterances < 1 or dev < 0:
        raise RecipeError(
            f"synth: {counted(utterances, 'utterance')} and {dev} for development; needs at least "
            "1 and at least 0"
        )
    splits = {"train": utterances, "dev": dev}
    try:
        for split in splits:
            _clear(folder / f"{split}.tsv")
        (folder / "wav").mkdir(parents=True, exist_ok=True)
        with Telling("synth", "utterance", utterances + dev) as told:
            rows = {
                split: [_write(folder, kind, seed, split, i, told) for i in range(count)]
                for split, count in splits.items()
            }
        return [
            _write_manifest(folder / f"{split}.tsv", found)
            for split, found in rows.items()
            if found
        ]
    except OutputError:
        raise
    except OSError as error:
        where = error.filename or folder
        raise OutputError(f"synth: cannot write {where}: {error.strerror}") from None


def _clear(manifest: Path) -> None:
    """Remove a manifest of an earlier call, and refuse to remove anybody else's."""
    if not manifest.exists():
        return
    with open_plain(manifest) as file:
        header = file.readline(len(_HEADER) + 1)
    if header != f"{_HEADER}\n".encode():
        raise OutputError(f"synth: {manifest} is not from majel synth; give another folder")
    manifest.unlink()


def _draw(kind: str, seed: int, split: str, index: int) -> Draw:
    return Draw(f"majelpy synth 1|{kind}|{seed}|{split}|{index}")


def _write(
    folder: Path, kind: str, seed: int, split: str, index: int, told: Telling
) -> Sequence[str]:
    utterance = utterance_of(kind, seed, split, index)
    samples = recording(kind, seed, split, index)
    name = f"wav/{split}-{index:05d}.wav"
    # Not soundfile: the standard library's header is the same for every version of libsndfile.
    with wave.open(str(folder / name), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.astype("<i2").tobytes())
    milliseconds = len(samples) * 1000 // RATE
    told.done()
    duration = f"{milliseconds // 1000}.{milliseconds % 1000:03d}"
    return name, utterance.text, duration, utterance.voice


def _write_manifest(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    lines = [_HEADER, *("\t".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    return path
