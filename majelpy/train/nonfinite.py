"""Steps whose loss or gradient is not finite.

Policy. Every rank has the same sums and so meets it in the same step. Which utterances did it is
asked only then, by a second forward pass. What is kept knows no ranks, so that a replay on any
layout can be held against it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from majelpy.errors import TrainingError
from majelpy.recipes.tables import OptimizerSettings
from majelpy.runs.ledger import hexadecimal
from majelpy.train.step import StepResult
from majelpy.wording import counted

_NAMED = 3


class NonFinite(TrainingError):
    """A step whose loss or gradient is not finite; it changed nothing.

    Parameters
    ----------
    result : StepResult
    losses : list of (str, float32)
        Name and loss of each utterance of the minibatch, in the order of the data.
    """

    def __init__(self, result: StepResult, losses: list[tuple[str, np.float32]]):
        self.result, self.losses = result, losses
        culprits = [repr(name) for name, loss in losses if not np.isfinite(loss)]
        why = "the loss of each utterance is finite, the gradient overflowed"
        if culprits:
            rest = f" and {len(culprits) - _NAMED} more" if len(culprits) > _NAMED else ""
            why = (
                f"no finite loss for {len(culprits)} of {counted(len(losses), 'utterance')}: "
                f"{', '.join(culprits[:_NAMED])}{rest}"
            )
        super().__init__(
            f"step {result.step}: loss {result.loss} and gradient norm {result.norm}; {why}"
        )

    def record(self) -> dict[str, Any]:
        """What is kept of it, for JSON."""
        return {
            "step": self.result.step,
            "epoch": self.result.epoch,
            "loss_hex": hexadecimal(self.result.loss),
            "norm_hex": hexadecimal(self.result.norm),
            "rate_hex": hexadecimal(self.result.rate),
            "utterances": [
                {"name": name, "loss_hex": hexadecimal(loss)} for name, loss in self.losses
            ],
        }

    def error(self, settings: OptimizerSettings, skipped: int) -> TrainingError | None:
        """The error that ends training, if it has to end after so many skipped steps in a row."""
        if settings.non_finite == "stop":
            return TrainingError(
                f"train: {self} (lower optimizer.rate, look at these utterances, or set "
                f"optimizer.non_finite to 'skip'; failed/step-{self.result.step}.json has more)"
            )
        if skipped < settings.skip_limit:
            return None
        return TrainingError(
            f"train: {self}; optimizer.skip_limit is {settings.skip_limit}, and as many steps "
            "before were skipped (lower optimizer.rate, or look at the utterances in failed/)"
        )
