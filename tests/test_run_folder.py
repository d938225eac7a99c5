"""The folder of a run: one recipe, one process at a time, nothing half-written."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import pytest

from majelpy.errors import CheckpointError, OutputError
from majelpy.recipes.recipe import Recipe, load
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


def test_a_new_folder(tmp_path: Path, recipe: Recipe) -> None:
    folder = opened(tmp_path / "a" / "b", recipe)
    assert files(folder.path) == ["checkpoints", "content.json", "lock", "recipe.toml"]
    text = (folder.path / "recipe.toml").read_text("utf-8")
    assert load(str(folder.path / "recipe.toml")) == recipe
    assert tomllib.loads(text)["data"]["train"] == str(tmp_path / "t ü.h5")
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
    opened(tmp_path / "run", recipe).close()
    before = files(tmp_path / "run")
    other = load(str(tmp_path / "r.toml"), ["optimizer.rate=0.5"])
    with pytest.raises(CheckpointError) as caught:
        opened(tmp_path / "run", other)
    assert str(caught.value) == (
        f"run folder {tmp_path / 'run'} belongs to another recipe: optimizer.rate is 0.01 and 0.5 "
        "(there and now); give another --out"
    )
    with pytest.raises(CheckpointError, match=r"data\.train is 'A' and 'B' \(there and now\)"):
        opened(tmp_path / "run", recipe, digest="B")
    assert files(tmp_path / "run") == before


def test_many_differences_are_counted(tmp_path: Path, recipe: Recipe) -> None:
    opened(tmp_path / "run", recipe).close()
    changes = ["seed=2", "data.bin=2", "data.batch=2", "data.leaves=2", "model.parts=2"]
    with pytest.raises(CheckpointError) as caught:
        opened(tmp_path / "run", load(str(tmp_path / "r.toml"), changes))
    assert "data.batch is 32 and 2; data.bin is 16 and 2; data.leaves is 8 and 2; and 2 more " in (
        str(caught.value)
    )


def test_another_place_of_the_same_corpus_is_the_same_run(tmp_path: Path, recipe: Recipe) -> None:
    opened(tmp_path / "run", recipe).close()
    opened(tmp_path / "run", load(str(tmp_path / "r.toml"), ["data.train=/else.h5"])).close()


def test_a_damaged_description_is_refused(tmp_path: Path, recipe: Recipe) -> None:
    opened(tmp_path / "run", recipe).close()
    (tmp_path / "run" / "content.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"content\.json: damaged; give another --out$"):
        opened(tmp_path / "run", recipe)
    (tmp_path / "run" / "content.json").write_text(json.dumps({}))
    with pytest.raises(CheckpointError, match=r"belongs to another recipe: arithmetic is None and"):
        opened(tmp_path / "run", recipe)


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
    with pytest.raises(OutputError, match=rf"^run folder {tmp_path}/file: (File exists|Not a dir)"):
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
