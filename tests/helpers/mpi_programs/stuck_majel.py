"""The program `majel`, stuck for ever once it has done some steps, as in a long kernel.

STUCK_AFTER=N: after so many; STUCK_IN: where, ``gradient`` or ``evaluation``. The main thread is
then in a call that no signal interrupts, so that Python cannot run a handler.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from majelpy.__main__ import program
from majelpy.recognition import evaluate
from majelpy.train.trainer import Trainer

AFTER = int(os.environ["STUCK_AFTER"])
gradient, evaluation = Trainer._gradient, evaluate.evaluate
done = 0


def stick() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))  # of this thread alone
    print("stuck", file=sys.stderr, flush=True)
    ctypes.CDLL(None).sleep(600)


def stuck_gradient(self: Trainer, *arguments: Any) -> Any:
    if self.step == AFTER:
        stick()
    return gradient(self, *arguments)


def stuck_evaluation(*arguments: Any, **options: Any) -> Any:
    global done
    done += 1
    if done == AFTER // 5:  # an epoch has five steps
        stick()
    return evaluation(*arguments, **options)


places: dict[str, Callable[[], None]] = {
    "gradient": lambda: setattr(Trainer, "_gradient", stuck_gradient),
    "evaluation": lambda: setattr(evaluate, "evaluate", stuck_evaluation),
}
places[os.environ["STUCK_IN"]]()
sys.exit(program())
