"""Schedules, kept checkpoints, weight noise: outcomes, and one answer for every way to run."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from extras import extra
from gpu_place import emulated_gpu
from makers import same_bits
from training import (
    Done,
    Ground,
    Inside,
    assert_same,
    done,
    majel,
    own_lines,
    train,
    write_recipe,
)

from majelpy.array import zeros
from majelpy.nn.layers import read
from majelpy.nn.model import Architecture, Model
from majelpy.nn.networks import deep_speech_1
from majelpy.nn.share import Share
from majelpy.nn.ways.shares import Shapes, share_of
from majelpy.optimizers.weight_noise import WeightNoise, pieces
from majelpy.recipes.recipe import Recipe, load
from majelpy.runs import checkpoint as checkpoints
from majelpy.runs.description import ScheduleState
from majelpy.runs.trained import load_trained
from majelpy.settings import as_table, parse
from majelpy.train.schedule import Schedule

pytest_plugins = ["training"]

EPOCHS, STEPS = 12, 60
HOLD = 2
AVERAGE = 3


@pytest.fixture(scope="module")
def deep(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A recipe with all that is new in it, and its undisturbed run."""
    folder = tmp_path_factory.mktemp("deep")
    optimizer = {"kind": "adam", "rate": 0.02, "weight_noise": 0.01, "decay": 0.01}
    schedule = {"kind": "plateau", "epochs": EPOCHS, "warmup": 4, "hold": HOLD, "anneal": 0.5}
    recipe = write_recipe(
        folder / "deep.toml", ground.corpus,
        optimizer=optimizer, schedule=schedule | {"average": AVERAGE},
        model__layers=list(deep_speech_1(1, (16, 16, 16), 16, 16)),
    )  # fmt: skip
    return recipe, train(recipe, folder / "undisturbed")


def run(inside: Inside, recipe: Path, folder: Path, *options: str) -> Done:
    said = inside("train", recipe, "--out", folder, *options)
    assert said.code == 0, said.err
    return done(folder, said.out)


def changes(*assignments: str) -> list[str]:
    return [word for assignment in assignments for word in ("--set", assignment)]


def entries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]


def wrong_of(folder: Path) -> dict[int, int]:
    """Wrong dev characters after the steps where an epoch ended."""
    name = "dev_wrong_characters"
    return {entry["step"]: entry[name] for entry in entries(folder) if name in entry}


def kept(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "checkpoints").iterdir())}


def assert_all_same(found: Done, expected: Done) -> None:
    """Fingerprint, ledger, and each checkpoint that the undisturbed run has kept."""
    assert_same(found, expected)
    files = kept(found.folder)
    for name, content in kept(expected.folder).items():
        assert files[name] == content, name


# --- one answer ------------------------------------------------------------------------------


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [3, *extra(2)])
def test_any_number_of_ranks(ranks: int, deep: tuple[Path, Done], tmp_path: Path) -> None:
    recipe, undisturbed = deep
    assert_all_same(train(recipe, tmp_path, ranks=ranks), undisturbed)


def test_the_run_improves_and_meets_plateaus(deep: tuple[Path, Done]) -> None:
    # Else equal fingerprints would say little.
    wrong = list(wrong_of(deep[1].folder).values())
    assert wrong[-1] < wrong[0] / 2
    better = [score < min(wrong[:i]) for i, score in enumerate(wrong) if i >= HOLD]
    assert 3 <= sum(better) <= len(better) - 3


def test_in_pieces_that_end_within_plateaus(
    deep: tuple[Path, Done], tmp_path: Path, inside: Inside
) -> None:
    recipe, undisturbed = deep
    for step in (1, 5, 19, 20, 34, 35, 56):
        run(inside, recipe, tmp_path, "--steps", str(step))
    assert_all_same(run(inside, recipe, tmp_path), undisturbed)


@pytest.mark.parametrize("step", [20, 41, 60])
def test_resumed_from_before_what_was_lost(
    step: int, deep: tuple[Path, Done], tmp_path: Path, inside: Inside
) -> None:
    # The newest two are lost, an epoch's end among them; the best one may be newer than the rest.
    recipe, undisturbed = deep
    run(inside, recipe, tmp_path, "--steps", str(step), "--checkpoint-seconds", "0")
    (tmp_path / "fingerprint").unlink(missing_ok=True)
    best = checkpoints.read(tmp_path / "checkpoints" / "best.h5").step
    for lost in (step, step - 1):
        checkpoints.path_of(tmp_path / "checkpoints", lost).write_bytes(b"lost")
    said = inside("train", recipe, "--out", tmp_path)
    assert f"resuming after step {max(step - 2, best)} of {STEPS}" in said.err
    assert_all_same(done(tmp_path, said.out), undisturbed)


@pytest.mark.mpi
def test_resumed_on_another_number_of_ranks(deep: tuple[Path, Done], tmp_path: Path) -> None:
    recipe, undisturbed = deep
    first = majel("train", recipe, "--out", tmp_path, "--steps", "18", ranks=3)
    assert first.returncode == 0, first.stderr
    assert_all_same(train(recipe, tmp_path, ranks=2), undisturbed)


@pytest.mark.parametrize("kind", ["adam", "adagrad"])
def test_on_a_gpu_place(kind: str, deep: tuple[Path, Done], tmp_path: Path, inside: Inside) -> None:
    options = ("--steps", "3", *changes(f"optimizer.kind={kind}"))
    run(inside, deep[0], tmp_path / "cpu", *options)
    with emulated_gpu() as on:
        run(inside, deep[0], tmp_path / "gpu", *options, "--place", "gpu")
    assert f"mj_{kind}_array_kernel" in on.launched and "mj_noise_array_kernel" in on.launched
    assert kept(tmp_path / "gpu") == kept(tmp_path / "cpu")
    assert entries(tmp_path / "gpu") == entries(tmp_path / "cpu")


@pytest.fixture(scope="module")
def in_parts(
    deep: tuple[Path, Done], ground: Ground, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Done]:
    """The recipe with parts, so that ranks can share a model, and its undisturbed run."""
    folder = tmp_path_factory.mktemp("parts")
    table = load(str(deep[0]))
    schedule = as_table(table.schedule) | {"epochs": 3}
    model = {"layers": list(deep_speech_1(1, (32, 48), 32, 40)), "parts": 2}
    recipe = write_recipe(
        folder / "parts.toml", ground.corpus,
        optimizer=as_table(table.optimizer), schedule=schedule, model=model,
    )  # fmt: skip
    return recipe, train(recipe, folder / "undisturbed")


@pytest.mark.mpi
@pytest.mark.parametrize("way", ["hidden", *extra("time", "directions")])
def test_ranks_that_share_a_model(way: str, in_parts: tuple[Path, Done], tmp_path: Path) -> None:
    recipe, undisturbed = in_parts
    options = ("--mesh", "model=2", "--model-parallel", way)
    assert_all_same(train(recipe, tmp_path, *options, ranks=2), undisturbed)


# --- what each setting does --------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        *("optimizer.kind=adagrad", "optimizer.beta1=0.8", "optimizer.beta2=0.99"),
        *("optimizer.epsilon=1e-6", "optimizer.decay=0.02", "optimizer.norm_limit=0.25"),
        *("optimizer.weight_noise=0", "data.sort_first=true"),
        *("schedule.kind=hold", "schedule.hold=4", "schedule.patience=2", "schedule.anneal=0.75"),
        *("schedule.early_stop=1", "schedule.epochs=11", "seed=4"),
    ],
)
def test_every_setting_changes_the_run(
    change: str, deep: tuple[Path, Done], tmp_path: Path, inside: Inside
) -> None:
    recipe, undisturbed = deep
    found = run(inside, recipe, tmp_path, *changes(change))
    assert found.fingerprint != undisturbed.fingerprint


def test_nesterov_is_what_a_recipe_means_that_says_nothing(
    ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    said = changes("optimizer.kind=nesterov", "schedule.kind=hold", "optimizer.weight_noise=0")
    assert_same(run(inside, ground.recipe, tmp_path, *said), ground.undisturbed)


@pytest.mark.parametrize("patience", [1, 2])
def test_the_rate_falls_at_plateaus(
    patience: int, deep: tuple[Path, Done], tmp_path: Path, inside: Inside
) -> None:
    run(inside, deep[0], tmp_path, *changes(f"schedule.patience={patience}"))
    rate, best, bad = np.float32(0.02), 1 << 30, 0
    rates = {}
    for epoch, (step, wrong) in enumerate(wrong_of(tmp_path).items(), start=1):
        rates[step] = rate
        bad = 0 if wrong < best else bad + (epoch > HOLD)
        best = min(best, wrong)
        if bad == patience:
            rate, bad = rate * np.float32(0.5), 0
    found = {entry["step"]: np.float32(entry["rate"]) for entry in entries(tmp_path)}
    assert {step: found[step] for step in rates} == rates
    assert len(set(rates.values())) >= 2


def test_early_stop(deep: tuple[Path, Done], tmp_path: Path, inside: Inside) -> None:
    recipe, undisturbed = deep
    wrong = wrong_of(undisturbed.folder)
    options = changes("schedule.early_stop=2")
    said = inside("train", recipe, "--out", tmp_path, *options)
    assert said.code == 0, said.err
    found = done(tmp_path, said.out)
    ended = entries(tmp_path)[-1]["step"]
    ends = list(wrong)
    stale = [  # the first epoch of which, and of the one before, none was better than all earlier
        step
        for i, step in enumerate(ends)
        if i >= HOLD + 1
        and min(wrong[s] for s in ends[i - 1 : i + 1]) >= min(wrong[s] for s in ends[: i - 1])
    ]
    assert ended == stale[0] < STEPS
    best = min(wrong[s] for s in ends if s <= ended)
    first = next(s for s in ends if wrong[s] == best)
    assert (
        f"stopped: 2 epochs without fewer wrong dev characters than the {best} after step {first} "
        "(schedule.early_stop)\n"
    ) in said.err
    assert found.ledger == b"".join(undisturbed.ledger.splitlines(keepends=True)[:ended])
    assert (tmp_path / "fingerprint").read_text() == found.fingerprint + "\n"
    before = kept(tmp_path)
    again = run(inside, recipe, tmp_path, *options)
    assert again.fingerprint == found.fingerprint and kept(tmp_path) == before


def test_the_best_checkpoint_stays(deep: tuple[Path, Done], tmp_path: Path, inside: Inside) -> None:
    recipe = deep[0]
    run(inside, recipe, tmp_path, *changes("schedule.average=0"), "--checkpoint-seconds", "0")
    wrong = wrong_of(tmp_path)
    best = min(wrong, key=lambda step: (wrong[step], step))
    assert sorted(kept(tmp_path)) == ["best.h5", "step-58.h5", "step-59.h5", "step-60.h5"]
    state = checkpoints.read(tmp_path / "checkpoints" / "best.h5")
    assert state.step == best < 58
    schedule = state.description["schedule"]
    assert (schedule["best_step"], schedule["best"], schedule["waited"]) == (best, wrong[best], 0)
    stopped = tmp_path / "stopped"
    run(inside, recipe, stopped, *changes("schedule.average=0"), "--steps", str(best))
    assert kept(stopped)[f"step-{best}.h5"] == kept(tmp_path)["best.h5"]


def test_a_best_checkpoint_does_not_put_off_the_next_one_to_resume_from(
    deep: tuple[Path, Done], tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = (
        itertools.count()
    )  # the loop looks at the clock at its start, once a step and after it has saved
    clock = SimpleNamespace(monotonic=lambda: next(ticks), perf_counter=time.perf_counter)
    monkeypatch.setattr("majelpy.train.saving.time", clock)
    options = [*changes("schedule.average=0"), "--checkpoint-seconds", "7", "--steps", "11"]
    run(inside, deep[0], tmp_path, *options)
    assert wrong_of(tmp_path)  # after step 5 there is a best one
    assert sorted(kept(tmp_path)) == ["best.h5", "step-11.h5", "step-7.h5"]


def test_without_dev_utterances_there_is_no_best(
    ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    options = changes("data.holdout=0", "schedule.epochs=1", "schedule.average=1")
    run(inside, ground.recipe, tmp_path, *options)
    assert list(kept(tmp_path)) == ["step-6.h5"]
    said = inside("eval", tmp_path, ground.corpus, "--checkpoint", "best")
    assert said.code == 2
    assert own_lines(said.err) == [
        f"majel eval: {tmp_path}: no best checkpoint, for the run has no dev utterances (data.dev, "
        "data.holdout); take --checkpoint last"
    ]


def test_before_an_epoch_has_ended_there_is_no_best(
    ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    run(inside, ground.recipe, tmp_path, "--steps", "4")
    said = inside("eval", tmp_path, ground.corpus, "--checkpoint", "best")
    assert (said.code, own_lines(said.err)) == (
        2,
        [
            f"majel eval: {tmp_path}: no best checkpoint, for no epoch has ended yet; train on, or "
            "take --checkpoint last"
        ],
    )


# --- which checkpoint is taken -------------------------------------------------------------------


def parameters(folder: Path, which: str = "") -> np.ndarray:
    return load_trained(str(folder), which, quiet=True).parameters.numpy()


def test_an_average_is_the_mean_of_the_last_epochs_ends(deep: tuple[Path, Done]) -> None:
    folder = deep[1].folder
    assert sorted(kept(folder)) == ["best.h5", "step-50.h5", "step-55.h5", "step-60.h5"]
    first, second, third = (parameters(folder, step) for step in ("50", "55", "60"))
    found = parameters(folder, "average")
    assert same_bits(found, (first + second + third) / np.float32(3))
    assert same_bits(parameters(folder), third) and same_bits(parameters(folder, "last"), third)
    for other in (first, second, third):
        assert not same_bits(found, other)


def test_the_average_of_an_unfinished_run(
    deep: tuple[Path, Done], tmp_path: Path, inside: Inside
) -> None:
    recipe = deep[0]
    run(inside, recipe, tmp_path, "--steps", "4")
    said = inside("eval", tmp_path, tmp_path / "any.h5", "--checkpoint", "average")
    assert own_lines(said.err) == [
        f"majel eval: {tmp_path}: nothing to average; needs schedule.average in the recipe and an "
        "epoch's end"
    ]
    run(inside, recipe, tmp_path, "--steps", "18", "--checkpoint-seconds", "0")
    names = ["best.h5", *(f"step-{step}.h5" for step in (10, 15, 16, 17, 18, 5))]
    assert sorted(kept(tmp_path)) == sorted(names)
    states = [parameters(tmp_path, step) for step in ("5", "10", "15")]
    mean = (states[0] + states[1] + states[2]) / np.float32(3)
    assert same_bits(parameters(tmp_path, "average"), mean)
    (tmp_path / "checkpoints" / "step-10.h5").unlink()
    said = inside("transcribe", tmp_path, "any.npy", "--checkpoint", "average")
    assert own_lines(said.err) == [
        f"majel transcribe: {tmp_path}: no checkpoint step-10.h5; there are those of steps 18, 17, "
        "16, 15, 5"
    ]


@pytest.mark.parametrize("result", ["best", "average"])
def test_the_recipe_says_what_is_taken(
    result: str, deep: tuple[Path, Done], ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    found = run(inside, deep[0], tmp_path, *changes(f"schedule.result={result}"))
    assert found.fingerprint == deep[1].fingerprint  # it is no matter of training
    taken = inside("eval", tmp_path, ground.corpus)
    step = load_trained(str(tmp_path), result).step
    line = f"{tmp_path}: the {result} checkpoint (schedule.result), of step {step}"
    assert line in taken.err.splitlines()
    told = inside("eval", tmp_path, ground.corpus, "--checkpoint", result)
    assert line not in told.err
    last = inside("eval", tmp_path, ground.corpus, "--checkpoint", "last")
    assert taken.out == told.out != last.out


@pytest.mark.mpi
def test_several_ranks_take_the_same(
    deep: tuple[Path, Done], ground: Ground, inside: Inside
) -> None:
    command = ("eval", deep[1].folder, ground.corpus, "--checkpoint", "average")
    ended = majel(*command, ranks=2)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == inside(*command).out


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("7", "no checkpoint step-7.h5; there are those of steps 60, 55, 50"),
        ("newest", "--checkpoint newest: needs last, best, average or a step"),
    ],
)
def test_a_checkpoint_that_is_none(
    which: str, message: str, deep: tuple[Path, Done], tmp_path: Path, inside: Inside
) -> None:
    folder = deep[1].folder
    for command in (["eval", folder, "any.h5"], ["transcribe", folder, "any.npy"]):
        said = inside(*command, "--checkpoint", which)
        assert said.code == 2
        (line,) = own_lines(said.err)
        assert line.endswith(message)
    copied = Path(shutil.copytree(folder, tmp_path / "run"))
    (copied / "checkpoints" / "best.h5").write_bytes(b"nothing")
    said = inside("transcribe", copied, "any.npy", "--checkpoint", "best")
    assert said.code == 2 and "best.h5: damaged or truncated" in said.err


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("schedule.kind=plateau", "schedule.kind is 'plateau'"),
        ("schedule.early_stop=3", "schedule.early_stop is 3"),
        ("schedule.result=best", "schedule.result is 'best'"),
    ],
)
def test_what_watches_needs_dev_utterances(
    change: str, found: str, ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    options = changes("data.holdout=0", change)
    said = inside("train", ground.recipe, "--out", tmp_path / "run", *options)
    assert said.code == 2
    assert own_lines(said.err) == [
        f"majel train: {found} and there are no dev utterances; needs data.dev, or data.holdout of "
        "at least 1"
    ]


# --- schedule and noise by themselves --------------------------------------------------------


def recipe_of(tmp_path: Path, *assignments: str) -> Recipe:
    path = tmp_path / "r.toml"
    path.write_text('[data]\ntrain = "t.h5"\n')
    return load(str(path), assignments)


def test_a_state_goes_through_json(tmp_path: Path) -> None:
    recipe = recipe_of(
        tmp_path, "schedule.kind=plateau", "schedule.hold=0", "schedule.average=2",
        "schedule.patience=2", "schedule.early_stop=4",
    )  # fmt: skip
    one = Schedule(recipe)
    seen = []
    for epoch, wrong in enumerate((9, 9, 8, 8, 8, 8, 8), start=1):
        other = Schedule(recipe)
        stored = json.loads(json.dumps(one.content()))
        other.restore(parse(ScheduleState, stored, "a test"))
        for schedule in (one, other):
            schedule.end_epoch(epoch, 10 * epoch, wrong)
        assert one.state == other.state
        assert same_bits(one.rate(500, epoch).numpy(), other.rate(500, epoch).numpy())
        seen.append((one.state.annealed, one.state.ends, one.ended))
    assert seen == [
        (0, (10,), False), (0, (10, 20), False), (0, (20, 30), False), (0, (30, 40), False),
        (1, (40, 50), False), (1, (50, 60), False), (2, (60, 70), True),
    ]  # fmt: skip


WIDE = read(
    [
        *deep_speech_1(1, (64, 96), 80, 64),
        {"layer": "bigru", "units": 70},
        {"layer": "row_conv", "future": 2},
    ],
    "layers",
    "",
)
SIZES = Architecture(3, 5, WIDE)


@pytest.mark.parametrize(("way", "ranks"), [("hidden", 2), ("hidden", 3), ("directions", 2)])
def test_noise_of_a_share_is_that_of_the_whole(way: str, ranks: int, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, "optimizer.weight_noise=0.5")

    def noise(model: Model) -> dict[str, np.ndarray]:
        deviation = recipe.optimizer.weight_noise
        weight_noise = WeightNoise(deviation, recipe.seed, model.layout, zeros(1).place)
        found = weight_noise.weights(zeros(model.layout.size), 3)
        covered = np.zeros(model.layout.size, bool)
        for _, _, start, count in pieces(model.layout):
            assert not covered[start : start + count].any()
            covered[start : start + count] = True
        assert same_bits(found.numpy()[~covered], np.zeros((~covered).sum(), np.float32))
        return {name: x.numpy() for name, x in model.layout.items(found)}

    whole = noise(Model(SIZES, Share(4)))
    assert all(len(np.unique(x)) > 0.99 * x.size for x in whole.values())
    for index in range(ranks):
        model = Model(SIZES, share_of(way, 4, Shapes(index, ranks)))
        for name, found in noise(model).items():
            expected = model.layout.of_whole(name, whole[name])
            assert same_bits(found, expected.reshape(found.shape)), name


def test_weights_without_noise_are_the_parameters() -> None:
    layout = Model(SIZES, Share(4)).layout
    parameters = layout.initial(1)
    quiet = WeightNoise(0.0, 1, layout, parameters.place)
    assert quiet.weights(parameters, 1) is parameters
    loud = WeightNoise(0.1, 1, layout, parameters.place)
    before = parameters.numpy().copy()
    one, two = (loud.weights(parameters, step).numpy().copy() for step in (1, 2))
    assert same_bits(parameters.numpy(), before)
    assert not same_bits(one, two) and not same_bits(one, before)
