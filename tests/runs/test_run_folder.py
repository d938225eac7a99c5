"""The folder of a run: one recipe, one process at a time, nothing half-written."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from majelpy.errors import CheckpointError, OutputError
from majelpy.recipes.recipe import Recipe, load
from majelpy.runs import checkpoint as checkpoints
from majelpy.runs.checkpoint import Checkpoint
from majelpy.runs.run_folder import RunFolder


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    file = tmp_path / "r.toml"
    file.write_text(
        '[data]\ntrain = "t ü.h5"\n[model]\nlayers = [{ layer = "dense", units = 3 }]\n'
    )
    return load(str(file))


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def opened(path: Path, recipe: Recipe, digest: str = "A") -> RunFolder:
    folder = RunFolder(path)
    folder.open_for_training(recipe, recipe.content(digest, ""))
    return folder


def trained(path: Path, recipe: Recipe) -> dict[str, Any]:
    """Make a folder that has done two steps; return the content of its recipe."""
    content: dict[str, Any] = json.loads(json.dumps(recipe.content("A", "")))
    folder = opened(path, recipe)
    folder.close()
    folder.ledger.write_text('{"step": 1}\n{"step": 2}\n')
    checkpoints.write(folder.checkpoints, Checkpoint(2, {"content": content}, {}))
    return content


def test_a_new_folder(tmp_path: Path, recipe: Recipe) -> None:
    folder = opened(tmp_path / "a" / "b", recipe)
    assert files(folder.path) == ["checkpoints", "content.json", "lock", "recipe.toml"]
    text = (folder.path / "recipe.toml").read_text("utf-8")
    assert load(str(folder.path / "recipe.toml")) == recipe
    assert tomllib.loads(text)["data"]["train"] == str(tmp_path / "t ü.h5")
    assert folder.go_on(recipe, recipe.content("A", ""), 0) == []
    folder.write_fingerprint("f" * 64)
    assert folder.fingerprint.read_text() == "f" * 64 + "\n"
    assert list(folder.path.rglob(".*")) == []
    folder.close()


def test_entered_again_with_the_same_recipe(tmp_path: Path, recipe: Recipe) -> None:
    opened(tmp_path / "run", recipe).close()
    before = (tmp_path / "run" / "content.json").read_bytes()
    opened(tmp_path / "run", recipe).close()
    assert (tmp_path / "run" / "content.json").read_bytes() == before


def test_locked_against_a_second_process(tmp_path: Path, recipe: Recipe) -> None:
    # A lock belongs to an open file, so that a second one in this process counts as another's.
    first = opened(tmp_path / "run", recipe)
    with pytest.raises(OutputError, match=r"another process is training in it; wait or end that o"):
        opened(tmp_path / "run", recipe)
    first.close()
    opened(tmp_path / "run", recipe).close()


def test_another_recipe_is_refused_by_what_differs(tmp_path: Path, recipe: Recipe) -> None:
    trained(tmp_path / "run", recipe)
    before = files(tmp_path / "run")
    other = load(str(tmp_path / "r.toml"), ["optimizer.rate=0.5"])
    with pytest.raises(CheckpointError) as caught:
        opened(tmp_path / "run", other)
    assert str(caught.value) == (
        f"run folder {tmp_path / 'run'} belongs to another recipe: optimizer.rate is 0.01 "
        "(saved) and 0.5 (requested); give another --out"
    )
    with pytest.raises(CheckpointError, match=r"data\.train is 'A' \(saved\) and 'B' \(requ"):
        opened(tmp_path / "run", recipe, digest="B")
    assert files(tmp_path / "run") == before


def test_many_differences_are_counted(tmp_path: Path, recipe: Recipe) -> None:
    trained(tmp_path / "run", recipe)
    changes = ["seed=2", "data.bin=2", "data.batch=2", "data.leaves=2", "model.parts=2"]
    with pytest.raises(CheckpointError) as caught:
        opened(tmp_path / "run", load(str(tmp_path / "r.toml"), changes))
    assert (
        "data.batch is 32 (saved) and 2 (requested); data.bin is 16 (saved) and 2 (requested); "
        "data.leaves is 8 (saved) and 2 (requested); and 2 more; give"
    ) in str(caught.value)


def test_another_place_of_the_same_corpus_is_the_same_run(tmp_path: Path, recipe: Recipe) -> None:
    opened(tmp_path / "run", recipe).close()
    opened(tmp_path / "run", load(str(tmp_path / "r.toml"), ["data.train=/else.h5"])).close()


@pytest.mark.parametrize("first", [["seed=2"], ["model.layers=[{ layer = 'dense', units = 9 }]"]])
def test_without_a_step_it_takes_the_mended_recipe(
    first: list[str], tmp_path: Path, recipe: Recipe
) -> None:
    opened(tmp_path / "run", load(str(tmp_path / "r.toml"), first)).close()
    (tmp_path / "run" / "ledger.jsonl").touch()  # it may have come so far
    (tmp_path / "run" / "timings.jsonl").touch()
    (tmp_path / "run" / "content.json").write_text("{")
    for digest in ("A", "B"):
        folder = opened(tmp_path / "run", recipe, digest)
        assert folder.content() == json.loads(json.dumps(recipe.content(digest, "")))
        assert load(str(folder.recipe)) == recipe
        folder.close()


@pytest.mark.parametrize(
    "trace", ["ledger.jsonl.damaged-1", "checkpoints/best.h5.beyond-1", "failed/x"]
)
def test_with_a_trace_of_a_step_it_does_not(trace: str, tmp_path: Path, recipe: Recipe) -> None:
    folder = opened(tmp_path / "run", recipe)
    folder.close()
    (folder.path / trace).parent.mkdir(exist_ok=True)
    (folder.path / trace).touch()
    opened(tmp_path / "run", recipe).close()
    with pytest.raises(CheckpointError, match="belongs to another recipe"):
        opened(tmp_path / "run", recipe, "B")


LOST: list[Callable[[Path], object]] = [
    Path.unlink,
    lambda path: path.write_text("{"),
    lambda path: path.write_text("{}"),
    lambda path: path.write_text("[" * 100_000),
    lambda path: path.write_text(path.read_text().replace('"seed": 1', '"seed": 2')),
]


@pytest.mark.parametrize("lose", LOST)
def test_what_trained_is_made_again_from_the_checkpoints(
    lose: Callable[[Path], object], tmp_path: Path, recipe: Recipe
) -> None:
    content = trained(tmp_path / "run", recipe)
    path = tmp_path / "run" / "content.json"
    before = path.read_bytes()
    lose(path)
    kept = {"content.json.damaged-1": path.read_bytes()} if path.exists() else {}
    with pytest.raises(CheckpointError, match=r"belongs to another recipe: data\.train is 'A' \("):
        opened(tmp_path / "run", recipe, "B")
    folder = opened(tmp_path / "run", recipe)
    assert folder.content() == content
    (line,) = folder.go_on(recipe, recipe.content("A", ""), 2)
    named = ", kept as content.json.damaged-1" if kept else ""
    assert line == f"{path}: lost{named}; made again from the checkpoints"
    assert path.read_bytes() == before
    assert {p.name: p.read_bytes() for p in folder.path.glob("*-1")} == kept
    assert folder.go_on(recipe, recipe.content("A", ""), 2) == []
    folder.close()


def test_where_nothing_says_what_trained(tmp_path: Path, recipe: Recipe) -> None:
    trained(tmp_path / "run", recipe)
    (tmp_path / "run" / "content.json").write_text("{")
    (tmp_path / "run" / "checkpoints" / "step-2.h5").write_bytes(b"nothing")
    with pytest.raises(CheckpointError) as caught:
        opened(tmp_path / "run", recipe)
    assert str(caught.value) == (
        f"run folder {tmp_path / 'run'}: content.json is damaged or missing, and there is no good "
        "checkpoint that says what trained the run; give another --out"
    )


def test_an_edited_recipe_is_told_and_written_again(tmp_path: Path, recipe: Recipe) -> None:
    trained(tmp_path / "run", recipe)
    path = tmp_path / "run" / "recipe.toml"
    before = path.read_text()
    edited = before.replace("rate = 0.01", "rate = 0.5").replace("seed = 1", "")
    moved = before.replace("t ü.h5", "/else/where.h5")
    content = recipe.content("A", "")

    folder = opened(tmp_path / "run", recipe)
    path.write_text(moved)  # where a corpus lies changes no bit
    assert folder.edited(content) == folder.go_on(recipe, content, 2) == []
    assert path.read_text() == moved

    path.write_text(edited)
    lines = [
        "optimizer.rate is 0.01 (saved) and 0.5 (recipe.toml)",
        "seed is 1 (saved) and missing (recipe.toml)",
    ]
    assert folder.edited(content) == lines
    assert folder.go_on(recipe, content, 2) == [
        f"{path}: not what trained this run: {'; '.join(lines)}, kept as recipe.toml.edited-1; "
        "written again"
    ]
    assert path.read_text() == before
    assert (tmp_path / "run" / "recipe.toml.edited-1").read_text() == edited

    for broken in ("seed =", "data = 3", "augment = [1]", "[model]\nlayers = 7"):
        path.write_text(broken)
        assert folder.edited(content), broken
    path.unlink()
    (line,) = folder.go_on(recipe, content, 2)
    assert line == (
        f"{path}: not what trained this run: cannot be read (No such file or directory); "
        "written again"
    )
    assert path.read_text() == before
    folder.close()


def test_another_end_goes_to_the_history(tmp_path: Path, recipe: Recipe) -> None:
    trained(tmp_path / "run", recipe)
    longer = load(str(tmp_path / "r.toml"), ["schedule.epochs=30"])
    folder = opened(tmp_path / "run", longer)
    folder.write_fingerprint("f" * 64)
    change = "schedule.epochs is 20 (before) and 30 (now)"
    assert folder.go_on(longer, longer.content("A", ""), 2) == [
        f"the same run to another end: {change}"
    ]
    assert not folder.fingerprint.exists()
    (line,) = map(json.loads, folder.history.read_text().splitlines())
    assert line == {"step": 2, "what": change, "fingerprint": "f" * 64}
    assert load(str(folder.recipe)) == longer
    assert folder.go_on(longer, longer.content("A", ""), 2) == []
    folder.close()


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path, recipe: Recipe) -> None:
    opened(tmp_path / "run", recipe).close()
    before = files(tmp_path / "run")
    for name in (".content.json.tmp", ".ledger.jsonl.tmp", "checkpoints/.step-3.h5.77.tmp"):
        (tmp_path / "run" / name).write_bytes(b"x")
    (tmp_path / "run" / "notes.tmp").write_bytes(b"a person's own")
    opened(tmp_path / "run", recipe).close()
    assert files(tmp_path / "run") == sorted([*before, "notes.tmp"])


def test_where_no_folder_can_be(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=rf"^run folder {tmp_path}/file: a file; --out "):
        opened(tmp_path / "file", recipe)
    with pytest.raises(OutputError, match=rf"^run folder {tmp_path}/file/run: Not a directory$"):
        opened(tmp_path / "file" / "run", recipe)
    assert (tmp_path / "file").read_bytes() == b""


def test_a_failed_write_leaves_nothing(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(OutputError, match=r"^cannot write .*recipe\.toml \(No space left on"):
            opened(tmp_path / "run", recipe)
    assert files(tmp_path / "run") == ["checkpoints", "lock"]
    opened(tmp_path / "run", recipe).close()
