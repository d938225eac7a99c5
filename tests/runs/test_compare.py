"""`majel compare`: are the bits the same, and where do they first differ?"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from training import Ground, Inside, network, write_recipe

from majelpy.runs import checkpoint as checkpoints
from majelpy.runs.compare import compare_runs

pytest_plugins = ["training"]


@pytest.fixture
def copied(ground: Ground, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ground.undisturbed.folder, tmp_path / "other"))


def change_tensor(folder: Path, name: str, change: Callable[[np.ndarray], None]) -> None:
    """Write the newest checkpoint again, whole, with another tensor."""
    path = next(iter((folder / "checkpoints").glob("step-30.h5")))
    state = checkpoints.read(path)
    change(state.tensors[name])
    checkpoints.write(folder / "checkpoints", state)


def test_the_same(ground: Ground, copied: Path, inside: Inside) -> None:
    said = inside("compare", ground.undisturbed.folder, copied)
    assert (said.code, said.err) == (0, "")
    assert said.out == (
        "compare: the same bits: 30 steps of the ledgers and the checkpoint of step 30\n"
    )


def test_a_run_that_went_less_far(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    inside("train", ground.recipe, "--out", tmp_path / "run", "--steps", "12")
    said = inside("compare", tmp_path / "run", ground.undisturbed.folder)
    assert (said.code, said.err) == (1, "")
    assert said.out == (
        "compare: the same bits as far as both go: 12 steps of the ledgers; "
        "A ends at step 12, B at step 30\n"
    )


def edit_ledger(folder: Path, change: Callable[[list[str]], object]) -> None:
    path = folder / "ledger.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    change(lines)
    path.write_text("".join(lines))


CHECKPOINT = "the checkpoint of step 30"
GAPS: list[tuple[Callable[[list[str]], object], str, int, list[str]]] = [
    (lambda lines: lines.__delitem__(slice(3, 8)), "steps 4-8", 25, ["steps 4-8"]),
    (lambda lines: lines.__delitem__(29), "step 30", 29, []),  # cut: the checkpoint went on
    (lambda lines: lines.__delitem__(slice(9, 30)), "steps 10-30", 9, []),
    (lambda lines: lines.__setitem__(1, "garbage\n"), "step 2", 29, ["line 2", "step 2"]),
]


@pytest.mark.parametrize(("change", "missing", "count", "faults"), GAPS, ids=[g[1] for g in GAPS])
def test_a_ledger_with_a_gap_proves_nothing_of_it(
    change: Callable[[list[str]], object], missing: str, count: int, faults: list[str],
    ground: Ground, copied: Path, inside: Inside,
) -> None:  # fmt: skip
    edit_ledger(copied, change)
    for runs, name in (((copied, ground.undisturbed.folder), "A"),
                       ((ground.undisturbed.folder, copied), "B")):  # fmt: skip
        said = inside("compare", *runs)
        assert (said.code, said.err) == (1, "")
        *named, verdict = said.out.splitlines()
        assert len(named) == len(faults)
        for line, fault in zip(named, faults, strict=True):
            assert line.startswith(f"compare: {copied}/ledger.jsonl: {fault} ")
        assert verdict == (
            f"compare: cannot say: {missing} missing in {name}; else the same bits: {count} steps "
            f"of the ledgers and {CHECKPOINT}"
        )


def test_a_deleted_ledger(ground: Ground, copied: Path, inside: Inside) -> None:
    (copied / "ledger.jsonl").unlink()
    said = inside("compare", ground.undisturbed.folder, copied)
    assert said.code == 1
    assert said.out == (
        f"compare: cannot say: steps 1-30 missing in B; else the same bits: {CHECKPOINT}\n"
    )


def test_a_difference_beside_a_gap_is_a_difference(
    ground: Ground, copied: Path, inside: Inside
) -> None:
    def change(lines: list[str]) -> None:
        lines[20] = json.dumps(json.loads(lines[20]) | {"norm_hex": "0x1p+0"}) + "\n"
        del lines[3]

    edit_ledger(copied, change)
    said = inside("compare", ground.undisturbed.folder, copied)
    assert said.code == 1
    missing, different = said.out.splitlines()
    assert missing == f"compare: {copied}/ledger.jsonl: step 4 missing"
    assert different.startswith("compare: ledgers differ in step 21: norm_hex 0x")


def test_recipes_that_differ_and_have_the_same_bits(
    ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    inside("train", ground.recipe, "--out", tmp_path / "run", "--set", "schedule.result=best")
    said = inside("compare", ground.undisturbed.folder, tmp_path / "run")
    assert said.code == 0
    assert said.out == (
        "compare: the recipes differ: schedule.result is 'last' (A) and 'best' (B)\n"
        "compare: the same bits, though the recipes differ: 30 steps of the ledgers and "
        f"{CHECKPOINT}\n"
    )


def test_an_edited_recipe_is_not_what_trained(ground: Ground, copied: Path, inside: Inside) -> None:
    text = (copied / "recipe.toml").read_text()
    (copied / "recipe.toml").write_text(text.replace("rate = 0.02", "rate = 0.5"))
    said = inside("compare", ground.undisturbed.folder, copied)
    assert said.code == 0
    assert said.out == (
        f"compare: {copied}/recipe.toml: not what trained B: optimizer.rate is 0.02 (saved) and "
        f"0.5 (recipe.toml)\ncompare: the same bits: 30 steps of the ledgers and {CHECKPOINT}\n"
    )


def test_what_trained_is_asked_of_the_checkpoints(
    ground: Ground, copied: Path, inside: Inside
) -> None:
    (copied / "content.json").write_text("{")
    said = inside("compare", ground.undisturbed.folder, copied)
    assert (said.code, said.out.count("\n")) == (0, 1)
    shutil.rmtree(copied / "checkpoints")
    said = inside("compare", ground.undisturbed.folder, copied)
    assert said.out == (
        f"compare: {copied}: nothing says what trained B\n"
        "compare: the same bits: 30 steps of the ledgers\n"
    )


def test_another_seed(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    inside("train", ground.recipe, "--out", tmp_path / "run", "--set", "seed=4")
    said = inside("compare", ground.undisturbed.folder, tmp_path / "run")
    assert (said.code, said.err) == (1, "")
    recipes, ledgers, tensors = said.out.splitlines()
    assert recipes == "compare: the recipes differ: seed is 3 (A) and 4 (B)"
    assert ledgers.startswith("compare: ledgers differ in step 1: loss ")
    assert "loss_hex 0x1." in ledgers
    a, b = (
        checkpoints.read(folder / "checkpoints" / "step-30.h5").tensors["parameters/birnn.4.bias"]
        for folder in (ground.undisturbed.folder, tmp_path / "run")
    )
    assert tensors.startswith("compare: birnn.4.bias differs at (0) in step 30: ")
    assert f"{float(a.flat[0]).hex()} and {float(b.flat[0]).hex()} (" in tensors


def test_the_first_difference_of_the_ledgers(ground: Ground, copied: Path, inside: Inside) -> None:
    lines = (copied / "ledger.jsonl").read_text().splitlines()
    for at in (16, 21):
        entry = json.loads(lines[at])
        entry["norm_hex"] = "0x1.8p+1"
        lines[at] = json.dumps(entry)
    before = json.loads(ground.undisturbed.ledger.splitlines()[16])["norm_hex"]
    (copied / "ledger.jsonl").write_text("\n".join(lines) + "\n")
    said = inside("compare", ground.undisturbed.folder, copied)
    assert said.code == 1
    assert said.out == (f"compare: ledgers differ in step 17: norm_hex {before} and 0x1.8p+1\n")


def test_one_bit_of_one_weight(ground: Ground, copied: Path, inside: Inside) -> None:
    def flip(tensor: np.ndarray) -> None:
        tensor.view(np.uint32)[3, 11] ^= 1

    original = checkpoints.read(copied / "checkpoints" / "step-30.h5")
    value = original.tensors["parameters/dense.2.weight"][3, 11]
    bits = value.view(np.uint32) ^ np.uint32(1)
    change_tensor(copied, "parameters/dense.2.weight", flip)
    said = inside("compare", ground.undisturbed.folder, copied)
    assert said.code == 1
    assert said.out == (
        f"compare: dense.2.weight differs at (3, 11) in step 30: {float(value).hex()} and "
        f"{float(bits.view(np.float32)).hex()} (1 ulp); 1 of 256 values differ\n"
    )


def test_a_sign_of_zero_is_a_difference(ground: Ground, copied: Path, tmp_path: Path) -> None:
    second = Path(shutil.copytree(copied, tmp_path / "second"))
    for folder, zero in ((copied, 0.0), (second, -0.0)):
        change_tensor(folder, "velocities/output.bias", lambda t, zero=zero: t.fill(zero))
    lines, same = compare_runs(str(copied), str(second))
    assert not same
    assert lines == [
        "compare: velocities/output.bias differs at (0) in step 30: 0x0.0p+0 and -0x0.0p+0 "
        "(0 ulp); 6 of 6 values differ"
    ]


def test_equal_nans_are_the_same_bits(ground: Ground, copied: Path, tmp_path: Path) -> None:
    change_tensor(copied, "mean", lambda t: t.fill(np.nan))
    second = shutil.copytree(copied, tmp_path / "second")
    assert compare_runs(str(copied), str(second))[1]
    assert not compare_runs(str(copied), str(ground.undisturbed.folder))[1]


def test_other_shapes(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    recipe = write_recipe(tmp_path / "r.toml", ground.corpus, model__layers=network(recurrent=24))
    inside("train", recipe, "--out", tmp_path / "run")
    lines, same = compare_runs(str(ground.undisturbed.folder), str(tmp_path / "run"))
    assert not same
    assert lines[0] == "compare: the recipes differ: model.layers[7].units is 16 (A) and 24 (B)"
    assert lines[2:] == ["compare: birnn.4.bias has shapes (32,) and (48,) in step 30"]


def test_a_missing_folder(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    for a, b in (
        (tmp_path / "no", ground.undisturbed.folder),
        (ground.undisturbed.folder, tmp_path),
    ):
        said = inside("compare", a, b)
        missing = a if a != ground.undisturbed.folder else b
        expected = f"{missing / 'ledger.jsonl'}: there is no ledger; is this a run folder?"
        assert (said.code, said.out, said.err) == (2, "", f"majel compare: {expected}\n")


def test_nothing_in_common(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    (tmp_path / "ledger.jsonl").write_text("")
    said = inside("compare", ground.undisturbed.folder, tmp_path)
    assert said.code == 2
    assert said.err == (
        f"majel compare: {ground.undisturbed.folder} and {tmp_path} have no step in common\n"
    )


def test_a_damaged_checkpoint(ground: Ground, copied: Path, inside: Inside) -> None:
    (copied / "checkpoints" / "step-30.h5").write_bytes(b"x" * 5000)
    said = inside("compare", ground.undisturbed.folder, copied)
    assert said.code == 2
    assert said.err.startswith(f"majel compare: {copied / 'checkpoints' / 'step-30.h5'}: damaged ")
    assert said.err.count("\n") == 1
