"""Right: arguments of wrong types, where people call us, are our errors and say what is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training import Ground

from majelpy.comm.world import World
from majelpy.corpora.writing import write_manifest
from majelpy.decoding.beam import Search
from majelpy.decoding.kenlm import read_model
from majelpy.errors import ArgumentError, MajelError, RecipeError
from majelpy.memory.place import parse_place
from majelpy.memory.pool import Pool
from majelpy.native import set_threads
from majelpy.recipes.launch import Launch
from majelpy.recipes.recipe import Recipe, load
from majelpy.runs.compare import compare_runs
from majelpy.runs.trained import load_trained
from majelpy.sound.synth import synth
from majelpy.speech.corpus import Corpus
from majelpy.speech.joined import open_corpora
from majelpy.speech.manifest import read_manifest
from majelpy.speech.prepare import prepare
from majelpy.train.loop import Run

pytest_plugins = ["training"]


def odd(value: object) -> Any:
    """Return a value that a type checker lets pass."""
    return value


recipe: Callable[[], Recipe] = lambda: load("digits")  # noqa: E731

WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "a recipe's table": (
        lambda: load(odd({"seed": 1})),
        "recipe is of type dict; needs a path that ends in .toml, or a shipped one's name",
    ),
    "no recipe": (lambda: load(odd(None)), "recipe is None; needs a path"),
    "one assignment": (
        lambda: load("digits", "seed=2"),
        "assignments is 'seed=2'; needs a list of texts such as 'seed=2'",
    ),
    "assignments by key": (
        lambda: load("digits", odd({"seed": 2})),
        "assignments is of type dict; needs a list of texts",
    ),
    "a number to assign": (lambda: load("digits", [odd(2)]), "assignment is 2; needs a"),
    "threads": (lambda: Launch(threads=odd("2")), "--threads is '2'; needs a whole number"),
    "half a thread": (
        lambda: Launch(threads=odd(1.5)),
        "--threads is 1.5; needs a whole number",
    ),
    "pool": (lambda: Launch(pool_bytes=odd("1G")), "--pool-bytes is '1G'; needs a whole"),
    "seconds": (
        lambda: Launch(checkpoint_seconds=odd(None)),
        "--checkpoint-seconds is None; needs a number",
    ),
    "overlap": (lambda: Launch(overlap=odd("no")), "--overlap is 'no'; needs True or False"),
    "mesh": (lambda: Launch(mesh=odd((2, 2))), "--mesh is of type tuple; needs a text"),
    "place": (lambda: Launch(place=odd(0)), "place is 0; needs a text such as 'cpu'"),
    "a place": (lambda: parse_place(odd(None)), "place is None; needs a text"),
    "hosts": (
        lambda: World.start(hosts=odd([0, 1])),
        "world: ranks of a host is 0; needs a list of whole numbers",
    ),
    "group": (lambda: World.alone().group(odd(0)), "group: ranks is 0; needs a list"),
    "run of a name": (
        lambda: Run(odd("digits"), Launch(), World.alone(), "run"),
        "recipe is 'digits'; needs a Recipe",
    ),
    "run of a table": (
        lambda: Run(recipe(), odd({}), World.alone(), "run"),
        "launch is of type dict; needs a Launch",
    ),
    "run without a world": (
        lambda: Run(recipe(), Launch(), odd(None), "run"),
        "world is None; needs a World",
    ),
    "run without a folder": (
        lambda: Run(recipe(), Launch(), World.alone(), odd(None)),
        "run folder is None; needs a path",
    ),
    "manifest": (lambda: prepare(odd(5), "o.h5"), "prepare: manifest is 5; needs a path"),
    "manifests": (lambda: prepare([odd(5)], "o.h5"), "prepare: manifest is 5; needs a path"),
    "corpus": (lambda: prepare("m.tsv", odd(None)), "prepare: out is None; needs a path"),
    "rate": (
        lambda: prepare("m.tsv", "o.h5", rate=odd("16000")),
        "prepare: rate is '16000'; needs a whole number",
    ),
    "folder of recordings": (lambda: synth(odd(5)), "synth: out_dir is 5; needs a path"),
    "seed": (lambda: synth("d", seed=odd("x")), "synth: seed is 'x'; needs a whole number"),
    "name of a corpus": (
        lambda: write_manifest(odd(None), "f", "o.tsv"),
        "corpus is None; needs one of librispeech",
    ),
    "folder of a corpus": (lambda: write_manifest("an4", odd(None), "o.tsv"), "folder is None"),
    "a manifest": (lambda: read_manifest(odd({})), "manifest is of type dict; needs a path"),
    "an open corpus": (lambda: Corpus.open(odd(None)), "corpus is None; needs a path"),
    "corpora": (lambda: open_corpora(odd(5)), "corpus is 5; needs a path, or a list of"),
    "a run": (lambda: load_trained(odd(None)), "run folder is None; needs a path"),
    "a checkpoint": (lambda: load_trained("run", odd(5)), "which is 5; needs 'last'"),
    "two runs": (lambda: compare_runs(odd(1), "run"), "run folder is 1; needs a path"),
    "a model": (lambda: read_model(odd(5)), "language model is 5; needs a path"),
    "a beam": (lambda: Search(beam=odd("5")).check(), "beam_search: beam is '5'; needs a"),
    "a weight": (lambda: Search(alpha=odd(None)).check(), "beam_search: alpha is None; needs a"),
    "bytes": (lambda: Pool(odd("5")), "pool: bytes is '5'; needs a whole number"),
    "kernel threads": (lambda: set_threads(odd("2")), "threads is '2'; needs a whole"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_type_says_what_is_needed(name: str) -> None:
    call, words = WRONG[name]
    with pytest.raises(ArgumentError) as caught:
        call()
    assert str(caught.value).startswith(words)
    assert isinstance(caught.value, TypeError) and isinstance(caught.value, MajelError)


def test_a_kind_that_there_is_not_is_told_too() -> None:
    with pytest.raises(RecipeError, match="prepare: no kind 'x'; there are features, samples"):
        prepare("m.tsv", "o.h5", kind="x")


def test_paths_and_whole_numbers_of_other_libraries_are_fine(ground: Ground) -> None:
    assert load(Path(ground.recipe)) == load(str(ground.recipe))
    assert Launch(threads=np.int64(2), prefetch=False) == Launch(threads=2, prefetch=0)
    assert load_trained(ground.undisturbed.folder).step == 30


def test_a_run_takes_a_whole_number_of_steps(ground: Ground, tmp_path: Path) -> None:
    run = Run(load(ground.recipe), Launch(), World.alone(), tmp_path / "run")
    with pytest.raises(ArgumentError, match=r"^stop_at is '5'; needs a whole number$"):
        run.train(odd("5"))
