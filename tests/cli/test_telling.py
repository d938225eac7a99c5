"""Right: what is said of work at hand, when, and how often."""

from __future__ import annotations

import numpy as np
import pytest

from majelpy import telling
from majelpy.telling import Telling
from majelpy.train.progress import Progress, diverges
from majelpy.train.step import StepResult


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(telling, "time", found)
    return found


def result(step: int, loss: float = 12.5, utterances: int = 8, frames: int = 800) -> StepResult:
    one = np.float32(1)
    return StepResult(step, (step - 1) // 50, np.float32(loss), one, one, utterances, frames)


def lines(capfd: pytest.CaptureFixture[str]) -> list[str]:
    captured = capfd.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_a_line_now_and_then(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    with Telling("prepare", "utterance", 100) as told:
        for _ in range(40):
            clock.now += 1
            told.done()
    assert lines(capfd) == [
        "prepare: 10 of 100 utterances, 1:30 left",
        "prepare: 20 of 100 utterances, 1:20 left",
        "prepare: 30 of 100 utterances, 1:10 left",
        "prepare: 40 of 100 utterances, 1:00 left",
    ]


def test_short_work_and_other_ranks_say_nothing(
    clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    for shown, seconds in ((True, 9.9), (False, 60)):
        with Telling("tune", "search", 3, "searches", shown=shown) as told:
            clock.now += seconds
            told.done(3)
    assert lines(capfd) == []


def test_where_the_end_is_not_known(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    with Telling("lm", "line") as told:
        for _ in range(2):
            clock.now += 10
            told.done()
    assert lines(capfd) == ["lm: 1 line", "lm: 2 lines"]


def test_steps_within_an_epoch(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    with Progress(shown=True, steps=100, done=40, labels=29) as progress:
        clock.now += 500  # the rehearsal
        progress.begin()
        for step in range(41, 53):
            clock.now += 4
            ends = step == 50
            progress.step(result(step), ends_epoch=ends)
            if ends:
                progress.epoch(result(step), 11.25, None)
    assert lines(capfd) == [
        "epoch   1  step    43  loss 12.500  2 utterances/s  3:48 left",
        "epoch   1  step    46  loss 12.500  2 utterances/s  3:36 left",
        "epoch   1  step    49  loss 12.500  2 utterances/s  3:24 left",
        "epoch   1  step    50  loss 11.250  2 utterances/s  3:20 left",
    ]


def test_a_training_that_diverges_is_told_once(
    clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    with Progress(shown=True, steps=100, done=0, labels=29) as progress:
        progress.step(result(1, 3000))  # 100 frames an utterance, log(29) is 3.367
        progress.step(result(2, np.inf))
        for step in (3, 4):
            progress.step(result(step, 7187068125259507926601790383980544.0))
        clock.now += 20
        progress.step(result(5, 7187068125259507926601790383980544.0))
    assert lines(capfd) == [
        "the training diverges: the loss of step 3, 7.19e+33, is more than 10 times that of a "
        "blind guess; begin another run with a lower optimizer.rate, a longer schedule.warmup or a "
        "lower optimizer.norm_limit (docs/troubleshooting.md)",
        "epoch   1  step     5  loss 7.19e+33  2 utterances/s  6:20 left",
    ]


def test_what_diverges() -> None:
    assert not diverges(result(1, 3367.0), labels=29)
    assert diverges(result(1, 3368.0), labels=29)
    assert not diverges(result(1, np.nan), labels=29)
    assert not diverges(result(1, np.inf), labels=29)
