"""The largest steps are computed before the first: memory is known then, and no bit changes."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tomli_w
from recordings import manifests
from training import (
    SYMBOLS,
    Ground,
    Inside,
    assert_same,
    done,
    majel,
    network,
    own_lines,
    settings,
    utterances,
    write_corpus,
    write_recipe,
)

from majelpy import tree
from majelpy.data import minibatches as leaves
from majelpy.data.loader import ReadAhead
from majelpy.data.utterances import Utterances
from majelpy.memory.pool import Pool
from majelpy.speech.joined import open_corpora
from majelpy.speech.prepare import prepare
from majelpy.train import loop, places, rehearsal
from majelpy.train.trainer import Trainer
from majelpy.wording import byte_size, read_byte_size

pytest_plugins = ["training"]

SAID = (
    r"rehearsed step (\d+), the largest to come with (\d+) frames on rank (\d+): at most (.+) of "
    r"the pool's (.+) are used at a time"
)


ROUNDED = 1.005
"""What three significant digits may leave out."""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe whose corpus has one utterance of 120 frames among some of 8 to 30."""
    folder = tmp_path_factory.mktemp("rehearsal")
    made = utterances(41)
    frames = np.random.default_rng(2).integers(-1, 2, (120, made[0][0].shape[1]))
    made[20] = (frames.astype(np.float32), SYMBOLS[1], "long")
    write_corpus(folder / "t.h5", made)
    return write_recipe(folder / "r.toml", folder / "t.h5", data__bin=100, data__holdout=4, seed=7)


def peaks(run: Path) -> list[int]:
    lines = (run / "timings.jsonl").read_text().splitlines()
    return [json.loads(line)["pool_peak_bytes"] for line in lines]


def rehearsed(stderr: str) -> list[int]:
    """Step, frames, rank, peak and capacity of the line on it; the last two are rounded."""
    (found,) = re.findall(SAID, stderr)
    return [read_byte_size(number) for number in found]


def test_the_pool_is_as_full_before_the_first_step_as_at_the_end(
    recipe: Path, tmp_path: Path, inside: Inside
) -> None:
    said = inside("train", recipe, "--out", tmp_path / "run", "--no-prefetch")
    assert said.code == 0, said.err
    step, frames, rank, peak, _ = rehearsed(said.err)
    assert step > 2, "a run without the rehearsal begins with short utterances"
    assert frames > 120 and rank == 0
    (of_run,) = set(peaks(tmp_path / "run"))
    assert byte_size(of_run) == byte_size(peak)


@pytest.mark.parametrize("ranks", [1, pytest.param(3, marks=pytest.mark.mpi)])
def test_reading_ahead_takes_no_more(ranks: int, recipe: Path, tmp_path: Path) -> None:
    ended = majel("train", recipe, "--out", tmp_path / "run", "--cache-bytes", "0", ranks=ranks)
    assert ended.returncode == 0, ended.stderr
    (first, *_, last) = peaks(tmp_path / "run")
    assert first == last <= rehearsed(ended.stderr)[3] * ROUNDED


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of samples."""
    folder = tmp_path_factory.mktemp("sounds")
    spoken, _ = manifests(folder)
    prepare(spoken, folder / "samples.h5", kind="samples")
    return folder / "samples.h5"


def augmented(sounds: Path, path: Path, batch: int, **augment: list[float]) -> Path:
    """A recipe that changes sound."""
    table = settings(sounds, data__batch=batch, data__holdout=0)
    path.write_text(tomli_w.dumps(table | {"augment": augment}))
    return path


class Turns:
    """While a step is computed, each reader stands at the begin of a function, as if it were slow.

    They go on while the thread that trains takes a minibatch.
    """

    def __init__(self, patched: pytest.MonkeyPatch, function: str) -> None:
        self.stood = 0
        self._standing, self._open, self._changed = 0, True, threading.Condition()
        take, gradient, called = ReadAhead.take, Trainer._gradient, getattr(Utterances, function)

        def stand(data: Utterances, *arguments: Any) -> np.ndarray:
            if threading.current_thread() is not threading.main_thread():
                with self._changed:
                    self._standing, self.stood = self._standing + 1, self.stood + 1
                    self._changed.notify_all()
                    assert self._changed.wait_for(lambda: self._open, 60)
                    self._standing -= 1
            found: np.ndarray = called(data, *arguments)
            return found

        def taken(loader: ReadAhead[Any], *arguments: int) -> Any:
            self._let(True)
            found = take(loader, *arguments)
            self._let(False)
            return found

        def computed(trainer: Trainer, *arguments: Any) -> Any:
            readings = [done for _, done in trainer._ahead._coming.values()]
            with self._changed:
                left = lambda: sum(not done.done() for done in readings)  # noqa: E731
                while self._standing < left():  # the last may end without a word
                    self._changed.wait(0.01)
            return gradient(trainer, *arguments)

        patched.setattr(Utterances, function, stand)
        patched.setattr(ReadAhead, "take", taken)
        patched.setattr(Trainer, "_gradient", computed)

    def _let(self, go: bool) -> None:
        with self._changed:
            self._open = go
            self._changed.notify_all()


def test_when_readers_read_changes_no_peak(
    sounds: Path, tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They hold nothing, or all that an utterance takes; and the run is rehearsed in pieces."""
    monkeypatch.setattr(rehearsal, "EPOCHS", 4)
    recipe = augmented(sounds, tmp_path / "r.toml", 1, gain_decibels=[-6.0, 6.0])
    found = []
    for function in ("_frames_in", "_normalised"):
        out = tmp_path / function
        rehearsals: list[int] = []
        with pytest.MonkeyPatch.context() as patched:
            turns = Turns(patched, function)
            patched.setattr(loop, "rehearse", noting(rehearsals))
            said = inside("train", recipe, "--out", out, "--prefetch", "4")
        assert said.code == 0, said.err
        assert turns.stood > 20 and len(rehearsals) == 2
        assert set(peaks(out)) == set(rehearsals)
        found.append((rehearsals, peaks(out)))
    assert found[0] == found[1]


def noting(peaks: list[int]) -> Callable[..., rehearsal.Rehearsed]:
    """The rehearsal, which notes each peak."""
    rehearse = rehearsal.rehearse

    def noted(*arguments: Any) -> rehearsal.Rehearsed:
        found = rehearse(*arguments)
        peaks.append(found.peak)
        return found

    return noted


def layers(listed: list[dict[str, Any]]) -> str:
    """A list of layers as --set takes it."""
    return f"model.layers={json.dumps(listed)}".replace(": ", " = ")


@pytest.mark.mpi
@pytest.mark.parametrize("way", ["time", "directions", "hidden"])
def test_on_ranks_that_share_a_model(way: str, recipe: Path, tmp_path: Path) -> None:
    options = [
        *("--mesh", "model=2", "--model-parallel", way, "--no-prefetch", "--steps", "6"),
        *("--set", "model.parts=2", "--set", layers(network([32], 32, 32))),
    ]
    ended = majel("train", recipe, "--out", tmp_path / "run", *options, ranks=2)
    assert ended.returncode == 0, ended.stderr
    first, *_, last = peaks(tmp_path / "run")
    assert last <= 1.01 * first, "but for small arrays that count utterances"


@pytest.mark.parametrize("ranks", [1, pytest.param(3, marks=pytest.mark.mpi)])
def test_slow_speeds_take_no_more(ranks: int, sounds: Path, tmp_path: Path) -> None:
    """One speed in three makes an utterance twice as long; no step is as large as rehearsed."""
    recipe = augmented(sounds, tmp_path / "r.toml", 4, speeds=[0.5, 1.0, 2.0])
    ended = majel("train", recipe, "--out", tmp_path / "run", ranks=ranks)
    assert ended.returncode == 0, ended.stderr
    (first, *_, last) = peaks(tmp_path / "run")
    _, frames, _, peak, _ = rehearsed(ended.stderr)
    assert first == last <= peak * ROUNDED
    with open_corpora(str(sounds)) as corpus:
        assert frames > 4 * corpus.lengths.max() / ranks, "only a slow minibatch has as many"


def test_it_changes_no_bit(
    ground: Ground, tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = rehearsal.Rehearsed(0, 0, 0, 0, 0, until=1 << 40)
    monkeypatch.setattr(loop, "rehearse", lambda *_: none)
    said = inside("train", ground.recipe, "--out", tmp_path)
    assert f"\n{none}\n" in said.err
    assert_same(done(tmp_path, said.out), ground.undisturbed)


def test_a_long_run_is_rehearsed_piece_by_piece(
    ground: Ground, tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "EPOCHS", 2)
    said = inside("train", ground.recipe, "--out", tmp_path)
    found = [int(step) for step, *_ in re.findall(SAID, said.err)]
    assert [(step - 1) // 10 for step in found] == [0, 1, 2], "5 steps an epoch"
    assert_same(done(tmp_path, said.out), ground.undisturbed)


def test_millions_of_epochs_begin_at_once(
    ground: Ground, tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    minibatches = leaves.minibatches

    def counted(*arguments: Any, epoch: int, **named: Any) -> list[np.ndarray]:
        asked.append(epoch)
        return minibatches(*arguments, epoch=epoch, **named)

    monkeypatch.setattr(leaves, "minibatches", counted)
    options = ["--set", "schedule.epochs=10000000", "--steps", "1"]
    assert inside("train", ground.recipe, "--out", tmp_path, *options).code == 0
    assert max(asked) == rehearsal.EPOCHS - 1 and len(asked) < 2 * rehearsal.EPOCHS


@pytest.mark.parametrize("at", [0, 7, 29])
@pytest.mark.parametrize("ranks", [1, 3, 8])
@pytest.mark.parametrize("stretch", [0, 90])
def test_the_step_with_most_frames_is_found(at: int, ranks: int, stretch: int) -> None:
    dice = np.random.default_rng(at)
    lengths = dice.integers(8, 200, 50)
    longest = lengths + dice.integers(0, stretch + 1, 50)
    batches = [
        members
        for epoch in range(5)
        for members in leaves.minibatches(lengths, 8, 3, seed=1, epoch=epoch)
    ]
    for rank in range(ranks):
        first, last = tree.leaf_range(8, ranks, rank)
        trainer: Any = SimpleNamespace(
            step=at, members=batches.__getitem__,
            data=SimpleNamespace(lengths=lengths, longest=longest),
            team=SimpleNamespace(leaves=(first, last)),
            recipe=SimpleNamespace(data=SimpleNamespace(leaves=8)),
        )  # fmt: skip
        sums = [
            sum(int(longest[leaf].sum()) for leaf in leaves.cut(members, lengths, 8)[first:last])
            for members in batches
        ]
        step, frames = rehearsal.most_frames(trainer, len(batches))
        assert frames == sums[step] == max(sums[at:]) and step >= at


def test_without_the_memory_it_ends_at_the_start(
    recipe: Path, tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools: list[Pool] = []
    take = places.take_pool

    def watched(*arguments: Any) -> Pool:
        pools.append(take(*arguments))
        return pools[-1]

    monkeypatch.setattr(places, "take_pool", watched)
    wide = ["--no-prefetch", "--set", layers(network([256, 256], 128))]
    said = inside("train", recipe, "--out", tmp_path / "whole", "--steps", "1", *wide)
    step, frames, *_ = rehearsed(said.err)
    stats = pools[0].statistics
    monkeypatch.setattr(rehearsal, "free_bytes", lambda: 1 << 20)

    said = inside("train", recipe, "--out", tmp_path / "run", *wide)
    assert (said.code, said.out) == (2, "")
    (line,) = own_lines(said.err)
    found = re.fullmatch(
        rf"majel train: step {step} computes {frames} frames on rank 0, which needs about (.+) "
        r"besides (.+) in use; \S+ needs \1 of ordinary memory for 1 rank, and 1 MiB are free; "
        rf"{re.escape(rehearsal._REMEDY)}",
        line,
    )
    assert found, line
    needed, used = (read_byte_size(number) for number in found.groups())
    assert 0.9 < (stats.asked_peak - used) / needed < 1.1
    assert (tmp_path / "run" / "ledger.jsonl").read_text() == ""


def test_a_pool_and_fallback_that_cannot_hold_it(
    recipe: Path, tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = lambda *a, **k: Pool(*a, **k, limit=300_000)  # noqa: E731
    monkeypatch.setattr(places, "Pool", limited)
    said = inside("train", recipe, "--out", tmp_path / "run", "--no-prefetch")
    assert (said.code, said.out) == (2, "")
    (line,) = own_lines(said.err)
    assert re.match(r"majel train: step \d+ computes \d+ frames on rank 0, which needs about", line)
    assert rehearsal._REMEDY in line and "would pass the limit" in line
    assert (tmp_path / "run" / "ledger.jsonl").read_text() == ""
    # No step was done, so that the folder takes the mended recipe.
    monkeypatch.setattr(places, "Pool", Pool)
    words = ("--set", "data.batch=2", "--steps", "1")
    said = inside("train", recipe, "--out", tmp_path / "run", *words)
    assert said.code == 0, said.err
    assert "batch = 2\n" in (tmp_path / "run" / "recipe.toml").read_text()
