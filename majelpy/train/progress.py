"""What a person sees of a run: on standard error, from rank 0 only.

Policy. A terminal gets a bar; anything else (mpirun's pipe, a log file) gets a line an epoch, and
one now and then within an epoch. The words are the same.
"""

from __future__ import annotations

import math
import sys
from types import TracebackType
from typing import Self

from tqdm import tqdm

from majelpy import wording
from majelpy.recognition.evaluate import Evaluation
from majelpy.telling import Pace, say
from majelpy.train.step import StepResult

_FAR = 10
"""A loss so many times that of a guess is the loss of a training that diverges."""


class Progress:
    """Shows steps and evaluations.

    Parameters
    ----------
    shown : bool
        False on ranks other than 0.
    steps : int
        Steps at the end.
    done : int
        Steps at the start.
    labels : int
        Size of the alphabet, the blank included.
    """

    def __init__(self, *, shown: bool, steps: int, done: int, labels: int):
        self._shown, self._labels = shown, labels
        self._pace = Pace(steps, done)
        self._terminal = shown and sys.stderr.isatty()
        self._bar = tqdm(
            total=steps, initial=done, unit="step", disable=not self._terminal, leave=False
        )
        self._utterances = 0
        self._warned = False

    def begin(self) -> None:
        """Count time from now on: the first step follows."""
        self._pace.begin()

    def say(self, text: str) -> None:
        """Show a line."""
        if self._shown:
            say(text)

    def step(self, result: StepResult, *, ends_epoch: bool = False) -> None:
        """Count a step; a line on it, now and then, unless that of its epoch follows."""
        self._utterances += result.utterances
        self._pace.done += 1
        if self._terminal:
            self._bar.update()
            self._bar.set_postfix_str(f"loss {wording.loss(float(result.loss))}", refresh=False)
        elif not ends_epoch and self._pace.due():
            self.say(f"{_head(result, float(result.loss))}{self._speed()}")
        if not self._warned and diverges(result, self._labels):
            self._warned = True
            loss = wording.loss(float(result.loss))
            self.say(
                f"the training diverges: the loss of step {result.step}, {loss}, is more than "
                f"{_FAR} times that of a blind guess; begin another run with a lower "
                "optimizer.rate, a longer schedule.warmup or a lower optimizer.norm_limit "
                "(docs/troubleshooting.md)"
            )

    def epoch(self, result: StepResult, mean_loss: float, evaluation: Evaluation | None) -> None:
        """Show the end of an epoch."""
        watched = (
            f"  dev loss {wording.loss(float(evaluation.loss))}"
            f"  CER {100 * evaluation.errors.cer:.1f}%  WER {100 * evaluation.errors.wer:.1f}%"
            if evaluation
            else ""
        )
        self._pace.told()
        self.say(f"{_head(result, mean_loss)}{watched}{self._speed()}")

    def _speed(self) -> str:
        elapsed = self._pace.elapsed
        speed = self._utterances / elapsed if elapsed else 0.0
        return f"  {speed:.0f} utterances/s  {wording.clock(self._pace.left)} left"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()


def _head(result: StepResult, loss: float) -> str:
    return f"epoch {result.epoch + 1:3d}  step {result.step:5d}  loss {wording.loss(loss)}"


def diverges(result: StepResult, labels: int) -> bool:
    """Return whether a step's loss is far above that of equal probabilities for all labels.

    Those have a loss of at most log(labels) a frame, and any model that learns has less.
    """
    guess = result.frames / max(result.utterances, 1) * math.log(labels)
    loss = float(result.loss)
    return math.isfinite(loss) and loss > _FAR * guess
