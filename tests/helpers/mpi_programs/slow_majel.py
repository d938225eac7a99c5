"""`majel`, but from a step on each takes five seconds more: no run ends before it is disturbed.

slow_majel.py STEP ARGUMENTS
"""

from __future__ import annotations

import sys
import time
from typing import Any

from majelpy.cli import main
from majelpy.train.step import StepResult
from majelpy.train.trainer import Trainer


def dawdle(first: int) -> None:
    """Let the steps from that one on, counted from 0, take five seconds more."""
    advance = Trainer.advance

    def slowly(trainer: Trainer, *given: Any) -> StepResult:
        if trainer.step >= first:
            time.sleep(5)
        return advance(trainer, *given)

    Trainer.advance = slowly  # type: ignore[method-assign]


if __name__ == "__main__":
    dawdle(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
