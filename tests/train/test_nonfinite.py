"""Steps whose loss or gradient is not finite: named, kept, skipped or the end, on any layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from extras import extra
from training import (
    Done,
    Inside,
    assert_same,
    done,
    majel,
    network,
    own_lines,
    train,
    utterances,
    write_corpus,
    write_recipe,
)

from majelpy.data.minibatches import hold_out
from majelpy.runs import checkpoint as checkpoints

pytest_plugins = ["training"]

BAD = f"utterance-{hold_out(40, 8, seed=3)[0][20]}"
"""An utterance that is trained on."""

PARTS = {
    "model__parts": 2, "model__layers": network([32], 32, 32),
}  # fmt: skip


def corpus_with(path: Path, value: float) -> Path:
    """The tiny corpus with that value in one place of `BAD`."""
    made = utterances()
    next(frames for frames, _, name in made if name == BAD)[2, 3] = value
    write_corpus(path, made)
    return path


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]


def failed(run: Path, step: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "failed" / f"step-{step}.json").read_text())
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nonfinite")


@pytest.fixture(scope="module")
def recipe(folder: Path) -> Path:
    """Skips what is not finite, in a corpus where one utterance holds a NaN."""
    corpus = corpus_with(folder / "nan.h5", np.nan)
    return write_recipe(folder / "skip.toml", corpus, optimizer__non_finite="skip")


@pytest.fixture(scope="module")
def skipped(folder: Path, recipe: Path) -> Done:
    """The run of that recipe that nothing disturbed."""
    return train(recipe, folder / "skipped")


def test_a_skipped_step_is_noted_and_its_utterance_named(skipped: Done) -> None:
    entries = lines(skipped.folder)
    assert [entry["step"] for entry in entries] == list(range(1, 31))
    noted = [entry for entry in entries if entry.get("skipped")]
    assert len(noted) == 6, "once an epoch"
    assert [entry["epoch"] for entry in noted] == list(range(6))
    for entry in noted:
        assert entry["loss"] is None and entry["loss_hex"] == entry["norm_hex"] == "nan"
        kept = failed(skipped.folder, entry["step"])
        assert kept["loss_hex"] == kept["norm_hex"] == "nan"
        assert float.fromhex(kept["rate_hex"]) == np.float32(entry["rate"])
        losses = {u["name"]: float.fromhex(u["loss_hex"]) for u in kept["utterances"]}
        assert [name for name, loss in losses.items() if not np.isfinite(loss)] == [BAD]
    for entry in entries:
        if not entry.get("skipped"):
            assert np.isfinite(float.fromhex(entry["loss_hex"]))
            assert not (skipped.folder / "failed" / f"step-{entry['step']}.json").exists()


def test_a_skipped_step_leaves_parameters_and_velocities_as_they_were(
    skipped: Done, recipe: Path, tmp_path: Path, inside: Inside
) -> None:
    first = next(entry["step"] for entry in lines(skipped.folder) if entry.get("skipped"))
    options = ["--steps", str(first + 1), "--checkpoint-seconds", "0"]
    said = inside("train", recipe, "--out", tmp_path / "run", *options)
    assert said.code == 0, said.err
    assert said.err.count("skipped step") == 1
    assert f"skipped step {first}: loss nan and gradient norm nan; no finite loss " in said.err
    assert f"utterances: {BAD!r}\n" in said.err
    before, after, next_one = (
        checkpoints.read(tmp_path / "run" / "checkpoints" / f"step-{first + i}.h5")
        for i in (-1, 0, 1)
    )
    assert before.tensors.keys() == after.tensors.keys()
    for name, tensor in before.tensors.items():
        assert np.array_equal(tensor.view(np.uint32), after.tensors[name].view(np.uint32)), name
        assert np.isfinite(next_one.tensors[name]).all()
    assert (before.description["skipped"], after.description["skipped"]) == (0, 1)


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [3, *extra(2)])
def test_the_same_on_other_ranks(ranks: int, skipped: Done, recipe: Path, tmp_path: Path) -> None:
    found = train(recipe, tmp_path / "run", ranks=ranks)
    assert_same(found, skipped)
    assert record_files(found.folder) == record_files(skipped.folder)


def record_files(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run / "failed").iterdir())}


@pytest.mark.mpi
@pytest.mark.parametrize("way", ["hidden", *extra("time", "directions")])
def test_the_same_on_ranks_that_share_a_model(way: str, folder: Path, tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path / "r.toml", corpus_with(folder / "nan.h5", np.nan),
        optimizer__non_finite="skip", schedule__epochs=2, **PARTS,
    )  # fmt: skip
    alone = train(recipe, tmp_path / "alone")
    found = train(recipe, tmp_path / "both", "--mesh", "model=2", "--model-parallel", way, ranks=2)
    assert_same(found, alone)
    assert record_files(found.folder) == record_files(alone.folder) != {}


def test_resumed_in_pieces_around_the_skipped_steps(
    skipped: Done, recipe: Path, tmp_path: Path, inside: Inside
) -> None:
    noted = [entry["step"] for entry in lines(skipped.folder) if entry.get("skipped")]
    for step in (noted[0] - 1, noted[0], noted[1], noted[1] + 1):
        if step:
            inside("train", recipe, "--out", tmp_path / "run", "--steps", str(step))
    said = inside("train", recipe, "--out", tmp_path / "run")
    assert_same(done(tmp_path / "run", said.out), skipped)


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.mpi)])
def test_a_replay_of_a_skipped_step_gives_the_same(
    ranks: int, skipped: Done, tmp_path: Path
) -> None:
    step = [entry["step"] for entry in lines(skipped.folder) if entry.get("skipped")][2]
    ended = majel("replay", skipped.folder, "--step", str(step), ranks=ranks)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"replay: step {step} has the same bits (loss, norm, rate")

    run = Path(shutil.copytree(skipped.folder, tmp_path / "run"))
    kept = failed(run, step)
    true, kept["utterances"][1]["loss_hex"] = kept["utterances"][1]["loss_hex"], "0x1p+2"
    (run / "failed" / f"step-{step}.json").write_text(json.dumps(kept))
    changed = majel("replay", run, "--step", str(step), ranks=ranks)
    assert changed.returncode == 1
    assert f"replay: step {step} differs: utterances is {{'name': " in changed.stdout
    assert "'0x1p+2'} in failed and" in changed.stdout and f"{true!r}}} now\n" in changed.stdout


def test_a_gradient_that_overflows_though_each_loss_is_finite(
    tmp_path: Path, inside: Inside
) -> None:
    recipe = write_recipe(
        tmp_path / "r.toml", corpus_with(tmp_path / "t.h5", 0.0), optimizer__rate=1e34
    )
    said = inside("train", recipe, "--out", tmp_path / "run")
    assert said.code == 2
    (line,) = own_lines(said.err)
    assert "norm nan; the loss of each utterance is finite, the gradient overflowed (" in line
    (kept,) = (tmp_path / "run" / "failed").iterdir()
    record = json.loads(kept.read_text())
    assert record["norm_hex"] == "nan" and float.fromhex(record["loss_hex"]) > 1e30
    losses = [float.fromhex(utterance["loss_hex"]) for utterance in record["utterances"]]
    assert losses and np.isfinite(losses).all()


@pytest.mark.parametrize("ranks", [1, pytest.param(3, marks=pytest.mark.mpi)])
def test_what_stopped_a_run_can_be_replayed(ranks: int, folder: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "r.toml", corpus_with(folder / "nan.h5", np.nan))
    ended = majel("train", recipe, "--out", tmp_path / "run", ranks=ranks)
    assert ended.returncode == 2
    (line,) = own_lines(ended.stderr)
    assert "no finite loss for 1 of 7 utterances: " in line or ranks == 1
    (kept,) = (tmp_path / "run" / "failed").iterdir()
    step = json.loads(kept.read_text())["step"]
    assert (tmp_path / "run" / "checkpoints" / f"step-{step - 1}.h5").exists()
    again = majel("replay", tmp_path / "run", "--step", str(step), ranks=ranks)
    assert again.returncode == 0, again.stderr
    assert f"1 step from the checkpoint of step {step - 1}" in again.stdout


@pytest.mark.parametrize("ranks", [1, pytest.param(3, marks=pytest.mark.mpi)])
def test_after_so_many_skips_in_a_row_it_ends(ranks: int, folder: Path, tmp_path: Path) -> None:
    # The rate explodes at once: after the first update nothing is finite again.
    recipe = write_recipe(
        tmp_path / "r.toml", corpus_with(folder / "good.h5", 0.0), optimizer__rate=1e30,
        optimizer__non_finite="skip", optimizer__skip_limit=3,
    )  # fmt: skip
    run = tmp_path / "run"
    first = majel("train", recipe, "--out", run, "--steps", "3", ranks=ranks)
    assert first.returncode == 0, first.stderr
    for _ in range(2):  # the same whenever it is tried again
        ended = majel("train", recipe, "--out", run, ranks=ranks)
        assert ended.returncode == 2
        (line,) = own_lines(ended.stderr)
        skips = [entry["step"] for entry in lines(run) if entry.get("skipped")]
        assert len(skips) == 3 and skips == list(range(skips[0], skips[0] + 3))
        assert f"train: step {skips[-1] + 1}: loss " in line
        assert "optimizer.skip_limit is 3, and as many steps before were skipped" in line
