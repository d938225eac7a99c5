"""A layer of one's own: a Python file beside the recipe (docs/layers.md)."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from extras import extra
from paths import ROOT
from training import Ground, Inside, network, train, write_recipe

from majelpy.errors import RecipeError
from majelpy.nn import layers
from majelpy.nn.layers import read

pytest_plugins = ["training"]

ARPA = "\\data\\\nngram 1=3\n\n\\1-grams:\n-1 <s>\n-1 </s>\n-1 ab\n\n\\end\\\n"

DOCUMENT = ROOT / "docs" / "layers.md"


def document_layer() -> str:
    """The Python file that the document shows."""
    _, _, rest = DOCUMENT.read_text("utf-8").partition("```python\n")
    return rest.partition("```")[0]


@pytest.fixture
def recipe(ground: Ground, tmp_path: Path) -> Path:
    """The tiny recipe with the document's layer in it."""
    (tmp_path / "scale.py").write_text(document_layer(), "utf-8")
    own = {"layer": "scale.py:Scale", "start": 0.75}
    layers = [*network()[:3], own, *network()[3:]]
    return write_recipe(tmp_path / "own.toml", ground.corpus, model__layers=layers, model__parts=1)


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [3, *extra(2)])
def test_it_trains_to_one_answer(ranks: int, recipe: Path, tmp_path: Path) -> None:
    alone = train(recipe, tmp_path / "alone", "--steps", "10")
    several = train(recipe, tmp_path / "several", "--steps", "10", ranks=ranks)
    assert several.ledger == alone.ledger
    assert several.fingerprint == alone.fingerprint


@pytest.mark.mpi
@pytest.mark.parametrize("way", ["hidden", *extra("time", "directions")])
def test_ranks_may_share_it(way: str, recipe: Path, tmp_path: Path) -> None:
    parts = ["--steps", "6", "--set", "model.parts=2", "--set", wide()]
    alone = train(recipe, tmp_path / "alone", *parts)
    options = [*parts, "--mesh", "model=2", "--model-parallel", way]
    shared = train(recipe, tmp_path / way, *options, ranks=2)
    assert shared.ledger == alone.ledger


def wide() -> str:
    layers = [
        '{layer="dense", units=40}', '{layer="scale.py:Scale", start=0.5}',
        '{layer="birnn", units=33}',
    ]  # fmt: skip
    return f"model.layers=[{', '.join(layers)}]"


def test_a_run_keeps_the_text(recipe: Path, tmp_path: Path, ground: Ground, inside: Inside) -> None:
    run = tmp_path / "run"
    assert inside("train", recipe, "--out", run, "--steps", "2").code == 0
    (tmp_path / "scale.py").unlink()
    moved = Path(shutil.move(run, tmp_path / "moved"))
    assert (moved / "scale.py").read_text("utf-8") == document_layer()
    assert inside("eval", moved, ground.corpus, "--run-code").code == 0
    with (moved / "scale.py").open("a") as file:
        file.write("# other\n")
    said = inside("eval", moved, ground.corpus, "--run-code")
    assert said.code == 2
    assert said.err.endswith(
        "model.layers[3] is scale.py:Scale, which has changed since; it needs the old text\n"
    )


def test_a_run_that_was_killed_while_it_made_its_folder_begins_again(
    recipe: Path, tmp_path: Path, inside: Inside
) -> None:
    run = tmp_path / "run"
    assert inside("train", recipe, "--out", run, "--steps", "1").code == 0
    for name in ("content.json", "ledger.jsonl", "timings.jsonl"):  # written last
        (run / name).unlink()
    shutil.rmtree(run / "checkpoints")
    assert inside("train", recipe, "--out", run, "--steps", "1").code == 0
    for name in ("content.json", "ledger.jsonl"):
        (run / name).unlink()
    shutil.rmtree(run / "checkpoints")
    (run / "other.py").write_text("x = 1")
    assert "it has other files" in inside("train", recipe, "--out", run).err


def test_a_text_of_another_encoding_is_kept_too(
    recipe: Path, tmp_path: Path, inside: Inside
) -> None:
    text = b"# coding: latin-1: \xe9\r\n" + document_layer().encode()
    (tmp_path / "scale.py").write_bytes(text)
    assert inside("train", recipe, "--out", tmp_path / "run", "--steps", "1").code == 0
    assert (tmp_path / "run" / "scale.py").read_bytes() == text


def test_the_text_is_in_the_digest(recipe: Path, inside: Inside, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert inside("train", recipe, "--out", run, "--steps", "1").code == 0
    with (tmp_path / "scale.py").open("a") as file:
        file.write("# other\n")
    said = inside("train", recipe, "--out", run, "--steps", "2")
    assert said.code == 2
    assert "belongs to another recipe: model.layers[3].sha256 is " in said.err


@pytest.fixture
def trapped(recipe: Path, tmp_path: Path, inside: Inside) -> Path:
    """A run from elsewhere, whose Python file leaves a trace when it runs."""
    text = (tmp_path / "scale.py").read_text("utf-8")
    trap = f"{text}\nopen({str(tmp_path / 'trace')!r}, 'w').close()\n"
    (tmp_path / "scale.py").write_text(trap, "utf-8")
    assert inside("train", recipe, "--out", tmp_path / "run", "--steps", "2").code == 0
    (tmp_path / "trace").unlink()
    layers._own.clear()  # as in a new process
    return tmp_path / "run"


COMMANDS: dict[str, Callable[[Path, Ground], tuple[str | Path, ...]]] = {
    "eval": lambda run, ground: (run, ground.corpus),
    "transcribe": lambda run, ground: (run, ground.folder / "a.npy"),
    "tune": lambda run, ground: (run, ground.corpus, "--lm", ground.folder / "lm.arpa"),
    "replay": lambda run, ground: (run, "--step", "1"),
    "plan": lambda run, ground: (run / "recipe.toml", "--cluster", CLUSTER, "--ranks", "1"),
    "train": lambda run, ground: (run / "recipe.toml", "--out", run, "--steps", "3"),
}
CLUSTER = DOCUMENT.parent.parent / "slurm" / "cluster.toml"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_code_of_a_run_is_run_only_if_the_user_says_so(
    name: str, trapped: Path, ground: Ground, inside: Inside
) -> None:
    np.save(ground.folder / "a.npy", np.ones((20, 12), np.float32))
    (ground.folder / "lm.arpa").write_text(ARPA)
    words = COMMANDS[name](trapped, ground)
    said = inside(name, *words)
    digest = hashlib.sha256((trapped / "scale.py").read_bytes()).hexdigest()
    assert said.code == 2 and said.out == ""
    assert said.err == (
        f"majel {name}: {trapped}/recipe.toml: model.layers[3] is code: {trapped}/scale.py "
        f"(SHA-256 {digest}); look at it, and give --run-code to have it run\n"
    )
    assert not (trapped.parent / "trace").exists()
    told = inside(name, *words, "--run-code")
    assert told.code == 0, told.err
    assert (trapped.parent / "trace").exists()


def test_another_text_is_not_even_run_if_the_user_says_so(
    trapped: Path, ground: Ground, inside: Inside
) -> None:
    with (trapped / "scale.py").open("a") as file:
        file.write("# other\n")
    layers._own.clear()
    for name, words in COMMANDS.items():
        said = inside(name, *words(trapped, ground), "--run-code")
        assert said.code == 2 and "which has changed since; it needs the old text" in said.err
    assert not (trapped.parent / "trace").exists()


def test_what_needs_no_layer_runs_no_code(trapped: Path, tmp_path: Path, inside: Inside) -> None:
    (tmp_path / "text").write_text("ab ab cd\n")
    assert inside("lm", tmp_path / "text", "-o", tmp_path / "lm", "--like", trapped).code == 0
    assert inside("compare", trapped, trapped).code == 0
    assert not (tmp_path / "trace").exists()


def test_a_run_goes_on_with_the_file_that_it_began_with(
    trapped: Path, recipe: Path, inside: Inside
) -> None:
    assert inside("train", recipe, "--out", trapped, "--steps", "3").code == 0
    assert (trapped.parent / "trace").exists()


BAD = [
    ("no.py:Scale", "", r"layers\[0\]: .*no\.py cannot be read \(No such file or directory\)"),
    ("a.py:Scale", "x = 1 +", r"layers\[0\]: .*a\.py: SyntaxError: .*"),
    ("a.py:Scale", "x = 1 / 0", r"layers\[0\]: .*a\.py: ZeroDivisionError: division by zero"),
    ("a.py:Scale", "x = 1", r"layers\[0\]: .*a\.py has no class Scale that derives from Layer"),
    ("a.py:x", "x = 1", r"layers\[0\]: .*a\.py has no class x that derives from Layer"),
    ("a.py:x", "import sys; sys.exit(0)", r"layers\[0\]: .*a\.py: SystemExit: 0"),
    (
        *("a.py:A", "from majelpy.nn.layer import Layer\nclass A(Layer): pass"),
        r"layers\[0\]: .*a\.py: A needs a dataclass Settings, even if empty",
    ),
    (
        "a.py:A",
        "from majelpy.nn.dropout import Dropout\nfrom majelpy.nn.layer import Layer\n"
        "class A(Layer):\n    Settings = Dropout.Settings",
        r"layers\[0\]: .*a\.py: A needs the methods backward, forward",
    ),
    ("../a.py:x", "", r"layers\[0\] is \.\./a\.py:x; the file must lie beside the recipe"),
]


@pytest.mark.parametrize(("name", "text", "message"), BAD)
def test_a_bad_file_is_one_line(name: str, text: str, message: str, tmp_path: Path) -> None:
    if text:
        (tmp_path / name.partition(":")[0]).write_text(text)
    with pytest.raises(RecipeError, match=rf"^{message}$"):
        read([{"layer": name}], "layers", str(tmp_path / "recipe.toml"), run_code=True)


FORWARD = "return x.with_own(self._scaled(x.own, run)), x"
BACKWARD = "return self._scaled(dy, run) if needed else None"
NARROW = "take({}, asarray(np.zeros(3, np.int64)), axis=1)"
SUM = "gradients.sum(self.gain, rows.of(ops.multiply(dy, saved.own)), rows.leaves)"
WRONG = [
    ("self.outputs = inputs", "pass", "its outputs are None; needs __init__ to set them"),
    ("self.outputs = inputs", "inputs.foo", "AttributeError: 'Columns' object has no"),
    ("return [Parameter", "return 3 or [Parameter", "parameters() gives 3; needs a list of"),
    (FORWARD, "return 1 / 0", "ZeroDivisionError: division by zero"),
    (FORWARD, "return x", "forward gives Signal; needs (Signal, saved)"),
    (FORWARD, f"return x.with_own({NARROW.format('x.own')}), x", "forward gives float32 of ("),
    (FORWARD, "return ops.gemm(x.own, x.own), x", "gemm: a is ("),
    (BACKWARD, f"return {NARROW.format('dy')}", "backward gives float32 of ("),
    (BACKWARD, "return None", "backward gives NoneType; needs float32 of ("),
    (SUM, "pass", "backward pushes no gradient of scale.2.gain; needs"),
]


@pytest.mark.parametrize(("text", "other", "message"), WRONG)
def test_a_wrong_layer_is_one_line_that_names_it(
    text: str, other: str, message: str, recipe: Path, inside: Inside, tmp_path: Path
) -> None:
    changed = document_layer().replace(text, other)
    assert changed != document_layer()
    (tmp_path / "scale.py").write_text(changed, "utf-8")
    said = inside("train", recipe, "--out", tmp_path / "run", "--steps", "1")
    assert said.code == 2
    assert "Traceback" not in said.err
    last = said.err.splitlines()[-1]
    assert last.startswith("majel train: model.layers[3] (scale.py:Scale)") and message in last
