"""The result of a training step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class StepResult:
    """What a step gives: its number from 1, epoch from 0, mean loss, gradient norm, rate.

    A skipped one changed nothing.
    """

    step: int
    epoch: int
    loss: np.float32
    norm: np.float32
    rate: np.float32
    utterances: int
    frames: int
    skipped: bool = False
