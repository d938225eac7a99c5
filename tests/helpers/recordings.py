"""Recordings to train on, noise to add, and settings that use all augmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

COUNT = 24


ALL: dict[str, Any] = {
    "noise_share": 0.75,
    "noise_decibels": [0, 15],
    "gain_decibels": [-12, 6],
    "speeds": [0.9, 1.0, 1.1],
    "frequency_masks": 2,
    "frequency_width": 12,
    "time_masks": 2,
    "time_width": 9,
    "time_share": 0.3,
}


def record(path: Path, seed: int, seconds: float, rate: int = 8000) -> None:
    random = np.random.default_rng(seed)
    t = np.arange(int(seconds * rate)) / rate
    tone = 6000 * np.sin(2 * np.pi * random.integers(200, 2000) * t)
    soundfile.write(path, (tone + random.normal(0, 300, len(t))).astype(np.int16), rate)


def manifests(folder: Path, rate: int = 8000, first: int = 0) -> tuple[Path, Path]:
    """Write recordings of 0.2 to 0.5 s and of noise, and return their manifests."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["path\ttranscript"]
    for i in range(COUNT):
        record(folder / f"{i}.wav", first + i, 0.2 + 0.3 * (i * 7 % COUNT) / COUNT, rate)
        rows.append(f"{i}.wav\t{'abcd'[i % 4]}{'dcba'[i // 4 % 4]}")
    (folder / "m.tsv").write_text("\n".join(rows) + "\n")
    for i, seconds in enumerate((0.1, 1.0, 0.3)):
        record(folder / f"noise{i}.wav", 100 + i, seconds, rate)
    (folder / "noise.tsv").write_text("path\nnoise0.wav\nnoise1.wav\nnoise2.wav\n")
    return folder / "m.tsv", folder / "noise.tsv"
