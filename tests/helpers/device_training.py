"""A training without the command line, for machines with few packages: on any place and world.

    python tests/helpers/device_training.py PLACE STEPS [RECIPE]    # alone or under mpirun

Prints the bits; the recipe is one of RECIPES, or Deep Speech 1.

Policy. Needs NumPy and h5py alone, and CuPy on a GPU. Features are whole numbers made on the spot.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from majelpy.comm.world import World
from majelpy.data.utterances import Utterances
from majelpy.mesh import Mesh
from majelpy.nn import layers
from majelpy.nn.model import Architecture, Model
from majelpy.nn.networks import deep_speech_1
from majelpy.recipes.launch import Launch
from majelpy.recipes.recipe import Recipe
from majelpy.recipes.tables import Augment, Data, ModelSettings, OptimizerSettings, Schedule
from majelpy.speech.corpus import Corpus
from majelpy.speech.corpus_writer import CorpusWriter
from majelpy.speech.text import Alphabet
from majelpy.train import places
from majelpy.train.trainer import Trainer

SYMBOLS = " abcdefgh"

RECIPE = Recipe(
    seed=3,
    data=Data(train="", batch=18, leaves=8, bin=2, alphabet=SYMBOLS),
    model=ModelSettings(deep_speech_1(2, (96, 300), 272, 64, dropout=0.1)),
    optimizer=OptimizerSettings(rate=0.01),
    schedule=Schedule(epochs=12, warmup=4, hold=3),
    augment=Augment(),
)
"""Wider than a chunk of the canonical sum, with tiles that the last columns do not fill."""


def deep_speech_2(
    channels: int, kernel: tuple[int, int], recurrent: Sequence[str], units: int
) -> tuple[layers.Table, ...]:
    """Return two convolutions, recurrent layers of these kinds, row_conv, layer_norm, dense."""
    conv = {"layer": "conv", "channels": channels, "kernel": kernel, "batch_norm": True}
    above = [
        *({"layer": kind, "units": units, "batch_norm": True} for kind in recurrent),
        {"layer": "row_conv", "future": 3},
        {"layer": "layer_norm"},
        {"layer": "dense", "units": units},
    ]
    return layers.read([conv | {"stride": (2, 2)}, conv, *above], "layers", "")


RECIPES = {
    "Deep Speech 1": RECIPE,
    "Deep Speech 2": replace(
        RECIPE, model=ModelSettings(deep_speech_2(17, (5, 7), ("bigru", "bilstm", "lstm"), 272))
    ),
}
TINY = {
    "Deep Speech 1": replace(
        RECIPE, model=ModelSettings(deep_speech_1(1, (16,), 16, 8, dropout=0.1))
    ),
    "Deep Speech 2": replace(
        RECIPE, model=ModelSettings(deep_speech_2(2, (3, 4), ("bigru", "lstm"), 8))
    ),
}


def write_corpus(
    path: Path, utterances: int = 60, frames: tuple[int, int] = (12, 40), features: int = 20
) -> None:
    """Write utterances whose lengths differ and whose features follow their transcripts."""
    random = np.random.default_rng(1)
    with CorpusWriter(path, features=features, rate=0, window=0, hop=0) as writer:
        for i in range(utterances):
            length = int(random.integers(*frames))
            symbols = random.integers(0, len(SYMBOLS), max(1, length // 8))
            text = " ".join("".join(SYMBOLS[s] for s in symbols).split()) or "a"
            rows = random.integers(-2, 3, (length, features))
            for at, symbol in enumerate(text):
                rows[8 * at % length, 2 * SYMBOLS.index(symbol) % features] += 8
            writer.append(rows.astype(np.float32), text, f"utterance-{i}")
        mean = np.zeros(features, np.float32)
        writer.finish(mean, np.full(features, 0.25, np.float32))


def trainer(
    corpus: Path, place: str, world: World, recipe: Recipe = RECIPE, pool_bytes: int | None = None
) -> Trainer:
    """Return a trainer of the recipe on a corpus; all ranks call it together."""
    launch = Launch(place=place, checkpoint_seconds=0, pool_bytes=pool_bytes)
    where = places.choose(place, world.local_rank)
    places.take_pool(where, world, launch.pool_bytes)
    opened = Corpus.open(corpus)
    alphabet = Alphabet.from_characters(SYMBOLS)
    everything = np.arange(len(opened))
    data = Utterances(opened, everything, alphabet, "error", opened.mean, opened.scale, 1 << 30)
    model = Model(Architecture(opened.features, alphabet.size, recipe.model.layers))
    mesh = Mesh(world.size)
    return Trainer(recipe, launch, world, model, data, {"content": {}}, where, mesh)


def bits(
    corpus: Path,
    place: str,
    steps: int,
    world: World,
    recipe: Recipe = RECIPE,
    pool_bytes: int | None = None,
) -> list[str]:
    """Train, and return loss and norm of each step as hex floats, and at last the digest."""
    training = trainer(corpus, place, world, recipe, pool_bytes)
    lines = []
    for _ in range(steps):
        found = training.advance()
        lines.append(f"{float(found.loss).hex()} {float(found.norm).hex()}")
    lines.append(training.digest())
    training.check_ranks(lines[-1])
    training.close()
    return lines


def main() -> None:
    world = World.start()
    world.install_excepthook()
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "train.h5"
        write_corpus(corpus)
        place, steps, *name = sys.argv[1:]
        recipe = RECIPES[name[0]] if name else RECIPE
        found = bits(corpus, place, int(steps), world, recipe)
    if world.rank == 0:
        print("\n".join(found), flush=True)
    world.exit(0)


if __name__ == "__main__":
    main()
