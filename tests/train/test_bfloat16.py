"""Same: recipes whose gradients travel, or whose layers compute, in bfloat16 have one answer."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
from extras import extra
from gpu_place import emulated_gpu
from training import Done, Ground, Inside, assert_same, done, network, train, write_recipe

from majelpy.recipes.recipe import load
from majelpy.runs.trained import load_trained

pytest_plugins = ["training"]

SETTINGS = {"transport": "data.transport", "precision": "model.precision"}


@dataclass(frozen=True)
class Rounded:
    """A recipe in bfloat16, for ranks that may share a model, and its run on one rank."""

    setting: str
    recipe: Path
    alone: Done


@pytest.fixture(scope="module", params=SETTINGS)
def rounded(
    request: pytest.FixtureRequest, ground: Ground, tmp_path_factory: pytest.TempPathFactory
) -> Rounded:
    folder = tmp_path_factory.mktemp(request.param)
    changes = {SETTINGS[request.param].replace(".", "__"): "bfloat16"}
    recipe = write_recipe(
        folder / "bfloat16.toml", ground.corpus, model__parts=2, schedule__epochs=2,
        model__layers=network([32], 32, 32), **changes,
    )  # fmt: skip
    return Rounded(SETTINGS[request.param], recipe, train(recipe, folder / "run"))


@pytest.mark.parametrize("options", [["--place", "gpu"], ["--threads", "2"]], ids=" ".join)
def test_one_rank_of_another_place_gives_the_same_bits(
    options: list[str], rounded: Rounded, tmp_path: Path, inside: Inside
) -> None:
    with emulated_gpu() if "gpu" in options else nullcontext():
        said = inside("train", rounded.recipe, "--out", tmp_path, *options)
    assert said.code == 0, said.err
    assert_same(done(tmp_path, said.out), rounded.alone)


def test_the_plainest_instruction_set_gives_the_same_bits(rounded: Rounded, tmp_path: Path) -> None:
    assert_same(train(rounded.recipe, tmp_path, MAJELPY_ISA="plain"), rounded.alone)


SMALL = ["--no-shared-memory", "--bucket-bytes", "1000"]


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("ranks", "options"),
    [
        (3, []),
        (3, ["--no-shared-memory", "--bucket-bytes", "64"]),
        (2, ["--mesh", "model=2", "--model-parallel", "hidden"]),
        (4, ["--mesh", "data=2,model=2", "--model-parallel", "hidden", *SMALL]),
        *extra(
            (2, []),
            (2, ["--no-shared-memory"]),
            (3, [*SMALL, "--no-overlap"]),
            (2, ["--mesh", "model=2", "--model-parallel", "time"]),
            (2, ["--mesh", "model=2", "--model-parallel", "directions"]),
            (4, ["--mesh", "data=2,model=2", "--model-parallel", "time", *SMALL]),
            (4, ["--mesh", "data=2,model=2", "--model-parallel", "directions", *SMALL]),
        ),
    ],
    ids=str,
)
def test_any_ranks_give_the_same_bits(
    ranks: int, options: list[str], rounded: Rounded, tmp_path: Path
) -> None:
    assert_same(train(rounded.recipe, tmp_path, *options, ranks=ranks), rounded.alone)


def test_it_is_another_answer_than_float32(
    rounded: Rounded, tmp_path: Path, inside: Inside
) -> None:
    said = inside("train", rounded.recipe, "--out", tmp_path, "--set", f"{rounded.setting}=float32")
    assert said.code == 0, said.err
    other = done(tmp_path, said.out)
    assert other.fingerprint != rounded.alone.fingerprint
    runs = [[json.loads(line) for line in r.ledger.splitlines()] for r in (rounded.alone, other)]
    for lines in runs:
        assert lines[-1]["loss"] < lines[0]["loss"]
    one, two = (lines[0] for lines in runs)
    same_loss = one["loss_hex"] == two["loss_hex"]
    assert same_loss == (rounded.setting == "data.transport")  # the tree does not round the loss
    assert one["norm_hex"] != two["norm_hex"]


def test_a_checkpoint_keeps_the_precision(rounded: Rounded, tmp_path: Path, inside: Inside) -> None:
    if rounded.setting == "model.precision":
        assert load_trained(str(rounded.alone.folder)).model.architecture.precision == "bfloat16"
    assert inside("train", rounded.recipe, "--out", tmp_path, "--steps", "1",
                  "--set", "model.precision=float32").code == 0  # fmt: skip
    assert load_trained(str(tmp_path)).model.architecture.precision == "float32"


def test_float32_recipes_have_the_digest_of_older_ones(ground: Ground) -> None:
    bfloat16 = load(str(ground.recipe), ["model.precision=bfloat16"])
    assert "precision" not in load(str(ground.recipe)).content("", "")["model"]
    assert bfloat16.content("", "")["model"]["precision"] == "bfloat16"
