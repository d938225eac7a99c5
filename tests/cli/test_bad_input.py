"""Bad input to training: one line, exit code 2, no traceback, nothing half-written.

Where training has begun, lines of progress come first; of the lines that `majel` says of errors
there is one. Under mpirun Open MPI adds its own.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from disks import mounted
from training import (
    SYMBOLS,
    Done,
    Ground,
    Inside,
    Said,
    assert_same,
    damage_frames,
    done,
    majel,
    own_lines,
    utterances,
    write_corpus,
    write_recipe,
)

from majelpy.data.minibatches import hold_out
from majelpy.errors import OutputError
from majelpy.runs import checkpoint as checkpoints
from majelpy.runs.ledger import Ledger

pytest_plugins = ["training"]


def check(said: Said, message: str, *, progress: bool = False) -> None:
    """Fail unless the command ended as bad input should, with this message."""
    assert said.code == 2, said.err
    assert said.out == ""
    assert "Traceback" not in said.err
    assert own_lines(said.err) == [f"majel train: {message}"]
    if not progress:
        assert said.err == f"majel train: {message}\n"


def nothing_aside(folder: Path) -> None:
    """Fail if something half-written is left."""
    assert [path.name for path in folder.rglob(".*")] == []


def trained_kept() -> list[int]:
    """Utterances of the tiny corpus that are trained on."""
    return [int(i) for i in hold_out(40, 8, seed=3)[0]]


OPTIONS = [
    (["--steps", "0"], "--steps is 0; needs at least 1"),
    (["--steps", "-3"], "--steps is -3; needs at least 1"),
    (["--threads", "-1"], "--threads is -1; needs at least 0 and at most 1024"),
    (["--threads", "100000"], "--threads is 100000; needs at least 0 and at most 1024"),
    (["--bucket-bytes", "0"], "--bucket-bytes is 0; needs at least 64"),
    (["--bucket-bytes", "63"], "--bucket-bytes is 63; needs at least 64"),
    (["--pool-bytes", "-1"], "--pool-bytes is -1; needs at least 0"),
    (["--cache-bytes", "-1"], "--cache-bytes is -1; needs at least 0"),
    (["--checkpoint-seconds", "-1"], "--checkpoint-seconds is -1.0; needs at least 0"),
    (["--checkpoint-seconds", "nan"], "--checkpoint-seconds is nan; needs at least 0"),
    (["--set", "seed"], "--set seed: needs key=value, such as optimizer.rate=0.01"),
    (["--set", "sede=1"], "{recipe}: unknown key 'sede'; did you mean 'seed'?"),
    (["--set", "optimizer.rate=fast"], "{recipe}: optimizer.rate is 'fast'; needs a number"),
    (["--set", "data.leaves=0"], "{recipe}: data.leaves is 0; needs at least 1 and at most 4096"),
    (
        ["--set", "data.train=no.h5"],
        "no.h5: there is no such corpus; make it with 'majel prepare'",
    ),
    (["--set", "data.dev=no.h5"], "no.h5: there is no such corpus; make it with 'majel prepare'"),
    (
        ["--set", "data.holdout=40"],
        "data.holdout is 40; {corpus} has 40 utterances and needs at least one more",
    ),
    (
        ["--set", "data.alphabet=aa"],
        "alphabet: 'a' (U+0061) stands more than once in 'aa'",
    ),
]


@pytest.mark.parametrize(("options", "message"), OPTIONS, ids=[" ".join(o) for o, _ in OPTIONS])
def test_settings(
    options: list[str], message: str, ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    said = inside("train", ground.recipe, "--out", tmp_path / "run", *options)
    check(said, message.format(recipe=ground.recipe, corpus=ground.corpus))
    assert list(tmp_path.iterdir()) == []


RECIPES = [
    (b"[data\n", r"r\.toml: not TOML: .*"),
    (b"\xff", r"r\.toml: not UTF-8 text"),
    (b"", r"r\.toml: 'data\.train' is missing: path of the corpus to train on.*"),
    (b"[data]\ntrain = 3\n",
     r"r\.toml: data\.train is 3; needs a text in quotes, or a list of them"),
    (b"[data]\ntrain = 't'\n[optimizer]\nmomentun = 1\n",
     r"r\.toml: unknown key 'optimizer\.momentun'; did you mean 'momentum'\?"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), RECIPES)
def test_recipe_files(text: bytes, message: str, tmp_path: Path, inside: Inside) -> None:
    (tmp_path / "r.toml").write_bytes(text)
    said = inside("train", tmp_path / "r.toml", "--out", tmp_path / "run")
    assert (said.code, said.out) == (2, "")
    assert re.fullmatch(rf"majel train: {tmp_path}/{message}\n", said.err), said.err
    assert not (tmp_path / "run").exists()


def test_a_missing_recipe_file(tmp_path: Path, inside: Inside) -> None:
    said = inside("train", tmp_path / "no.toml", "--out", tmp_path / "run")
    check(said, f"{tmp_path / 'no.toml'}: cannot be read (No such file or directory)")
    assert list(tmp_path.iterdir()) == []


# Corpora.


def train_on(inside: Inside, ground: Ground, corpus: Path, *options: str) -> Said:
    run = corpus.parent / "run"
    recipe = write_recipe(corpus.parent / "r.toml", corpus)
    return inside("train", recipe, "--out", run, *options)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_corpus(
    fraction: float, ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    whole = ground.corpus.read_bytes()
    cut = tmp_path / "cut.h5"
    cut.write_bytes(whole[: int(len(whole) * fraction)])
    said = train_on(inside, ground, cut)
    (line,) = said.err.splitlines()
    assert (said.code, said.out) == (2, "")
    assert line.startswith(f"majel train: {cut}: not a corpus")
    assert not (tmp_path / "run").exists()


def test_a_text_file_named_as_a_corpus(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    (tmp_path / "t.h5").write_text("not a corpus")
    said = train_on(inside, ground, tmp_path / "t.h5")
    assert said.code == 2
    assert (
        said.err
        == f"majel train: {tmp_path / 't.h5'}: not a corpus of 'majel prepare', or damaged\n"
    )
    assert said.err.count("\n") == 1


def damaged(ground: Ground, folder: Path, utterance: int) -> Path:
    copy = Path(shutil.copy(ground.corpus, folder / "damaged.h5"))
    damage_frames(copy, utterance)
    return copy


def frames_changed(corpus: Path, utterance: int) -> str:
    return (
        f"{corpus}: damaged: the frames of utterance {utterance} ('utterance-{utterance}') have "
        "changed; prepare the corpus again"
    )


@pytest.mark.parametrize("options", [[], ["--no-prefetch"]])
def test_one_bit_of_one_sample_is_found_before_it_is_used(
    options: list[str], ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    utterance = trained_kept()[20]
    corpus = damaged(ground, tmp_path, utterance)
    said = train_on(inside, ground, corpus, *options)
    check(said, frames_changed(corpus, utterance), progress=True)
    nothing_aside(tmp_path / "run")
    assert not (tmp_path / "run" / "fingerprint").exists()


def test_a_damaged_dev_utterance(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    held = [i for i in range(40) if i not in trained_kept()][3]
    corpus = damaged(ground, tmp_path, held)
    said = train_on(inside, ground, corpus)
    check(said, frames_changed(corpus, held), progress=True)


def test_with_the_corpus_repaired_it_goes_on(
    ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    corpus = damaged(ground, tmp_path, trained_kept()[20])
    assert train_on(inside, ground, corpus, "--checkpoint-seconds", "0").code == 2
    corpus.unlink()  # HDF5 would go on reading the old file, which this process has open
    shutil.copy(ground.corpus, corpus)
    said = train_on(inside, ground, corpus)
    assert said.code == 0, said.err
    assert_same(done(tmp_path / "run", said.out), ground.undisturbed)


@pytest.mark.mpi
@pytest.mark.parametrize("prefetch", [[], ["--no-prefetch"]])
def test_a_rank_that_raises_ends_the_world_with_its_own_message(
    prefetch: list[str], ground: Ground, tmp_path: Path
) -> None:
    # One utterance of one leaf is damaged, so exactly one rank meets it, in the middle.
    utterance = trained_kept()[9]
    corpus = damaged(ground, tmp_path, utterance)
    recipe = write_recipe(tmp_path / "r.toml", corpus)
    ended = majel("train", recipe, "--out", tmp_path / "run", *prefetch, ranks=4)
    assert ended.returncode == 2
    (line,) = own_lines(ended.stderr)
    found = re.fullmatch(r"majel: rank (\d) on \S+: train: (.*)", line)
    assert found, line
    assert found[2] == frames_changed(corpus, utterance)
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


@pytest.mark.mpi
def test_what_all_ranks_find_wrong_is_said_once(ground: Ground, tmp_path: Path) -> None:
    ended = majel(
        "train", ground.recipe, "--out", tmp_path / "run", "--set", "data.train=no.h5", ranks=3
    )
    assert ended.returncode == 2
    assert own_lines(ended.stderr) == [
        "majel train: no.h5: there is no such corpus; make it with 'majel prepare'"
    ]
    assert list(tmp_path.iterdir()) == []


DEV = [
    ({"features": 13}, "13 features from .npy files; {corpus} has 12 features from .npy files"),
    ({"rate": 8000}, "12 features at 8000 Hz; {corpus} has 12 features from .npy files"),
]


@pytest.mark.parametrize(("changes", "message"), DEV)
def test_a_dev_corpus_of_other_features(
    changes: dict[str, int], message: str, ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    dev = tmp_path / "dev.h5"
    write_corpus(dev, **changes)  # type: ignore[arg-type]
    said = inside("train", ground.recipe, "--out", tmp_path / "run", "--set", f"data.dev={dev}")
    check(said, f"{dev}: {message.format(corpus=ground.corpus)}")
    assert not (tmp_path / "run").exists()


def test_a_dev_corpus_of_another_rate_names_the_remedy(
    ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    write_corpus(tmp_path / "train.h5", rate=8000)
    write_corpus(tmp_path / "dev.h5", rate=16000)
    said = train_on(inside, ground, tmp_path / "train.h5", "--set", f"data.dev={tmp_path}/dev.h5")
    check(
        said,
        f"{tmp_path}/dev.h5: 12 features at 16000 Hz; {tmp_path}/train.h5 has 12 features "
        "at 8000 Hz; "
        "prepare it with --rate 8000",
    )


def test_characters_outside_the_alphabet(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    made = [
        (frames, text + ("é" if i % 10 == 0 else ""), name)
        for i, (frames, text, name) in enumerate(utterances())
    ]
    corpus = tmp_path / "t.h5"
    write_corpus(corpus, made)
    held = [i for i in range(40) if i not in trained_kept() and i % 10 == 0]
    assert held == [10]
    said = train_on(inside, ground, corpus)
    check(
        said,
        f"{corpus}: characters outside the alphabet in 1 of 8 transcripts: 'é' (1); "
        "set data.outside='drop' or extend data.alphabet",
    )
    assert not (tmp_path / "run").exists()

    dropped = train_on(inside, ground, corpus, "--set", "data.outside=drop")
    assert dropped.code == 0, dropped.err
    head = f"{corpus}: characters outside the alphabet"
    assert dropped.err.splitlines()[:2] == [
        f"{head} are dropped: 'é' (3), in 3 of 32 utterances",
        f"{head} count as errors: 'é' (1), in 1 of 8 utterances",
    ]
    # What is left is the corpus of the undisturbed run.
    fingerprint = done(tmp_path / "run", dropped.out).fingerprint
    assert fingerprint == ground.undisturbed.fingerprint

    (tmp_path / "b").mkdir()
    write_corpus(tmp_path / "b" / "t.h5", made)
    options = ("--set", f'data.alphabet="{SYMBOLS}é"')
    extended = train_on(inside, ground, tmp_path / "b" / "t.h5", *options)
    assert extended.code == 0, extended.err
    assert done(tmp_path / "b" / "run", extended.out).fingerprint != fingerprint


def test_an_utterance_shorter_than_its_labels_need(
    ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    made = utterances()
    made[5] = (made[5][0][:4], "abba", made[5][2])
    write_corpus(tmp_path / "t.h5", made)
    said = train_on(inside, ground, tmp_path / "t.h5")
    check(
        said,
        f"{tmp_path / 't.h5'}: utterance 'utterance-5' has 4 frames for 4 labels; needs at least 5",
    )
    made[5] = (utterances()[5][0][:5], "abba", made[5][2])
    write_corpus(tmp_path / "t.h5", made)
    assert train_on(inside, ground, tmp_path / "t.h5").code == 0


def nan_corpus(folder: Path) -> Path:
    """A corpus whose features are not numbers in one utterance."""
    made = utterances()
    made[trained_kept()[20]][0][2, 3] = np.nan
    write_corpus(folder / "t.h5", made)
    return folder / "t.h5"


def test_features_that_are_not_numbers(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    said = train_on(inside, ground, nan_corpus(tmp_path), "--checkpoint-seconds", "0")
    assert (said.code, said.out) == (2, "")
    (line,) = own_lines(said.err)
    found = re.fullmatch(
        r"majel train: step (\d+): loss nan and gradient norm nan; no finite loss for 1 of "
        r"7 utterances: 'utterance-\d+' \(lower optimizer\.rate, look at these utterances, or set "
        r"optimizer\.non_finite to 'skip'; failed/step-\1\.json has more\)",
        line,
    )
    assert found, line
    step = int(found[1])
    assert 2 <= step <= 5, "the bad utterance should come after the first step of an epoch"
    # All before it is kept, and good.
    assert next(checkpoints.steps(tmp_path / "run" / "checkpoints")) == step - 1
    state, problems = checkpoints.newest(tmp_path / "run" / "checkpoints")
    assert state is not None
    assert problems == []
    assert all(np.isfinite(tensor).all() for tensor in state.tensors.values())
    assert len((tmp_path / "run" / "ledger.jsonl").read_text().splitlines()) == step - 1
    nothing_aside(tmp_path / "run")


@pytest.mark.mpi
def test_features_that_are_not_numbers_on_3_ranks(ground: Ground, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "r.toml", nan_corpus(tmp_path))
    ended = majel("train", recipe, "--out", tmp_path / "run", ranks=3)
    assert ended.returncode == 2
    (line,) = own_lines(ended.stderr)
    assert re.match(r"majel: rank \d on \S+: train: step \d: loss nan and gradient norm", line)
    assert "Traceback" not in ended.stderr


def test_a_rate_that_diverges(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    said = inside(
        "train", ground.recipe, "--out", tmp_path / "run", "--set", "optimizer.rate=1e30"
    )  # fmt: skip
    assert said.code == 2
    (line,) = own_lines(said.err)
    assert "(lower optimizer.rate, look at these utterances, or" in line


# Run folders.


def test_a_run_folder_of_another_recipe(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    run = shutil.copytree(ground.undisturbed.folder, tmp_path / "run")
    before = (run / "ledger.jsonl").read_bytes()
    said = inside("train", ground.recipe, "--out", run, "--set", "optimizer.momentum=0.8")
    check(
        said,
        f"run folder {run} belongs to another recipe: optimizer.momentum is 0.9 (saved) "
        "and 0.8 (requested); give another --out",
    )
    assert (run / "ledger.jsonl").read_bytes() == before
    again = inside("train", ground.recipe, "--out", run)
    assert_same(Done(run, again.out.split()[-1], before), ground.undisturbed)


@pytest.mark.mpi
def test_a_run_folder_of_another_recipe_on_3_ranks(ground: Ground, tmp_path: Path) -> None:
    run = shutil.copytree(ground.undisturbed.folder, tmp_path / "run")
    ended = majel("train", ground.recipe, "--out", run, "--set", "seed=4", ranks=3)
    assert ended.returncode == 2
    assert own_lines(ended.stderr) == [
        f"majel train: run folder {run} belongs to another recipe: seed is 3 (saved) and "
        "4 (requested); give another --out"
    ]


@pytest.mark.parametrize("below", ["", "/run", "/a/b"])
def test_an_unwritable_place(below: str, ground: Ground, tmp_path: Path, inside: Inside) -> None:
    # Root may write anywhere, but nobody below a file.
    (tmp_path / "file").write_bytes(b"mine")
    said = inside("train", ground.recipe, "--out", f"{tmp_path}/file{below}")
    why = "Not a directory" if below else "a file; --out needs a folder"
    check(said, f"run folder {tmp_path}/file{below}: {why}")
    assert (tmp_path / "file").read_bytes() == b"mine"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", 192) as folder:
        yield folder


def fill(folder: Path, free: int) -> Path:
    """Write a file that leaves so many bytes free."""
    disk = os.statvfs(folder)
    stone = folder.parent / "disk" / "stone"
    stone.write_bytes(bytes(disk.f_bavail * disk.f_bsize - free))
    return stone


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.mpi)])
def test_a_disk_that_runs_full(ranks: int, ground: Ground, small_disk: Path) -> None:
    run = small_disk / "run"
    first = majel("train", ground.recipe, "--out", run, "--steps", "3")
    assert first.returncode == 0, first.stderr
    stone = fill(small_disk, free=16384)
    ended = majel("train", ground.recipe, "--out", run, "--checkpoint-seconds", "0", ranks=ranks)
    assert ended.returncode == 2, ended.stderr
    (line,) = own_lines(ended.stderr)
    message = f"checkpoint: cannot write {run}/checkpoints/step-4.h5 (No space left on device)"
    assert line.endswith(f"train: {message}")
    assert "Traceback" not in ended.stderr
    nothing_aside(run)
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-3.h5"]

    stone.unlink()
    again = majel("train", ground.recipe, "--out", run)
    assert again.returncode == 0, again.stderr
    assert "resuming after step 3" in again.stderr
    assert_same(done(run, again.stdout), ground.undisturbed)


def test_a_ledger_without_room_saves_the_step(
    ground: Ground, tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk has room for the line only once an older checkpoint is gone."""
    run, append = tmp_path / "run", Ledger.append

    def full(self: Ledger, entry: dict[str, Any]) -> None:
        oldest = run / "checkpoints" / "step-11.h5"
        if self._path == run / "ledger.jsonl" and entry["step"] == 14 and oldest.exists():
            raise OutputError(f"ledger: cannot write {self._path} (No space left on device)")
        append(self, entry)

    monkeypatch.setattr(Ledger, "append", full)
    said = inside("train", ground.recipe, "--out", run, "--checkpoint-seconds", "0")
    ledger = f"ledger: cannot write {run}/ledger.jsonl (No space left on device)"
    check(said, f"{ledger}; saved after step 14", progress=True)
    assert list(checkpoints.steps(run / "checkpoints")) == [14, 13, 12]
    monkeypatch.undo()
    again = inside("train", ground.recipe, "--out", run)
    assert "resuming after step 14" in again.err
    assert_same(done(run, again.out), ground.undisturbed)


@pytest.mark.parametrize("free", [0, 4096, 8192, 12288])
def test_a_disk_that_is_full(free: int, ground: Ground, small_disk: Path) -> None:
    fill(small_disk, free)
    ended = majel("train", ground.recipe, "--out", small_disk / "run")
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = own_lines(ended.stderr)
    room = (
        r"majel train: checkpoint: .*/disk/run/checkpoints has [\d.]+ (bytes|KiB) free; "
        r"needs [\d.]+ KiB"
    )
    assert re.fullmatch(rf"majel train: .*/disk/run.*No space left on device\)?|{room}", line)
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr
    nothing_aside(small_disk)


def test_an_alphabet_that_empties_the_transcripts(
    ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    said = inside(
        "train", ground.recipe, "--out", tmp_path / "run",
        "--set", "data.outside=drop", "--set", 'data.alphabet="q"',
    )  # fmt: skip
    assert said.code == 2
    assert "no character of the alphabet 'q' in 32 of 32 transcripts; set data.alphabet" in said.err


def test_capitals_in_the_alphabet(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    said = inside(
        "train", ground.recipe, "--out", tmp_path / "run", "--set", 'data.alphabet=" ABC"'
    )
    assert said.code == 2
    assert "data.alphabet is ' ABC'; transcripts are in lower case" in said.err
    assert "it needs ' abc'" in said.err


@pytest.mark.parametrize("out", ["", "."])
def test_the_current_folder_is_no_run_folder(out: str, ground: Ground, inside: Inside) -> None:
    said = inside("train", ground.recipe, "--out", out)
    assert said.code == 2
    assert said.err == (
        "majel train: run folder: --out is empty or the current folder; give a new one\n"
    )


def test_a_folder_with_other_files_is_no_run_folder(
    ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    (tmp_path / "thesis.doc").write_text("years of work")
    said = inside("train", ground.recipe, "--out", tmp_path)
    assert said.code == 2
    assert said.err == f"majel train: run folder {tmp_path}: it has other files; give a new one\n"
    assert [item.name for item in tmp_path.iterdir()] == ["thesis.doc"]
