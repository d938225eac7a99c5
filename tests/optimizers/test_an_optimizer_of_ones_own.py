"""Right and same: the optimizer that docs/training.md shows works as it stands there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import sgd_majel
from makers import level_data, same_bits
from mpi_launch import environment
from paths import PROGRAMS
from training import Done, Ground, assert_same, command, done, write_recipe

from majelpy.array import asarray
from majelpy.memory import CPU
from majelpy.optimizers import OPTIMIZERS

pytest_plugins = ["training"]

MAJEL = (sys.executable, str(PROGRAMS / "sgd_majel.py"))


@pytest.fixture
def recipe(ground: Ground, tmp_path: Path) -> Path:
    return write_recipe(tmp_path / "sgd.toml", ground.corpus, optimizer__kind="sgd")


def train(recipe: Path, out: Path, *options: str, ranks: int = 1) -> Done:
    words = command("train", recipe, "--out", out, *options, ranks=ranks, program=MAJEL)
    ended = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return done(out, ended.stdout)


def test_a_step_is_its_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("majelpy.optimizers.OPTIMIZERS", dict(OPTIMIZERS))
    monkeypatch.setattr(sgd_majel, "OPTIMIZERS", {})
    kind = sgd_majel.example().Sgd
    settings = SimpleNamespace(decay=0.25, own=None)
    before, gradient = level_data(100, 1), level_data(100, 2)
    parameters = asarray(before.copy())
    factor, rate = (np.array([v], np.float32) for v in (0.7, 0.01))
    kind(settings, 100, CPU).update(
        parameters, asarray(gradient), 1, factor=asarray(factor), rate=asarray(rate)
    )
    g = gradient * factor + before * np.float32(0.25)  # NumPy rounds each operation, as we do
    assert same_bits(parameters.numpy(), before - rate * g)


@pytest.mark.mpi
def test_it_trains_to_the_same_bits_on_more_ranks_and_resumed(recipe: Path, tmp_path: Path) -> None:
    alone = train(recipe, tmp_path / "alone")
    losses = [json.loads(line)["loss"] for line in alone.ledger.splitlines()]
    assert losses[-1] < losses[0]
    assert_same(train(recipe, tmp_path / "two", ranks=2), alone)
    train(recipe, tmp_path / "resumed", "--steps", "3", ranks=3)
    assert_same(train(recipe, tmp_path / "resumed"), alone)
