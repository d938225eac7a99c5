"""Right: signals are heard at once, the last whole step is saved, and all is put back afterwards.

A main thread that does not come back to Python stands for a step of any length, so nothing here
depends on how busy the machine is, but for what Open MPI's mpirun leaves of time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from mpi_launch import environment, mpirun
from paths import PROGRAMS
from training import (
    Ground,
    assert_same,
    own_lines,
    processes_with,
    train,
    write_recipe,
)

from majelpy.cli import main
from majelpy.comm.world import World
from majelpy.memory.pool import pool
from majelpy.native import threads
from majelpy.recipes.launch import Launch
from majelpy.recipes.recipe import load
from majelpy.runs import checkpoint as checkpoints
from majelpy.train import signals
from majelpy.train.loop import Run
from majelpy.train.signals import ENDS, Interrupted, Watch, interrupting

pytest_plugins = ["training"]

STUCK = PROGRAMS / "stuck_majel.py"
PATIENCE = 60


def wait_for(found: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not found():
        assert time.monotonic() < end, f"no {what} after {PATIENCE} s"
        time.sleep(0.01)


class Stuck:
    """A running training that is stuck after some steps; killed at the end."""

    def __init__(
        self, folder: Path, recipe: Path, after: int, where: str = "gradient", ranks: int = 1
    ) -> None:
        self.out, self._said = folder / "run", folder / "said"
        words = [sys.executable, str(STUCK), "train", str(recipe), "--out", str(self.out)]
        launcher = [mpirun(), "-n", str(ranks)] if ranks > 1 else []
        stuck = {"STUCK_AFTER": str(after), "STUCK_IN": where, "OMP_NUM_THREADS": "1"}
        with self._said.open("w") as said:
            self.process = subprocess.Popen(
                [*launcher, *words], env=environment() | stuck, stdout=said, stderr=said
            )
        self._ranks = ranks

    @property
    def said(self) -> str:
        return self._said.read_text()

    def wait(self) -> None:
        """Return when all ranks are stuck."""
        wait_for(lambda: self.said.count("stuck") == self._ranks, f"stuck training: {self.said}")

    def rank(self, number: int) -> int:
        """The process of a rank."""
        wanted = f"OMPI_COMM_WORLD_RANK={number}".encode()
        for pid in processes_with(str(self.out)):
            if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                return pid
        raise AssertionError(f"no rank {number}")

    @property
    def saved(self) -> list[int]:
        return list(checkpoints.steps(self.out / "checkpoints"))

    @property
    def noted(self) -> int:
        """The last step in the ledger."""
        return int(json.loads((self.out / "ledger.jsonl").read_text().splitlines()[-1])["step"])


@contextmanager
def stuck(
    folder: Path, recipe: Path, after: int, where: str = "gradient", ranks: int = 1
) -> Iterator[Stuck]:
    started = Stuck(folder, recipe, after, where, ranks)
    try:
        started.wait()
        yield started
    finally:
        for pid in [started.process.pid, *processes_with(str(started.out))]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        started.process.wait()


@pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
def test_a_signal_saves_the_last_step_while_the_next_one_hangs(
    number: signal.Signals, ground: Ground, tmp_path: Path
) -> None:
    with stuck(tmp_path, ground.recipe, 3) as run:
        assert run.saved == []
        os.kill(run.process.pid, number)
        wait_for(lambda: run.saved == [3], "checkpoint of step 3")
        assert run.noted == 3
    if number == signal.SIGTERM:
        assert_same(train(ground.recipe, run.out), ground.undisturbed)


def test_a_signal_during_an_evaluation_saves_the_step_before(
    ground: Ground, tmp_path: Path
) -> None:
    with stuck(tmp_path, ground.recipe, 10, "evaluation") as run:
        assert run.noted == 9
        os.kill(run.process.pid, signal.SIGTERM)
        wait_for(lambda: run.saved == [9], "checkpoint of step 9")
    assert_same(train(ground.recipe, run.out), ground.undisturbed)


@pytest.mark.mpi
def test_ctrl_c_to_mpirun_loses_the_step_at_hand_alone(ground: Ground, tmp_path: Path) -> None:
    with stuck(tmp_path, ground.recipe, 4, ranks=2) as run:
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(PATIENCE) != 0
        wait_for(lambda: not processes_with(str(run.out)), "end of what saves")
        assert run.saved == [4]
        assert list(run.out.rglob(".*")) == []
    assert_same(train(ground.recipe, run.out), ground.undisturbed)


@pytest.mark.mpi
@pytest.mark.parametrize("way", ["", "hidden"])
def test_a_signal_to_another_rank_ends_the_world(way: str, ground: Ground, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "long.toml", ground.corpus, schedule__epochs=400)
    mesh = ["--mesh", "data=1,model=2", "--model-parallel", way] if way else []
    if way:
        recipe = write_recipe(
            tmp_path / "parts.toml", ground.corpus, schedule__epochs=400, model__parts=2,
            model__layers=[{"layer": "birnn", "units": 32}],
        )  # fmt: skip
    out, said = tmp_path / "run", tmp_path / "said"
    words = [sys.executable, "-m", "majelpy", "train", str(recipe), "--out", str(out), *mesh]
    with said.open("w") as file:
        process = subprocess.Popen(
            [mpirun(), "-n", "2", *words], env=environment() | {"OMP_NUM_THREADS": "1"},
            stdout=file, stderr=file,
        )  # fmt: skip
    try:
        ledger = out / "ledger.jsonl"
        wait_for(lambda: ledger.exists() and ledger.read_bytes().count(b"\n") > 2, "step")
        run = Stuck.__new__(Stuck)
        run.out = out
        os.kill(run.rank(1), signal.SIGTERM)
        assert process.wait(PATIENCE) == 130, said.read_text()
        (step, *_) = run.saved
        assert run.noted == step
        (line,) = own_lines(said.read_text())
        assert line.startswith("majel: rank 0 on ")
        assert line.endswith(
            f": SIGTERM on rank 1: saved after step {step}; the same command resumes"
        )
    finally:
        process.kill()
        process.wait()


def test_the_copy_of_a_state_is_its_own(ground: Ground) -> None:
    from majelpy.train.saving import _copied

    state = checkpoints.read(ground.undisturbed.folder / "checkpoints" / "step-30.h5")
    copy = _copied(state)
    assert copy.digest() == state.digest()
    for tensor in state.tensors.values():
        tensor[...] = 0
    assert copy.digest() != state.digest()


# --- in this process ------------------------------------------------------------------------------


def handlers() -> dict[int, object]:
    return {number: signal.getsignal(number) for number in ENDS}


def wakeup() -> int:
    found = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(found)
    return found


def surroundings() -> list[object]:
    return [handlers(), wakeup(), pool(), threads(), sys.stdin, sys.stdout, sys.stderr]


def test_a_training_from_python_leaves_all_as_it_was(ground: Ground, tmp_path: Path) -> None:
    before = surroundings()
    assert main(["train", str(ground.recipe), "--out", str(tmp_path / "a"), "--threads", "2"]) == 0
    run = Run(load(ground.recipe), Launch(threads=2), World.alone(), tmp_path / "b")
    run.open()
    assert run.train().digest == ground.undisturbed.fingerprint
    assert surroundings() == before


def test_a_training_in_another_thread(ground: Ground, tmp_path: Path) -> None:
    before = handlers()
    found: list[str | int] = []

    def work() -> None:
        run = Run(load(ground.recipe), Launch(threads=1), World.alone(), tmp_path / "a")
        run.open()
        found.append(run.train().digest)
        found.append(main(["train", str(ground.recipe), "--out", str(tmp_path / "b")]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [ground.undisturbed.fingerprint, 0]
    assert handlers() == before


def test_ctrl_c_from_python_is_a_keyboard_interrupt_that_has_saved(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from majelpy.train.trainer import Trainer

    gradient = Trainer._gradient

    def pressed(self: Trainer, *arguments: object) -> object:
        if self.step == 4:
            signal.raise_signal(signal.SIGINT)
            wait_for(lambda: False, "end of the step")  # it is left by the exception
        return gradient(self, *arguments)  # type: ignore[arg-type]

    before = handlers()
    monkeypatch.setattr(Trainer, "_gradient", pressed)
    run = Run(load(ground.recipe), Launch(), World.alone(), tmp_path)
    run.open()
    with pytest.raises(
        KeyboardInterrupt, match=r"^SIGINT: saved after step 4; the same command resumes$"
    ):
        run.train()
    assert handlers() == before
    monkeypatch.undo()
    again = Run(load(ground.recipe), Launch(), World.alone(), tmp_path)
    again.open()
    assert again.train().digest == ground.undisturbed.fingerprint


def test_what_is_ignored_stays_so() -> None:
    # As under nohup.
    heard: list[int] = []
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupting(), Watch(heard.append, Interrupted):
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGTERM)
            wait_for(lambda: heard, "signal")
        assert heard == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
def test_an_early_signal_is_an_exception(number: signal.Signals) -> None:
    before = handlers()
    by = "" if number == signal.SIGINT else f" by {number.name}"
    with pytest.raises(Interrupted, match=f"^interrupted{by}$"), interrupting():
        signal.raise_signal(number)
    assert handlers() == before


def test_a_signal_whose_exception_was_lost_is_not_forgotten() -> None:
    with interrupting():
        with suppress(BaseException):  # as foreign libraries do
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted, match="by SIGTERM"), Watch(lambda _: None, Interrupted):
            raise AssertionError("it is heard before that")
    with Watch(lambda _: None, Interrupted):
        pass


def test_what_the_actor_returns_is_raised_in_the_main_thread() -> None:
    def act(number: int) -> Interrupted:
        return Interrupted(f"{signal.Signals(number).name} it was")

    with pytest.raises(Interrupted, match="SIGTERM it was"), Watch(act, Interrupted):
        signal.raise_signal(signal.SIGTERM)
        wait_for(lambda: False, "exception")


def test_a_second_ctrl_c_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_AGAIN", 0.0)
    busy, free = threading.Event(), threading.Event()

    def act(number: int) -> None:
        busy.set()
        free.wait()

    try:
        watch = Watch(act, lambda: Interrupted("at once"))
        with pytest.raises(Interrupted, match="at once"), watch:
            signal.raise_signal(signal.SIGINT)
            busy.wait()
            signal.raise_signal(signal.SIGINT)
            wait_for(lambda: False, "exception")
    finally:
        free.set()


def test_a_ctrl_c_sent_twice_at_once_is_one() -> None:
    # As by a launcher that sends on what the terminal sends too.
    heard: list[int] = []
    with Watch(heard.append, lambda: Interrupted("at once")):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        wait_for(lambda: signal.SIGTERM in heard, "signal")
    assert set(heard) == {signal.SIGINT, signal.SIGTERM}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_during_the_start_is_a_line_and_130(
    number: signal.Signals, ground: Ground, tmp_path: Path
) -> None:
    program = (
        "import os, signal, sys, majelpy.cli.train as command\n"
        "from majelpy.__main__ import program\n"
        f"command.run = lambda options: os.kill(os.getpid(), {int(number)})\n"
        "sys.exit(program())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, "train", "digits", "--out", tmp_path / "run"],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    by = "" if number == signal.SIGINT else f" by {number.name}"
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", f"majel: interrupted{by}\n")
