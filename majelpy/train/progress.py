"""What a person sees of a run: on standard error, from rank 0 only.

Policy. A terminal gets a bar; anything else (mpirun's pipe, a log file) gets a line an epoch. The
words are the same.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

from majelpy.train.evaluate import Evaluation
from majelpy.train.trainer import StepResult


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
    """

    def __init__(self, *, shown: bool, steps: int, done: int):
        self._shown = shown
        self._left = steps - done
        bar = shown and sys.stderr.isatty()
        self._bar = tqdm(total=steps, initial=done, unit="step", disable=not bar, leave=False)
        self._terminal = bar
        self._start = time.monotonic()
        self._utterances = self._done = 0

    def say(self, text: str) -> None:
        """Show a line."""
        if self._shown:
            tqdm.write(text, file=sys.stderr)
            sys.stderr.flush()

    def step(self, result: StepResult) -> None:
        """Count a step."""
        self._utterances += result.utterances
        self._done += 1
        if self._terminal:
            self._bar.update()
            self._bar.set_postfix_str(f"loss {result.loss:.3f}", refresh=False)

    def epoch(self, result: StepResult, mean_loss: float, evaluation: Evaluation | None) -> None:
        """Show the end of an epoch."""
        elapsed = time.monotonic() - self._start
        speed = self._utterances / elapsed if elapsed else 0.0
        left = (self._left - self._done) * elapsed / self._done if self._done else 0.0
        watched = (
            f"  dev loss {evaluation.loss:.3f}  CER {100 * evaluation.errors.cer:.1f}%"
            f"  WER {100 * evaluation.errors.wer:.1f}%"
            if evaluation
            else ""
        )
        self.say(
            f"epoch {result.epoch + 1:3d}  step {result.step:5d}  loss {mean_loss:.3f}{watched}"
            f"  {speed:.0f} utterances/s  {_clock(left)} left"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
