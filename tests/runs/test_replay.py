"""A step computed again: the same bits from any start and on any layout, and a change is found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from training import Ground, Inside, majel, network, own_lines, write_recipe

pytest_plugins = ["training"]


@pytest.fixture
def copied(ground: Ground, tmp_path: Path) -> Path:
    """A copy of the undisturbed run, which has a checkpoint of its last step, 30."""
    return Path(shutil.copytree(ground.undisturbed.folder, tmp_path / "run"))


@pytest.fixture(scope="module")
def stopped(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run stopped after step 12, with checkpoints of the steps 10, 11 and 12."""
    folder = tmp_path_factory.mktemp("replay") / "run"
    options = ("--checkpoint-seconds", "0", "--steps", "12")
    assert majel("train", ground.recipe, "--out", folder, *options).returncode == 0
    return folder


def change(run: Path, step: int, **values: Any) -> None:
    """Let a line of the ledger say something else."""
    lines = [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]
    lines[step - 1] |= values
    (run / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize(
    ("step", "origin", "compared"),
    [
        (11, "1 step from the checkpoint of step 10", "loss, norm, rate, its checkpoint"),
        (12, "1 step from the checkpoint of step 11", "loss, norm, rate, its checkpoint"),
        (10, "10 steps from the recipe's seed", "loss, norm, rate, digest, its checkpoint"),
        (7, "7 steps from the recipe's seed", "loss, norm, rate"),
    ],
)
def test_a_step_comes_out_the_same(
    step: int, origin: str, compared: str, stopped: Path, inside: Inside
) -> None:
    before = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    said = inside("replay", stopped, "--step", str(step))
    assert said.code == 0, said.err
    assert said.out == f"replay: step {step} has the same bits ({compared}), {origin}\n"
    assert said.err.startswith(f"replaying {origin}\n")
    assert before == {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("ranks", "options"), [(2, ["--no-overlap"]), (3, ["--bucket-bytes", "256"])]
)
def test_on_other_ranks(ranks: int, options: list[str], stopped: Path) -> None:
    ended = majel("replay", stopped, "--step", "12", *options, ranks=ranks)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == (
        "replay: step 12 has the same bits (loss, norm, rate, its checkpoint), 1 step from the "
        "checkpoint of step 11\n"
    )


@pytest.mark.mpi
@pytest.mark.parametrize("way", ["time", "directions", "hidden"])
def test_on_ranks_that_share_a_model(
    way: str, ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    recipe = write_recipe(
        tmp_path / "r.toml", ground.corpus, model__parts=2,
        model__layers=network([32], 32, 32),
    )  # fmt: skip
    assert inside("train", recipe, "--out", tmp_path / "run", "--steps", "3").code == 0
    options = ["--step", "2", "--mesh", "model=2", "--model-parallel", way]
    ended = majel("replay", tmp_path / "run", *options, ranks=2)
    assert ended.returncode == 0, ended.stderr
    assert "step 2 has the same bits (loss, norm, rate)" in ended.stdout


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("loss_hex", "0x1.8p+3", "0x1.8p+3"),
        ("norm_hex", "0x1.8p+3", "0x1.8p+3"),
        ("rate", 0.5, "0x1.0000000000000p-1"),
        ("dev_loss_hex", "0x1.8p+3", "0x1.8p+3"),
        ("digest", "beef", "beef"),
    ],
)
def test_a_changed_ledger_is_found(
    key: str, value: object, shown: str, copied: Path, inside: Inside
) -> None:
    true = json.loads((copied / "ledger.jsonl").read_text().splitlines()[9])[key]
    now = true.hex() if isinstance(true, float) else true
    change(copied, 10, **{key: value})
    said = inside("replay", copied, "--step", "10")
    assert said.code == 1, said.err
    assert said.out == f"replay: step 10 differs: {key} is {shown} in the ledger and {now} now\n"


def test_a_difference_on_the_way_is_told_and_ends_it(copied: Path, inside: Inside) -> None:
    change(copied, 3, norm_hex="0x1p+0")
    said = inside("replay", copied, "--step", "10")
    assert said.code == 1
    assert said.out.startswith("replay: step 3 differs: norm_hex is 0x1p+0 in the ledger and 0x")


def test_a_gap_in_the_ledger_is_told(copied: Path, inside: Inside) -> None:
    lines = (copied / "ledger.jsonl").read_text().splitlines(keepends=True)
    lines[2] = "garbage\n"
    del lines[4:6]
    (copied / "ledger.jsonl").write_text("".join(lines))
    faults = [f"majel replay: {copied}/ledger.jsonl: line 3 cannot be read",
              f"majel replay: {copied}/ledger.jsonl: step 3, steps 5-6 missing"]  # fmt: skip
    said = inside("replay", copied, "--step", "8")
    assert (said.code, own_lines(said.err)) == (0, faults)
    assert said.out.endswith(
        " 8 steps from the recipe's seed, 3 of them without a line in the ledger\n"
    )
    said = inside("replay", copied, "--step", "5")
    assert said.code == 2
    assert own_lines(said.err) == [
        *faults,
        f"majel replay: {copied}/ledger.jsonl has nothing of step 5; it ends at step 30",
    ]


def test_what_trained_is_asked_of_the_checkpoints(copied: Path, inside: Inside) -> None:
    (copied / "content.json").write_text("{")
    assert inside("replay", copied, "--step", "2").code == 0
    shutil.rmtree(copied / "checkpoints")
    said = inside("replay", copied, "--step", "2")
    assert said.code == 2
    assert said.err == f"majel replay: {copied}: nothing says what trained it\n"


def test_an_edited_recipe_is_refused(copied: Path, inside: Inside) -> None:
    text = (copied / "recipe.toml").read_text()
    (copied / "recipe.toml").write_text(text.replace("epochs = 6", "epochs = 7"))
    assert inside("replay", copied, "--step", "2").code == 0  # the past is the same
    (copied / "recipe.toml").write_text(text.replace("rate = 0.02", "rate = 0.5"))
    said = inside("replay", copied, "--step", "2")
    assert said.code == 2
    assert said.err == (
        f"majel replay: {copied} was trained from something else: optimizer.rate is 0.02 (saved) "
        "and 0.5 (requested)\n"
    )


def test_a_checkpoint_of_other_values_is_found(
    ground: Ground, stopped: Path, tmp_path: Path, inside: Inside
) -> None:
    from majelpy.runs import checkpoint as checkpoints

    run = Path(shutil.copytree(stopped, tmp_path / "run"))
    state = checkpoints.read(run / "checkpoints" / "step-12.h5")
    state.tensors["parameters/output.bias"][2] += 1
    checkpoints.write(run / "checkpoints", state)
    said = inside("replay", run, "--step", "12")
    assert said.code == 1
    assert said.out.startswith("replay: step 12 differs: output.bias differs at (2) in step 12: 0x")


def test_a_damaged_checkpoint_is_passed_over(
    ground: Ground, stopped: Path, tmp_path: Path, inside: Inside
) -> None:
    run = Path(shutil.copytree(stopped, tmp_path / "run"))
    path = run / "checkpoints" / "step-11.h5"
    path.write_bytes(path.read_bytes()[:-100])
    said = inside("replay", run, "--step", "12")
    assert said.code == 0, said.err
    assert "passed over " in said.err and "2 steps from the checkpoint of step 10" in said.out


def test_a_corpus_that_was_moved(
    ground: Ground, stopped: Path, tmp_path: Path, inside: Inside
) -> None:
    run = Path(shutil.copytree(stopped, tmp_path / "run"))
    text = (run / "recipe.toml").read_text().replace(str(ground.corpus), "gone.h5")
    (run / "recipe.toml").write_text(text)
    said = inside("replay", run, "--step", "12")
    assert said.code == 2
    assert own_lines(said.err) == [
        f"majel replay: {run}/gone.h5: there is no such corpus; make it with 'majel prepare'"
    ]
    moved = inside("replay", run, "--step", "12", "--set", f"data.train={ground.corpus}")
    assert moved.code == 0, moved.err


BAD = [
    (["--step", "0"], "--step is 0; needs at least 1"),
    (["--step", "13"], "{run}/ledger.jsonl has nothing of step 13; it ends at step 12"),
    (
        ["--step", "12", "--set", "seed=4"],
        "{run} was trained from something else: seed is 3 (saved) and 4 (requested)",
    ),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[" ".join(o) for o, _ in BAD])
def test_bad_input(options: list[str], message: str, stopped: Path, inside: Inside) -> None:
    said = inside("replay", stopped, *options)
    assert (said.code, said.out) == (2, "")
    assert said.err == f"majel replay: {message.format(run=stopped)}\n"


@pytest.mark.mpi
def test_bad_input_on_2_ranks(stopped: Path) -> None:
    ended = majel("replay", stopped, "--step", "13", ranks=2)
    assert ended.returncode == 2
    assert own_lines(ended.stderr) == [
        f"majel replay: {stopped}/ledger.jsonl has nothing of step 13; it ends at step 12"
    ]


def test_a_folder_without_a_ledger_or_recipe(stopped: Path, tmp_path: Path, inside: Inside) -> None:
    said = inside("replay", tmp_path, "--step", "1")
    assert said.code == 2
    assert said.err == (
        f"majel replay: {tmp_path}/ledger.jsonl: there is no ledger; is this a run folder?\n"
    )
    run = Path(shutil.copytree(stopped, tmp_path / "run"))
    (run / "recipe.toml").unlink()
    said = inside("replay", run, "--step", "1")
    assert said.code == 2
    assert said.err == (
        f"majel replay: {run}/recipe.toml: cannot be read (No such file or directory)\n"
    )
