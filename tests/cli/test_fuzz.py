"""Values of other types and sizes than majelpy writes, with good digests: its own errors, no other.

What is drawn at random is drawn from `SEED`.
"""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from training import Ground, Inside, write_corpus

from majelpy.comm.world import World
from majelpy.errors import CheckpointError, MajelError, ManifestError, RecipeError
from majelpy.parsing import DEEPEST, parse_json, parse_toml
from majelpy.recipes.launch import Launch
from majelpy.recipes.recipe import load
from majelpy.runs import checkpoint as checkpoints
from majelpy.runs.checkpoint import Checkpoint
from majelpy.runs.trained import load_trained
from majelpy.speech.corpus import Corpus
from majelpy.speech.corpus_format import corpus_digest, metadata
from majelpy.speech.joined import open_corpora
from majelpy.speech.manifest import read_manifest
from majelpy.train.loop import Run

pytest_plugins = ["training"]

SEED = 10
DEEP = "[" * 100_000

Path_ = tuple[Any, ...]


def strange(value: Any) -> list[Any]:
    """What may stand in place of a value."""
    nested: Any = value
    for _ in range(DEEPEST - 8):
        nested = [nested]
    return [
        *(None, True, -1, 0, 1 << 20, 1 << 70, -0.5, 1e300, "", "x", "\ud800", "9" * 40),
        *([], [value], {}, {"x": value}, nested),
        *([value[:-1], value * 2] if isinstance(value, str | list) else []),
    ]


def paths(value: Any, start: Path_ = ()) -> Iterator[Path_]:
    """The places of all values within lists and tables."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*start, key)
        if isinstance(inner, dict | list):
            yield from paths(inner, (*start, key))


def changed(value: Any, count: int, seed: int = SEED) -> Iterator[tuple[str, Any]]:
    """Yield a value so many times with something else, or nothing, in one place, and where."""
    dice, places = random.Random(seed), list(paths(value))
    for number in range(count):
        place = places[number] if number < len(places) else dice.choice(places)
        result = copy.deepcopy(value)
        inner = result
        for key in place[:-1]:
            inner = inner[key]
        if dice.random() < 0.1:
            del inner[place[-1]]
        else:
            inner[place[-1]] = dice.choice(strange(inner[place[-1]]))
        yield f"{place}: {json.dumps(inner)[:200]}", result


@pytest.fixture
def run(ground: Ground, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ground.undisturbed.folder, tmp_path / "run"))


def test_descriptions_of_checkpoints(
    ground: Ground, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = checkpoints.read(checkpoints.path_of(run / "checkpoints", 30))
    training = Run(load(str(ground.recipe)), Launch(), World.start(), str(run))
    training.begin()
    used: list[Checkpoint] = []
    # What lies on the disk is not looked at again: its digest is good.
    monkeypatch.setattr(checkpoints, "newest", lambda folder: (used[-1], []))
    monkeypatch.setattr(checkpoints, "read", lambda path: used[-1])
    stored, refused = json.loads(json.dumps(good.description)), 0
    for what, description in changed(stored, 300):
        used.append(replace(good, description=description))
        for which in ("last", "", "best", "average"):
            try:
                load_trained(str(run), which, quiet=True)
            except MajelError as error:
                assert "\n" not in str(error), what
                refused += 1
            except Exception as error:
                pytest.fail(f"{what}: {which}: {type(error).__name__}: {error}")
        try:
            training._trainer.restore(used[-1])
        except CheckpointError:
            refused += 1
        except Exception as error:
            pytest.fail(f"{what}: restore: {type(error).__name__}: {error}")
    assert refused > 500
    training._trainer.close()


@pytest.mark.parametrize("tensor", ["mean", "parameters/dense.1.weight", "velocities/dense.1.bias"])
def test_tensors_of_checkpoints(tensor: str, ground: Ground, run: Path, inside: Inside) -> None:
    path = checkpoints.path_of(run / "checkpoints", 30)
    good = checkpoints.read(path)
    assert tensor in good.tensors, sorted(good.tensors)
    for other in (None, np.zeros(0, np.float32), np.zeros((3, 1, 2), np.float32)):
        tensors = {name: x for name, x in good.tensors.items() if name != tensor}
        if other is not None:
            tensors[tensor] = other
        checkpoints.write_as(path, Checkpoint(30, good.description, tensors))
        commands = [("compare", run, ground.undisturbed.folder)]
        if tensor.startswith("velocities"):
            commands.append(("train", ground.recipe, "--out", run))
        else:
            commands.append(("eval", run, ground.corpus))
        for words in commands:
            said = inside(*words)
            assert said.code in (1, 2) and "Traceback" not in said.err, words


def test_json_files_of_a_run(ground: Ground, run: Path, inside: Inside) -> None:
    content, lines = run / "content.json", (run / "ledger.jsonl").read_text().splitlines()
    good = json.loads(content.read_text())
    for what, other in changed(good, 12):
        content.write_text(json.dumps(other))
        for words in (("compare", run, ground.undisturbed.folder), ("train", ground.recipe)):
            out = ("--out", run) if words[0] == "train" else ()
            said = inside(*words, *out)
            assert said.code in (0, 1, 2) and "Traceback" not in said.err, what
    content.write_text(json.dumps(good))
    for what, other in changed(json.loads(lines[1]), 12):
        (run / "ledger.jsonl").write_text("\n".join([lines[0], json.dumps(other), *lines[2:], ""]))
        for words in (("compare", run, ground.undisturbed.folder), ("replay", run, "--step", "2")):
            said = inside(*words)
            assert said.code in (0, 1, 2) and "Traceback" not in said.err, what


def test_manifests(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    line = {"audio_filepath": "a.wav", "text": "a", "start": 0.5, "end": 1, "more": {"x": [1]}}
    refused = 0
    for what, other in changed(line, 120):
        path.write_text(json.dumps(other) + "\n")
        try:
            read_manifest(path)
        except ManifestError as error:
            assert "\n" not in str(error), what
            refused += 1
        except Exception as error:
            pytest.fail(f"{what}: {type(error).__name__}: {error}")
    assert refused > 30


NUMBERS = ["rate", "window", "hop", "features", "arithmetic", "shard", "shards"]


@pytest.mark.parametrize("name", NUMBERS)
def test_corpora(name: str, tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    write_corpus(path)
    with Corpus.open(path) as good:
        stored = good
    said = {key: getattr(stored, key) for key in NUMBERS}
    for value in (-1, 0, 1, 2, 1 << 31, (1 << 63) - 1, (1 << 64) - 1):
        described = metadata(**said | {name: value}, kind="features")
        with h5py.File(path, "r+") as file:
            for key, number in described.items():
                file.attrs[key] = np.bytes_(number) if isinstance(number, str) else number
            digest = corpus_digest(
                described, stored.mean, stored.scale, stored.sizes.tolist(),
                stored.transcripts, stored.names, stored.digests,
            )  # fmt: skip
            file.attrs["digest"] = np.bytes_(digest)
        with suppress(MajelError), open_corpora(str(path)) as corpus:
            corpus.frames(0)


@pytest.mark.parametrize("texts", [DEEP, '["\\ud800"]', "{}", "[1]", "[NaN]", "9" * 5000, '"'])
def test_texts_of_corpora(texts: str, tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    write_corpus(path)
    with h5py.File(path, "r+") as file:
        del file["names"]
        file.create_dataset("names", data=np.frombuffer(texts.encode(), np.uint8))
    with pytest.raises(MajelError, match=r"not a corpus.*, or damaged|damaged: 40 transcripts"):
        Corpus.open(path)


# --- nesting --------------------------------------------------------------------------------------


def test_json_and_toml_of_any_depth_end_in_a_value_error() -> None:
    for depth in (DEEPEST + 1, 500, 900, 5000, 100_000):
        for text in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
            with pytest.raises(ValueError, match="nested too deeply"):
                parse_json(text)
        with pytest.raises(ValueError, match="nested too deeply"):
            parse_toml(f"a = {'[' * depth}{']' * depth}")
        with pytest.raises(ValueError, match="nested too deeply"):
            parse_toml(f"a{'.a' * depth} = 1")
    good = "[" * DEEPEST + "]" * DEEPEST
    assert json.dumps(parse_json(good)) == good


@pytest.mark.parametrize("name", ["ledger.jsonl", "content.json", "failed/step-2.json"])
def test_brackets_in_a_run_folder(name: str, ground: Ground, run: Path, inside: Inside) -> None:
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_text(f"{DEEP}\n")
    for words in (
        ("train", ground.recipe, "--out", run),
        ("compare", run, ground.undisturbed.folder),
        ("replay", run, "--step", "2"),
    ):
        said = inside(*words)
        assert said.code in (0, 1, 2) and "Traceback" not in said.err


def test_brackets_in_a_description(run: Path) -> None:
    path = checkpoints.path_of(run / "checkpoints", 30)
    with h5py.File(path, "r+") as file:
        del file["description"]
        file.create_dataset("description", data=np.frombuffer(DEEP.encode(), np.uint8))
    with pytest.raises(CheckpointError, match="nested too deeply"):
        checkpoints.read(path)


def test_brackets_in_a_manifest_and_a_recipe(ground: Ground, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text(DEEP)
    with pytest.raises(ManifestError, match=r"m\.jsonl:1: not a JSON object: nested too deeply"):
        read_manifest(tmp_path / "m.jsonl")
    (tmp_path / "r.toml").write_text(f"a = {DEEP}")
    with pytest.raises(RecipeError, match=r"r\.toml: not TOML: nested too deeply"):
        load(str(tmp_path / "r.toml"))
    with pytest.raises(RecipeError, match=r"tiny\.toml: nested too deeply$"):
        load(str(ground.recipe), [f"augment.noise{'.a' * 5000}=1"])
