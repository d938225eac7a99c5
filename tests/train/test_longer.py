"""A run that is trained longer has the same bits as one that was to be so long from the start."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from training import STEPS, Done, Ground, Inside, assert_same, done, majel, own_lines

pytest_plugins = ["training"]

EACH = 5
"""Steps of an epoch of the tiny recipe."""


def run(inside: Inside, ground: Ground, folder: Path, *options: str) -> tuple[Done, str]:
    words = [word for option in options for word in ("--set", f"schedule.{option}")]
    said = inside("train", ground.recipe, "--out", folder, *words)
    assert said.code == 0, said.err
    return done(folder, said.out), said.err


@pytest.fixture(scope="module")
def longer(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The run of 8 epochs that nothing disturbed."""
    folder = tmp_path_factory.mktemp("longer") / "run"
    ended = majel("train", ground.recipe, "--out", folder, "--set", "schedule.epochs=8")
    assert ended.returncode == 0, ended.stderr
    return done(folder, ended.stdout)


@pytest.fixture
def finished(ground: Ground, tmp_path: Path) -> Path:
    """A copy of the run of 6 epochs."""
    return Path(shutil.copytree(ground.undisturbed.folder, tmp_path / "run"))


def assert_all_same(found: Done, expected: Done) -> None:
    """Also the checkpoint at the end, and what is said to have trained the run."""
    assert_same(found, expected)
    for name in ("checkpoints/step-40.h5", "checkpoints/best.h5", "content.json", "recipe.toml"):
        assert (found.folder / name).read_bytes() == (expected.folder / name).read_bytes(), name


def test_a_finished_run_goes_on(
    ground: Ground, finished: Path, longer: Done, inside: Inside
) -> None:
    found, said = run(inside, ground, finished, "epochs=8")
    change = "schedule.epochs is 6 (before) and 8 (now)"
    assert own_lines(said) == [f"majel train: the same run to another end: {change}"]
    assert f"resuming after step {STEPS} of 40" in said
    assert_all_same(found, longer)
    (note,) = map(json.loads, (finished / "history.jsonl").read_text().splitlines())
    fingerprint = ground.undisturbed.fingerprint
    assert note == {"step": STEPS, "what": change, "fingerprint": fingerprint}
    same = inside("compare", finished, longer.folder)
    assert (same.code, same.out.count("\n")) == (0, 1)


def test_an_unfinished_run_goes_on(
    ground: Ground, longer: Done, tmp_path: Path, inside: Inside
) -> None:
    inside("train", ground.recipe, "--out", tmp_path, "--steps", "12")
    assert_all_same(run(inside, ground, tmp_path, "epochs=8")[0], longer)


@pytest.mark.mpi
def test_on_other_ranks(ground: Ground, finished: Path, longer: Done) -> None:
    words = ("train", ground.recipe, "--out", finished, "--set", "schedule.epochs=8")
    ended = majel(*words, ranks=3)
    assert ended.returncode == 0, ended.stderr
    assert_all_same(done(finished, ended.stdout), longer)


def test_in_two_pieces_that_were_stopped(
    ground: Ground, finished: Path, longer: Done, inside: Inside
) -> None:
    words = ("train", ground.recipe, "--out", finished, "--set")
    assert inside(*words, "schedule.epochs=7", "--steps", "33").code == 0
    assert not (finished / "fingerprint").exists()
    assert inside(*words, "schedule.epochs=9", "--steps", "34").code == 0
    assert_all_same(run(inside, ground, finished, "epochs=8")[0], longer)
    notes = [json.loads(line) for line in (finished / "history.jsonl").read_text().splitlines()]
    assert [note["step"] for note in notes] == [30, 33, 34]


def test_with_an_average_of_the_last_epochs(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    """Of the checkpoints that the average is of, one lies before the old end."""
    other = run(inside, ground, tmp_path / "other", "average=3", "epochs=8")[0]
    run(inside, ground, tmp_path / "run", "average=3")
    found, _ = run(inside, ground, tmp_path / "run", "average=3", "epochs=8")
    assert_all_same(found, other)
    words = ("--checkpoint", "average", "--json")
    scores = [inside("eval", f, ground.corpus, *words) for f in (found.folder, other.folder)]
    assert scores[0].code == 0
    assert scores[0].out == scores[1].out


def test_a_run_that_stopped_early_waits_longer(
    ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    # Nothing improves at a rate of 0, so that the fifth epoch is the second to be waited for.
    still = ("hold=3", "kind=plateau", "anneal=0")
    options = [word for s in still for word in ("--set", f"schedule.{s}")]
    options += ["--set", "optimizer.rate=0"]

    def trained(folder: str, *ends: str) -> tuple[Done, str]:
        words = [word for end in ends for word in ("--set", f"schedule.{end}")]
        said = inside("train", ground.recipe, "--out", tmp_path / folder, *options, *words)
        assert said.code == 0, said.err
        return done(tmp_path / folder, said.out), said.err

    first, said = trained("run", "early_stop=2")
    assert len(first.ledger.splitlines()) == 5 * EACH
    assert "stopped: 2 epochs without" in said
    # More epochs alone change nothing, and it says why.
    found, said = trained("run", "early_stop=2", "epochs=8")
    assert found.ledger == first.ledger
    assert "stopped: 2 epochs without" in said
    assert (found.folder / "fingerprint").exists()
    # To wait longer does.
    found, _ = trained("run", "early_stop=4", "epochs=8")
    assert len(found.ledger.splitlines()) == 7 * EACH
    assert_same(found, trained("other", "early_stop=4", "epochs=8")[0])
    # Not to wait so long is another recipe, for it might have had to stop already.
    words = ("--set", "schedule.early_stop=3", "--set", "schedule.epochs=8")
    said_now = inside("train", ground.recipe, "--out", tmp_path / "run", *options, *words)
    assert said_now.code == 2
    assert "schedule.early_stop is 4 (saved) and 3 (requested)" in said_now.err


def test_fewer_epochs_than_were_trained_are_refused(
    ground: Ground, finished: Path, inside: Inside
) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    said = inside("train", ground.recipe, "--out", finished, "--set", "schedule.epochs=5")
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        "majel train: 30 steps trained, and schedule.epochs = 5 makes 25; needs schedule.epochs of "
        "at least 6, or another --out\n"
    )
    assert before == {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}


@pytest.mark.mpi
def test_fewer_epochs_are_refused_on_2_ranks(ground: Ground, finished: Path) -> None:
    words = ("train", ground.recipe, "--out", finished, "--set", "schedule.epochs=5")
    ended = majel(*words, ranks=2)
    assert ended.returncode == 2
    (line,) = own_lines(ended.stderr)
    assert "train: 30 steps trained, and schedule.epochs = 5 makes 25" in line


def test_fewer_epochs_than_before_end_it_sooner(
    ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    inside("train", ground.recipe, "--out", tmp_path / "run", "--steps", "12")
    found, _ = run(inside, ground, tmp_path / "run", "epochs=3")
    assert_same(found, run(inside, ground, tmp_path / "other", "epochs=3")[0])
    assert len(found.ledger.splitlines()) == 3 * EACH


def test_another_past_is_refused(ground: Ground, finished: Path, inside: Inside) -> None:
    words = ("--set", "schedule.epochs=8", "--set", "schedule.hold=4")
    said = inside("train", ground.recipe, "--out", finished, *words)
    assert said.code == 2
    assert said.err == (
        f"majel train: run folder {finished} belongs to another recipe: schedule.hold is 3 (saved) "
        "and 4 (requested); give another --out\n"
    )


def test_runs_of_different_length_are_not_the_same(
    ground: Ground, longer: Done, inside: Inside
) -> None:
    said = inside("compare", ground.undisturbed.folder, longer.folder)
    assert said.code == 1
    assert said.out == (
        "compare: the recipes differ: schedule.epochs is 6 (A) and 8 (B)\n"
        "compare: the same bits as far as both go, though the recipes differ: 30 steps of the "
        "ledgers; A ends at step 30, B at step 40\n"
    )
