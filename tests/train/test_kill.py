"""Killed at any moment, a run goes on to the same bits.

The moments are drawn from a seed that each test prints; `MAJELPY_KILL_SEED` sets another.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from extras import extra
from killing import Started, draw, kill, newest_step, no_orphans, start
from mpi_launch import mpirun
from training import (
    Done,
    Ground,
    assert_same,
    done,
    own_lines,
    processes_with,
    train,
    write_recipe,
)

from majelpy.runs import checkpoint as checkpoints

pytest_plugins = ["training"]
pytestmark = pytest.mark.slow

EPOCHS = 60
STEPS = 5 * EPOCHS


@pytest.fixture(scope="module")
def recipe(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A longer recipe, so that a kill meets training."""
    folder = tmp_path_factory.mktemp("kill")
    return write_recipe(folder / "long.toml", ground.corpus, schedule__epochs=EPOCHS)


@pytest.fixture(scope="module")
def undisturbed(recipe: Path) -> Done:
    """The run of that recipe that nothing disturbs."""
    return train(recipe, recipe.parent / "undisturbed")


@pytest.mark.mpi
@pytest.mark.parametrize("kills", [4, *extra(10)])
def test_killed_so_often_in_a_row(
    kills: int, recipe: Path, undisturbed: Done, tmp_path: Path
) -> None:
    dice = draw(f"kill {kills}")
    mpirun()
    out = tmp_path / "run"
    hits = 0
    with no_orphans(out):
        for attempt in range(kills):
            ranks = dice.randint(1, 5)
            before = newest_step(out)
            started = start(tmp_path, recipe, out, ranks, "--checkpoint-seconds", "0")
            if attempt % 5 != 3:  # else before the first step, or about there
                started.wait_for_step(before + dice.randint(1, 15))
            time.sleep(dice.uniform(0, 0.04))
            assert started.process.poll() is None, f"ended before the kill: {started.stderr}"
            victims = {
                "a rank": [dice.choice(started.rank_processes())],
                "all": [started.process.pid, *started.rank_processes()],
                "mpirun": [started.process.pid],
            }
            kind = dice.choice(list(victims))
            for pid in victims[kind]:
                kill(pid)
            code = started.wait()
            after = newest_step(out)
            print(
                f"kill {attempt}: {kind} of {ranks} ranks, steps {before} to {after}, exit {code}"
            )
            assert code != 0
            assert not (out / "fingerprint").exists()
            hits += after > before
        assert hits >= kills // 2, "too few kills met training"
        assert newest_step(out) < STEPS
        ranks = dice.randint(1, 5)
        started = start(tmp_path, recipe, out, ranks, steps=STEPS)
        assert started.wait() == 0, started.stderr
        assert "resuming after step" in started.stderr
    assert_same(done(out, started.stdout), undisturbed)
    assert list(out.rglob(".*")) == []
    assert list(out.rglob("*-[0-9]")) == []


@pytest.mark.mpi
def test_a_killed_rank_ends_the_world_within_seconds(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with no_orphans(out):
        began = time.monotonic()
        started = start(tmp_path, recipe, out, 3)
        started.wait_for_step(3)
        took = time.monotonic() - began  # more on a busy machine
        kill(started.rank_processes()[1])
        began = time.monotonic()
        assert started.wait() != 0
        assert time.monotonic() - began < 10 + 5 * took


def saved_step(out: Path) -> int:
    return next(checkpoints.steps(out / "checkpoints"))


def check_saved(started: Started, name: str, *, heard: bool = True) -> None:
    end = time.monotonic() + 30  # what saves outlives mpirun
    while processes_with(str(started.out)):
        assert time.monotonic() < end
        time.sleep(0.01)
    step = saved_step(started.out)
    assert 3 <= step < STEPS
    assert newest_step(started.out) == step
    assert "Traceback" not in started.stderr
    assert started.stdout == ""
    if not heard:
        return
    said = own_lines(started.stderr)
    assert len(said) == 1, started.stderr
    assert said[0].startswith("majel: ")
    assert said[0].endswith(f"{name}: saved after step {step}; the same command resumes")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_saves_and_ends(
    number: signal.Signals, recipe: Path, undisturbed: Done, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with no_orphans(out):
        started = start(tmp_path, recipe, out, 1)
        started.wait_for_step(3)
        started.process.send_signal(number)
        assert started.wait() == 130
        check_saved(started, number.name)
        assert_same(train(recipe, out), undisturbed)


@pytest.mark.mpi
@pytest.mark.parametrize("to", ["mpirun", "ranks"])
def test_a_signal_under_mpirun(to: str, recipe: Path, undisturbed: Done, tmp_path: Path) -> None:
    # SLURM signals the ranks themselves; a person or a batch script signals mpirun.
    out = tmp_path / "run"
    with no_orphans(out):
        started = start(tmp_path, recipe, out, 3)
        started.wait_for_step(3)
        for pid in [started.process.pid] if to == "mpirun" else started.rank_processes():
            os.kill(pid, signal.SIGTERM)
        assert started.wait() != 0
        # Open MPI's mpirun passes on no more output once it has a signal itself.
        check_saved(started, "SIGTERM", heard=to == "ranks")
        assert_same(train(recipe, out, ranks=2), undisturbed)


def test_two_processes_do_not_train_in_one_folder(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with no_orphans(out):
        first = start(tmp_path, recipe, out, 1)
        (tmp_path / "second").mkdir()
        second = Started(tmp_path / "second", recipe, out, 1)
        assert second.wait() == 2
        assert first.process.poll() is None, "the first ended too soon"
        assert second.stderr == (
            f"majel train: run folder {out}: another process is training in it; "
            "wait or end that one\n"
        )
        kill(first.process.pid)
        first.wait()
