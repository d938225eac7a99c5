"""A run that was stopped goes on, on any number of ranks, to the same bits."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from training import (
    STEPS,
    Done,
    Ground,
    Inside,
    assert_same,
    done,
    majel,
    own_lines,
    train,
)

from majelpy.runs import checkpoint as checkpoints

pytest_plugins = ["training"]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def checkpoint_names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


@pytest.fixture(scope="module")
def stopped(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run stopped after step 12, with checkpoints of the steps 10, 11 and 12."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    options = ("--checkpoint-seconds", "0", "--steps", "12")
    ended = majel("train", ground.recipe, "--out", folder, *options)
    assert ended.returncode == 0, ended.stderr
    assert checkpoint_names(folder) == ["best.h5", "step-10.h5", "step-11.h5", "step-12.h5"]
    return folder


@pytest.fixture
def copied(stopped: Path, tmp_path: Path) -> Path:
    """A copy of that run, to do as one likes."""
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def flip(path: Path, fraction: float, bit: int = 3) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * fraction)] ^= 1 << bit
    path.write_bytes(data)


def truncate(path: Path, fraction: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])


def resume(inside: Inside, ground: Ground, folder: Path, *options: str) -> tuple[Done, str]:
    said = inside("train", ground.recipe, "--out", folder, *options)
    assert said.code == 0, said.err
    return done(folder, said.out), said.err


@pytest.mark.mpi
def test_stopped_on_4_ranks_and_resumed_on_3(ground: Ground, tmp_path: Path) -> None:
    first = majel("train", ground.recipe, "--out", tmp_path, "--steps", "10", ranks=4)
    assert first.returncode == 0, first.stderr
    ledger = (tmp_path / "ledger.jsonl").read_bytes()
    assert ledger == b"".join(ground.undisturbed.ledger.splitlines(keepends=True)[:10])
    assert not (tmp_path / "fingerprint").exists()
    halfway = json.loads(ledger.splitlines()[9])["digest"]
    assert first.stdout == f"digest after step 10 of {STEPS}: {halfway}\n"
    assert first.stderr.endswith("unfinished: the same command without --steps goes on\n")
    assert halfway != ground.undisturbed.fingerprint

    second = majel("train", ground.recipe, "--out", tmp_path, ranks=3)
    assert second.returncode == 0, second.stderr
    assert f"resuming after step 10 of {STEPS}" in second.stderr
    assert_same(done(tmp_path, second.stdout), ground.undisturbed)


def test_the_epoch_that_was_interrupted_is_told_as_a_whole(
    ground: Ground, copied: Path, inside: Inside
) -> None:
    _, said = resume(inside, ground, copied)
    losses = [json.loads(line)["loss"] for line in ground.undisturbed.ledger.splitlines()]
    told = re.findall(r"^epoch +(\d+)  step +(\d+)  loss (\S+) ", said, re.MULTILINE)
    assert [(int(epoch), int(step)) for epoch, step, _ in told] == [
        (epoch, 5 * epoch) for epoch in (3, 4, 5, 6)
    ]
    for epoch, _, mean in told:
        whole = losses[5 * int(epoch) - 5 : 5 * int(epoch)]
        assert mean == f"{sum(map(float, map(np.float32, whole))) / 5:.3f}"


def test_in_many_short_pieces(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    for step in (1, 2, 7, 10, 11, 29):
        found, _ = resume(inside, ground, tmp_path, "--steps", str(step))
        assert len(found.ledger.splitlines()) == step
    assert_same(resume(inside, ground, tmp_path)[0], ground.undisturbed)


def test_resumed_from_the_newest_checkpoint(ground: Ground, copied: Path, inside: Inside) -> None:
    found, said = resume(inside, ground, copied)
    assert f"resuming after step 12 of {STEPS}" in said
    assert "passed over" not in said
    assert_same(found, ground.undisturbed)


@pytest.mark.parametrize("fraction", [0.0005, 0.2, 0.5, 0.8, 0.999])
def test_a_flipped_bit_falls_back_to_the_last_good_checkpoint(
    fraction: float, ground: Ground, copied: Path, inside: Inside
) -> None:
    flip(copied / "checkpoints" / "step-12.h5", fraction)
    found, said = resume(inside, ground, copied)
    (line,) = [line for line in said.splitlines() if line.startswith("majel")]
    assert line.startswith("majel train: passed over ")
    assert "step-12.h5: " in line
    assert f"resuming after step 11 of {STEPS}" in said
    assert_same(found, ground.undisturbed)


@pytest.mark.parametrize("fraction", [0, 0.3, 0.99])
def test_a_truncated_checkpoint_falls_back_to_the_last_good_one(
    fraction: float, ground: Ground, copied: Path, inside: Inside
) -> None:
    truncate(copied / "checkpoints" / "step-12.h5", fraction)
    truncate(copied / "checkpoints" / "step-11.h5", fraction)
    found, said = resume(inside, ground, copied)
    lines = [line for line in said.splitlines() if line.startswith("majel")]
    assert len(lines) == 2
    assert "step-12.h5: damaged or truncated" in lines[0]
    assert "step-11.h5: damaged or truncated" in lines[1]
    assert f"resuming after step 10 of {STEPS}" in said
    assert_same(found, ground.undisturbed)


@pytest.mark.mpi
def test_a_damaged_checkpoint_on_3_ranks(ground: Ground, copied: Path) -> None:
    flip(copied / "checkpoints" / "step-12.h5", 0.5)
    ended = majel("train", ground.recipe, "--out", copied, ranks=3)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("passed over") == 1
    assert_same(done(copied, ended.stdout), ground.undisturbed)


def test_without_a_good_checkpoint_it_starts_over(
    ground: Ground, copied: Path, inside: Inside
) -> None:
    for path in (copied / "checkpoints").iterdir():
        flip(path, 0.5)
    found, said = resume(inside, ground, copied)
    assert said.count("majel train: passed over ") == 4  # of three steps, and the best one
    assert "majel train: no good checkpoint is left; starting over\n" in said
    assert f"training from step 0 of {STEPS}" in said
    assert_same(found, ground.undisturbed)


def test_the_best_checkpoint_counts_where_it_is_the_newest(
    ground: Ground, copied: Path, inside: Inside
) -> None:
    best = checkpoints.read(copied / "checkpoints" / "best.h5").step
    assert best < 12
    for step in (10, 11, 12):
        (copied / "checkpoints" / f"step-{step}.h5").unlink()
    found, said = resume(inside, ground, copied)
    assert f"resuming after step {best} of {STEPS}" in said
    assert_same(found, ground.undisturbed)


def test_a_best_checkpoint_that_is_lost_at_its_step_is_made_again(
    ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    # As if the run was killed between the two files.
    resume(inside, ground, tmp_path, "--steps", "5")
    best = tmp_path / "checkpoints" / "best.h5"
    whole = best.read_bytes()
    best.unlink()
    resume(inside, ground, tmp_path, "--steps", "5")
    assert best.read_bytes() == whole


def test_damaged_checkpoints_do_not_push_out_new_ones(
    ground: Ground, copied: Path, inside: Inside
) -> None:
    # The damaged ones are of later steps than those that come after starting over.
    for path in (copied / "checkpoints").iterdir():
        truncate(path, 0.5)
    resume(inside, ground, copied, "--steps", "4", "--checkpoint-seconds", "0")
    assert [name for name in checkpoint_names(copied) if name.endswith(".h5")] == [
        "best.h5", "step-2.h5", "step-3.h5", "step-4.h5",
    ]  # fmt: skip
    found, said = resume(inside, ground, copied)
    assert f"resuming after step 4 of {STEPS}" in said
    assert "passed over" not in said
    assert_same(found, ground.undisturbed)


def test_a_torn_ledger_line_is_written_again(ground: Ground, copied: Path, inside: Inside) -> None:
    with (copied / "ledger.jsonl").open("ab") as file:
        file.write(ground.undisturbed.ledger.splitlines()[12][:40])
    assert_same(resume(inside, ground, copied)[0], ground.undisturbed)


def test_ledger_lines_behind_the_checkpoint_are_written_again(
    ground: Ground, copied: Path, inside: Inside
) -> None:
    # As if it had gone on to step 15 and died before the next checkpoint; and with wrong lines,
    # so that lines merely left standing would be seen.
    with (copied / "ledger.jsonl").open("a") as file:
        for step in (13, 14, 15):
            file.write(json.dumps({"step": step, "loss": "wrong"}) + "\n")
    assert_same(resume(inside, ground, copied)[0], ground.undisturbed)


def own(said: str) -> list[str]:
    return [line.removeprefix("majel train: ") for line in own_lines(said)]


def edit(folder: Path, change: Callable[[list[bytes]], object]) -> bytes:
    """Change the lines of a ledger; return what it has then."""
    path = folder / "ledger.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    change(lines)
    path.write_bytes(b"".join(lines))
    return path.read_bytes()


DAMAGE: list[tuple[str, Callable[[list[bytes]], object], list[str], int, str]] = [
    ("damaged", lambda lines: lines.__setitem__(10, b"garbage\n"),
     ["line 11 cannot be read", "step 11 missing"], 10, "proves steps 1-10 only"),
    ("gap", lambda lines: lines.__delitem__(10), ["step 11 missing"], 10, "proves steps 1-10 only"),
    ("cut", lambda lines: lines.__delitem__(11), [], 11, "proves steps 1-11 only"),
    ("torn", lambda lines: lines.__setitem__(11, lines[11][:-5]),
     ["line 12, the last one, is cut off"], 11, "proves steps 1-11 only"),
    ("early", lambda lines: lines.__setitem__(1, b"garbage\n"),
     ["line 2 cannot be read", "step 2 missing"], 0, "proves step 1 only"),
    ("first", lambda lines: lines.__delitem__(0), ["step 1 missing"], 0, "proves no step"),
    ("empty", lambda lines: lines.clear(), [], 0, "proves no step"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "faults", "step", "proves"), [d[1:] for d in DAMAGE],
                         ids=[d[0] for d in DAMAGE])  # fmt: skip
def test_it_goes_back_to_what_the_ledger_proves(
    change: Callable[[list[bytes]], object], faults: list[str], step: int, proves: str,
    ground: Ground, copied: Path, inside: Inside,
) -> None:  # fmt: skip
    """Checkpoints of the steps 10 to 12 are there; what they and the ledger hold is not lost."""
    ledger = edit(copied, change)
    before = snapshot(copied / "checkpoints")
    found, said = resume(inside, ground, copied)
    path = copied / "ledger.jsonl"
    beyond = [f"step-{n}.h5" for n in (12, 11, 10) if n > step]
    beyond += ["best.h5"] if step < 10 else []
    back = f"going back to the checkpoint of step {step}" if step else "starting over"
    kept = [f"{path}: kept as it was in ledger.jsonl.damaged-1"] if faults else []
    assert own(said) == [
        *(f"{path}: {fault}" for fault in faults),
        *kept,
        f"the ledger {proves}; {back}",
        f"{copied}/checkpoints: later ones kept as {', '.join(f'{b}.beyond-1' for b in beyond)}",
    ]
    assert f"{'resuming after' if step else 'training from'} step {step} of {STEPS}" in said
    assert_same(found, ground.undisturbed)
    after = snapshot(copied)
    assert all(after[f"checkpoints/{name}.beyond-1"] == before[name] for name in beyond)
    assert after.get("ledger.jsonl.damaged-1") == (ledger if faults else None)
    (note,) = map(json.loads, (copied / "history.jsonl").read_text().splitlines())
    assert note == {"step": step, "what": f"the ledger {proves}; {back}"}
    # Again: all is well.
    assert not own(resume(inside, ground, copied)[1])


def test_a_deleted_ledger_starts_over(ground: Ground, copied: Path, inside: Inside) -> None:
    (copied / "ledger.jsonl").unlink()
    found, said = resume(inside, ground, copied)
    assert own(said)[0] == "the ledger proves no step; starting over"
    assert_same(found, ground.undisturbed)


def test_it_goes_back_from_a_best_checkpoint_too(
    ground: Ground, copied: Path, inside: Inside
) -> None:
    """The only one that is left, and the ledger was cut before it."""
    for path in (copied / "checkpoints").glob("step-*.h5"):
        path.unlink()
    assert checkpoints.read(copied / "checkpoints" / "best.h5").step > 3
    edit(copied, lambda lines: lines.__delitem__(slice(3, 12)))
    found, said = resume(inside, ground, copied)
    assert own(said) == [
        "the ledger proves steps 1-3 only; starting over",
        f"{copied}/checkpoints: later ones kept as best.h5.beyond-1",
    ]
    assert_same(found, ground.undisturbed)


def test_a_finished_run_whose_ledger_is_damaged_trains_again(
    ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    folder = Path(shutil.copytree(ground.undisturbed.folder, tmp_path / "run"))
    ledger = edit(folder, lambda lines: lines.__setitem__(1, b"garbage\n"))
    _, said = resume(inside, ground, folder, "--steps", "7")
    assert own(said)[3] == "the ledger proves step 1 only; starting over"
    assert (folder / "ledger.jsonl.damaged-1").read_bytes() == ledger
    assert not (folder / "fingerprint").exists()  # it is no longer finished
    (note,) = map(json.loads, (folder / "history.jsonl").read_text().splitlines())
    assert note["fingerprint"] == ground.undisturbed.fingerprint
    assert_same(resume(inside, ground, folder)[0], ground.undisturbed)


def test_a_line_more_than_the_steps_is_kept_and_costs_no_step(
    ground: Ground, copied: Path, inside: Inside
) -> None:
    ledger = edit(copied, lambda lines: lines.insert(3, b"garbage\n"))
    found, said = resume(inside, ground, copied)
    assert own(said) == [
        f"{copied}/ledger.jsonl: line 4 cannot be read",
        f"{copied}/ledger.jsonl: kept as it was in ledger.jsonl.damaged-1",
    ]
    assert f"resuming after step 12 of {STEPS}" in said
    assert (copied / "ledger.jsonl.damaged-1").read_bytes() == ledger
    assert_same(found, ground.undisturbed)


def test_many_lines_that_cannot_be_read_are_counted(
    ground: Ground, copied: Path, inside: Inside
) -> None:
    edit(copied, lambda lines: lines.__setitem__(slice(2, 10), [b"x\n"] * 8))
    said = resume(inside, ground, copied, "--steps", "13")[1]
    assert own(said)[:5] == [
        *(f"{copied}/ledger.jsonl: line {line} cannot be read" for line in (3, 4, 5)),
        f"{copied}/ledger.jsonl: 5 more such lines",
        f"{copied}/ledger.jsonl: steps 3-10 missing",
    ]


@pytest.mark.mpi
def test_it_goes_back_on_3_ranks(ground: Ground, copied: Path) -> None:
    edit(copied, lambda lines: lines.__delitem__(11))
    ended = majel("train", ground.recipe, "--out", copied, ranks=3)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("going back to the checkpoint of step 11") == 1
    assert_same(done(copied, ended.stdout), ground.undisturbed)


@pytest.mark.parametrize("damage", [b"garbage\n", b"[" * 100_000, None])
def test_timings_trouble_nobody(
    damage: bytes | None, ground: Ground, copied: Path, inside: Inside
) -> None:
    path = copied / "timings.jsonl"
    if damage is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(damage + path.read_bytes())
    found, said = resume(inside, ground, copied)
    assert not own(said)
    assert ("timings.jsonl: cannot write" in said) == (damage is None)
    assert_same(found, ground.undisturbed)


def test_what_a_killed_process_left_aside_is_removed(
    ground: Ground, copied: Path, inside: Inside
) -> None:
    for name in ("checkpoints/.step-13.h5.4242.tmp", ".ledger.jsonl.tmp", ".fingerprint.tmp"):
        (copied / name).write_bytes(b"half")
    assert_same(resume(inside, ground, copied)[0], ground.undisturbed)
    assert list(copied.rglob(".*")) == []


def test_a_finished_run_started_again_changes_nothing(
    ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    folder = Path(shutil.copytree(ground.undisturbed.folder, tmp_path / "run"))
    before = snapshot(folder)
    assert {"recipe.toml", "ledger.jsonl", "fingerprint", "checkpoints/step-30.h5"} <= set(before)
    for options in ([], ["--steps", "10"], ["--checkpoint-seconds", "0"]):
        said = inside("train", ground.recipe, "--out", folder, *options)
        assert said.code == 0, said.err
        assert said.out == f"fingerprint: {ground.undisturbed.fingerprint}\n"
        assert snapshot(folder) == before


@pytest.mark.mpi
def test_a_finished_run_started_again_on_2_ranks(ground: Ground, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(ground.undisturbed.folder, tmp_path / "run"))
    before = snapshot(folder)
    assert train(ground.recipe, folder, ranks=2).fingerprint == ground.undisturbed.fingerprint
    assert snapshot(folder) == before


def test_the_recipe_in_the_folder_trains_the_same(
    ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    stored = ground.undisturbed.folder / "recipe.toml"
    said = inside("train", stored, "--out", tmp_path)
    assert said.code == 0, said.err
    assert_same(done(tmp_path, said.out), ground.undisturbed)


def test_a_damaged_best_checkpoint_is_told_and_made_again(
    ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    run, train = tmp_path / "run", ("train", ground.recipe, "--out", tmp_path / "run")
    assert inside(*train, "--steps", "6", "--checkpoint-seconds", "0").code == 0
    best = checkpoints.best_path(run / "checkpoints")
    digest = checkpoints.read(best).digest()
    best.write_bytes(best.read_bytes()[:1000])
    said = inside("eval", run, ground.corpus, "--checkpoint", "best")
    assert said.code == 2 and "resuming the training makes it again" in said.err
    said = inside(*train, "--steps", "7")
    (line,) = own_lines(said.err)
    assert line.startswith(f"majel train: {best}: damaged or truncated (")
    assert line.endswith("; made again from step-5.h5")
    assert checkpoints.read(best).digest() == digest
