"""A Deep Speech 2 recipe with all kinds of layers, augmented: one answer, however it is executed.

Training is of recordings, so that speed, noise and gain take part, with Adam, weight noise and
SortaGrad. The undisturbed run is that of one rank which reads nothing ahead.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from extras import extra
from killing import draw, kill, newest_step, no_orphans, start
from recordings import ALL, manifests
from training import Done, Inside, assert_same, done, majel, settings, train

from majelpy.native import available_isas
from majelpy.speech.prepare import prepare

pytest_plugins = ["training"]

STEPS = 10
LAYERS: list[dict[str, Any]] = [
    {"layer": "conv", "channels": 2, "kernel": [5, 7], "stride": [2, 2], "batch_norm": True},
    {"layer": "conv", "channels": 2, "kernel": [3, 4], "stride": [1, 2]},
    {"layer": "batch_norm"},
    {"layer": "bigru", "units": 33, "batch_norm": True},
    {"layer": "row_conv", "future": 3},
    {"layer": "layer_norm"},
    {"layer": "lstm", "units": 32},
    {"layer": "dense", "units": 35, "batch_norm": True},
    {"layer": "dropout", "rate": 0.1},
]


@dataclass(frozen=True)
class Speech:
    """The recipe, and its undisturbed run."""

    recipe: Path
    undisturbed: Done


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Speech:
    folder = tmp_path_factory.mktemp("speech")
    spoken, noise = manifests(folder)
    prepare(spoken, folder / "samples.h5", kind="samples")
    prepare(noise, folder / "noise.h5", kind="noise")
    table = settings(
        folder / "samples.h5",
        data__batch=4, data__leaves=4, data__holdout=4, data__sort_first=True,
        model__parts=2, model__layers=LAYERS,
        optimizer__kind="adam", optimizer__rate=0.002, optimizer__weight_noise=0.01,
        schedule__epochs=2,
    )  # fmt: skip
    table["augment"] = ALL | {"noise": str(folder / "noise.h5")}
    recipe = folder / "speech.toml"
    recipe.write_text(tomli_w.dumps(table))
    undisturbed = train(recipe, folder / "undisturbed", "--no-prefetch", "--threads", "1")
    return Speech(recipe, undisturbed)


def test_the_run_computes_something(speech: Speech) -> None:
    # Else equal fingerprints would say little.
    lines = [json.loads(line) for line in speech.undisturbed.ledger.splitlines()]
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert len({line["loss_hex"] for line in lines}) == STEPS
    assert lines[-1]["dev_loss_hex"] != lines[4]["dev_loss_hex"]


@pytest.mark.parametrize(
    "change",
    [
        "augment.speeds=[1.0]",
        "augment.noise_share=0",
        "augment.gain_decibels=[0, 0]",
        "augment.frequency_masks=0",
        "augment.time_masks=0",
        "optimizer.weight_noise=0",
        "data.sort_first=false",
        "model.parts=1",
    ],
)
def test_everything_of_the_recipe_takes_part(
    change: str, speech: Speech, tmp_path: Path, inside: Inside
) -> None:
    said = inside("train", speech.recipe, "--out", tmp_path, "--steps", "1", "--set", change)
    assert said.code == 0, said.err
    (line,) = (tmp_path / "ledger.jsonl").read_bytes().splitlines()
    assert line != speech.undisturbed.ledger.splitlines()[0]


@pytest.mark.parametrize(
    "options",
    [
        ["--prefetch", "3"],
        ["--prefetch", "3", "--cache-bytes", "0", "--threads", "2"],
        ["--no-prefetch", "--cache-bytes", "0", "--pool-bytes", "65536"],
    ],
    ids=" ".join,
)
def test_reading_ahead_and_memory(
    options: list[str], speech: Speech, tmp_path: Path, inside: Inside
) -> None:
    said = inside("train", speech.recipe, "--out", tmp_path, *options)
    assert said.code == 0, said.err
    assert_same(done(tmp_path, said.out), speech.undisturbed)


@pytest.mark.parametrize("isa", available_isas()[1:] or ["plain"])
def test_instruction_sets(isa: str, speech: Speech, tmp_path: Path) -> None:
    assert_same(train(speech.recipe, tmp_path, MAJELPY_ISA=isa), speech.undisturbed)


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [3, *extra(2, 4)])
def test_ranks(ranks: int, speech: Speech, tmp_path: Path) -> None:
    options = ["--no-shared-memory", "--bucket-bytes", "1000"] if ranks == 3 else []
    assert_same(train(speech.recipe, tmp_path, *options, ranks=ranks), speech.undisturbed)


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("way", "mesh", "ranks"),
    [
        ("time", "data=2,model=2", 4),
        ("hidden", "model=2", 2),
        *extra(("time", "model=2", 2), ("directions", "model=2", 2)),
    ],
)
def test_ranks_that_share_a_model(
    way: str, mesh: str, ranks: int, speech: Speech, tmp_path: Path
) -> None:
    options = ["--mesh", mesh, "--model-parallel", way, "--prefetch", "3"]
    assert_same(train(speech.recipe, tmp_path, *options, ranks=ranks), speech.undisturbed)


@pytest.mark.mpi
def test_bfloat16_between_ranks(speech: Speech, tmp_path: Path, inside: Inside) -> None:
    options = ["--set", "data.transport=bfloat16", "--steps", "2"]
    said = inside("train", speech.recipe, "--out", tmp_path / "1", *options)
    assert said.code == 0, said.err
    shared = ["--mesh", "data=2,model=2", "--model-parallel", "hidden", "--no-shared-memory"]
    ended = majel("train", speech.recipe, "--out", tmp_path / "4", *options, *shared, ranks=4)
    assert ended.returncode == 0, ended.stderr
    ledgers = [(tmp_path / name / "ledger.jsonl").read_bytes() for name in ("1", "4")]
    assert ledgers[0] == ledgers[1]
    assert ledgers[0].splitlines()[1] != speech.undisturbed.ledger.splitlines()[1]


@pytest.mark.mpi
def test_killed_at_random_moments_and_resumed_on_other_ranks(
    speech: Speech, tmp_path: Path
) -> None:
    dice, run = draw("speech"), tmp_path / "run"
    worlds = [(3, []), (2, ["--mesh", "model=2", "--model-parallel", "time"]), (4, [])]
    dice.shuffle(worlds)
    with no_orphans(run):
        for ranks, options in worlds[:2]:
            before = newest_step(run)
            options = [*options, "--checkpoint-seconds", "0"]
            running = start(tmp_path, speech.recipe, run, ranks, *options, steps=2)
            running.wait_for_step(before + dice.randint(1, 2))
            time.sleep(dice.uniform(0, 0.03))
            kill(dice.choice(running.rank_processes()))
            assert running.wait() != 0, "it ended before it was killed"
        ranks, options = worlds[2]
        last = start(tmp_path, speech.recipe, run, ranks, *options, steps=STEPS)
        assert last.wait() == 0, last.stderr
    assert "resuming after step" in last.stderr
    assert_same(done(run, last.stdout), speech.undisturbed)
