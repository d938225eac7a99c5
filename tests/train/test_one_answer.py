"""One recipe, one answer: what may change without changing a bit, and what may not.

The undisturbed run is that of one rank with all settings left alone. Every other way to execute
the recipe gives its fingerprint and, byte for byte, its ledger.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from extras import extra
from gpu_place import emulated_gpu
from mpi_launch import PATIENCE, environment
from training import (
    STEPS,
    Done,
    Ground,
    Inside,
    assert_same,
    command,
    done,
    majel,
    network,
    own_lines,
    train,
    utterances,
    write_corpus,
    write_recipe,
)

from majelpy.cli import parser
from majelpy.cli.train import launch_of
from majelpy.data.minibatches import hold_out
from majelpy.native import available_isas
from majelpy.recipes.launch import Launch

pytest_plugins = ["training"]

# Each field of Launch: (ranks, options that change it). A field without a line fails a test.
VARIATIONS: dict[str, list[tuple[int, list[str]]]] = {
    "place": [(1, ["--place", "gpu"])],
    "threads": [(1, ["--threads", "1"]), (1, ["--threads", "2"]), (2, ["--threads", "2"])],
    "shared_memory": [
        (1, ["--no-shared-memory"]),
        (2, ["--no-shared-memory"]),
        (5, ["--no-shared-memory"]),
    ],
    "bucket_bytes": [
        (1, ["--bucket-bytes", "64"]),
        (3, ["--bucket-bytes", "1000", "--no-shared-memory"]),
        (2, ["--bucket-bytes", "4096"]),
        (3, ["--bucket-bytes", "64", "--no-shared-memory"]),
    ],
    "overlap": [
        (1, ["--no-overlap"]),
        (3, ["--no-overlap", "--bucket-bytes", "1000"]),
        (2, ["--no-overlap", "--bucket-bytes", "1000", "--no-shared-memory"]),
    ],
    "mesh": [(2, ["--mesh", "model=2"]), (2, ["--mesh", "data=2"])],
    "model_parallel": [
        (4, ["--model-parallel", "hidden", "--mesh", "data=2,model=2"]),
        (2, ["--model-parallel", "time", "--mesh", "model=2"]),
        (2, ["--model-parallel", "directions", "--mesh", "model=2"]),
    ],
    "pool_bytes": [(1, ["--pool-bytes", "0"]), (1, ["--pool-bytes", "65536"])],
    "prefetch": [
        (1, ["--no-prefetch"]),
        (1, ["--prefetch", "1"]),
        (1, ["--prefetch", "9"]),
        (3, ["--prefetch", "4"]),
    ],
    "cache_bytes": [
        (1, ["--cache-bytes", "0"]),
        (1, ["--cache-bytes", "10000"]),
        (1, ["--cache-bytes", "0", "--no-prefetch"]),
    ],
    "checkpoint_seconds": [
        (1, ["--checkpoint-seconds", "0"]),
        (1, ["--checkpoint-seconds", "0.05"]),
    ],
}


def marks(variations: list[tuple[int, list[str]]], ranks: int, options: list[str]) -> list[Any]:
    """Of a setting's variations on several ranks all but the first are more of the same."""
    first = next((found for found in variations if found[0] > 1), None)
    if ranks == 1:
        return []
    return [pytest.mark.mpi] + [pytest.mark.extra] * ((ranks, options) != first)


CASES = [
    pytest.param(
        *(ranks, options), id=f"{ranks}-{'-'.join(options)}",
        marks=marks(variations, ranks, options),
    )
    for variations in VARIATIONS.values()
    for ranks, options in variations
]  # fmt: skip


def launch(options: list[str]) -> Launch:
    namespace: argparse.Namespace = parser().parse_args(["train", "r", "--out", "o", *options])
    return launch_of(namespace)


def test_every_launch_setting_is_varied() -> None:
    assert set(VARIATIONS) == {field.name for field in fields(Launch)}
    assert all(VARIATIONS.values())


@pytest.mark.parametrize("field", VARIATIONS)
def test_each_variation_changes_its_setting(field: str) -> None:
    untouched = launch([])
    assert untouched == Launch()
    for _, options in VARIATIONS[field]:
        assert getattr(launch(options), field) != getattr(untouched, field)


@pytest.fixture(scope="session")
def in_parts(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """The recipe with parts, so that ranks can share a model, and its undisturbed run."""
    folder = tmp_path_factory.mktemp("parts")
    recipe = write_recipe(
        folder / "parts.toml", ground.corpus,
        model__parts=2, model__layers=network([32, 48], 32, 40),
    )  # fmt: skip
    return recipe, train(recipe, folder / "undisturbed")


@pytest.mark.parametrize(("ranks", "options"), CASES)
def test_no_launch_setting_changes_a_bit(
    ranks: int,
    options: list[str],
    ground: Ground,
    tmp_path: Path,
    inside: Inside,
    request: pytest.FixtureRequest,
) -> None:
    if ranks > 1:
        recipe, undisturbed = ground.recipe, ground.undisturbed
        if "--mesh" in options:
            recipe, undisturbed = request.getfixturevalue("in_parts")
        assert_same(train(recipe, tmp_path, *options, ranks=ranks), undisturbed)
        return
    with emulated_gpu() if "--place" in options else nullcontext():
        said = inside("train", ground.recipe, "--out", tmp_path, *options)
    assert said.code == 0, said.err
    assert_same(done(tmp_path, said.out), ground.undisturbed)


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [3, 8, *extra(2, 4, 5)])
def test_no_number_of_ranks_changes_a_bit(ranks: int, ground: Ground, tmp_path: Path) -> None:
    assert_same(train(ground.recipe, tmp_path, ranks=ranks), ground.undisturbed)
    timings = map(json.loads, (tmp_path / "timings.jsonl").read_text().splitlines())
    assert [line["ranks"] for line in timings] == [ranks] * STEPS


@pytest.mark.parametrize("isa", available_isas())
def test_no_instruction_set_changes_a_bit(isa: str, ground: Ground, tmp_path: Path) -> None:
    info = majel("info", MAJELPY_ISA=isa)
    assert f"instruction set: {isa} " in info.stdout
    assert_same(train(ground.recipe, tmp_path, MAJELPY_ISA=isa), ground.undisturbed)


@pytest.mark.mpi
def test_ranks_with_different_instruction_sets_agree(ground: Ground, tmp_path: Path) -> None:
    # Rank 0 takes the best instruction set, the other the plainest.
    script = tmp_path / "rank"
    script.write_text(
        '#!/bin/sh\n[ "$OMPI_COMM_WORLD_RANK" = 1 ] && export MAJELPY_ISA=plain\nexec "$@"\n'
    )
    script.chmod(0o755)
    words = command("train", ground.recipe, "--out", tmp_path / "run", ranks=2)
    ended = subprocess.run(
        [*words[:3], str(script), *words[3:]],
        env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert_same(done(tmp_path / "run", ended.stdout), ground.undisturbed)


def test_the_place_of_files_and_the_working_folder_change_nothing(
    ground: Ground, tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere.h5").write_bytes(ground.corpus.read_bytes())
    write_recipe(tmp_path / "other.toml", Path("elsewhere.h5"))
    monkeypatch.chdir(tmp_path)
    said = inside("train", "other.toml", "--out", "run")
    assert said.code == 0, said.err
    assert_same(done(tmp_path / "run", said.out), ground.undisturbed)


def test_the_run_learns_something(ground: Ground) -> None:
    # Else equal fingerprints would say little.
    lines = [json.loads(line) for line in ground.undisturbed.ledger.splitlines()]
    assert lines[-1]["loss"] < lines[0]["loss"] / 2
    assert len({line["loss_hex"] for line in lines}) == STEPS
    assert [line["step"] for line in lines if "digest" in line] == [10, 20, 30]
    assert lines[-1]["digest"] == ground.undisturbed.fingerprint
    for line in lines:
        assert float(np.float32(line["loss"])) == float.fromhex(line["loss_hex"])
    assert [line["step"] for line in lines if "dev_loss_hex" in line] == [5, 10, 15, 20, 25, 30]


def test_the_ledger_tells_nothing_of_the_launch(ground: Ground) -> None:
    for line in map(json.loads, ground.undisturbed.ledger.splitlines()):
        assert not {"seconds", "ranks", "threads", "host", "time"} & set(line)


# Negative controls: what may change a bit does.


@pytest.mark.parametrize(
    "change",
    ["seed=4", "data.leaves=4", "data.batch=8", "optimizer.rate=0.020000001", "schedule.warmup=5"],
)
def test_another_recipe_gives_another_fingerprint(
    change: str, ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    said = inside("train", ground.recipe, "--out", tmp_path, "--set", change)
    assert said.code == 0, said.err
    assert done(tmp_path, said.out).fingerprint != ground.undisturbed.fingerprint


def test_one_bit_of_one_sample_gives_another_fingerprint(
    ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    made = utterances()
    kept, _ = hold_out(len(made), 8, seed=3)
    frames = made[kept[11]][0]
    assert frames[3, 5] != 0
    frames.view(np.uint32)[3, 5] ^= 1
    write_corpus(tmp_path / "changed.h5", made)
    said = inside("train", ground.recipe, "--out", tmp_path / "run", "--set",
                  f"data.train={tmp_path / 'changed.h5'}")  # fmt: skip
    assert said.code == 0, said.err
    found = done(tmp_path / "run", said.out)
    assert found.fingerprint != ground.undisturbed.fingerprint
    assert found.ledger != ground.undisturbed.ledger


def test_the_same_corpus_written_again_gives_the_same(
    ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    write_corpus(tmp_path / "again.h5")
    said = inside("train", ground.recipe, "--out", tmp_path / "run", "--set",
                  f"data.train={tmp_path / 'again.h5'}")  # fmt: skip
    assert said.code == 0, said.err
    assert_same(done(tmp_path / "run", said.out), ground.undisturbed)


@pytest.mark.mpi
def test_more_ranks_than_leaves_is_one_clear_line(ground: Ground, tmp_path: Path) -> None:
    fewer = ["--set", "data.leaves=2"]
    ended = majel("train", ground.recipe, "--out", tmp_path / "run", *fewer, ranks=3)
    assert ended.returncode == 2
    assert own_lines(ended.stderr) == [
        "majel train: 3 ranks for data.leaves = 2 and model.parts = 1; needs D x M ranks, D at "
        "most 2 and M at most 1, such as 2 (raising leaves or parts changes the bits)"
    ]
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "run").exists()
