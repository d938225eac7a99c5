"""Memory of a rank, alone and where several share a model.

    python benchmarks/memory.py [--units 512] [--batch 16] [--frames 150] [--json FILE]

Each row is a run of its own: some steps of training with 4 parts and 1 leaf, so that the slots are
of the model and not of the leaves. Parameters and velocities are the vectors of the rank that has
most; gradients its segment of shared memory: its slots and, of several ranks that sum, the result
on one of them. Activations are what else is in the pool when most is, temporary arrays included, in
blocks of powers of two. Step times are the median, with one thread a rank; they say little where
ranks outnumber the cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from majelpy.comm.world import World
from majelpy.data.utterances import Utterances
from majelpy.memory import CPU
from majelpy.mesh import choose_mesh
from majelpy.native import set_threads
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

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))

from mpi_launch import environment, mpirun

FEATURES = 81
SYMBOLS = " abcdefghijklmnopqrstuvwxyz'"
PARTS = 4
ROWS = [
    (1, 1, "auto"),
    (1, 2, "auto"),
    (1, 4, "auto"),
    *((2, PARTS, way) for way in ("time", "directions", "hidden")),
    (4, PARTS, "hidden"),
]
"""Ranks, parts, way."""


def write_corpus(path: Path, utterances: int, frames: int) -> None:
    """Write utterances of half to all of so many frames."""
    random = np.random.default_rng(1)
    with CorpusWriter(path, features=FEATURES, rate=0, window=0, hop=0) as writer:
        for i in range(utterances):
            length = int(random.integers(frames // 2, frames + 1))
            text = "".join(SYMBOLS[j] for j in random.integers(1, len(SYMBOLS), length // 10))
            rows = random.integers(-2, 3, (length, FEATURES)).astype(np.float32)
            writer.append(rows, text or "a", f"utterance-{i}")
        writer.finish(np.zeros(FEATURES, np.float32), np.ones(FEATURES, np.float32))


def measure(corpus: Path, task: dict[str, Any]) -> None:
    """Train on the ranks of this world; rank 0 prints a JSON line."""
    world = World.start()
    world.install_excepthook()
    set_threads(1)
    units = task["units"]
    recipe = Recipe(
        data=Data(train="", batch=task["batch"], leaves=1, alphabet=SYMBOLS),
        model=ModelSettings(deep_speech_1(5, (units,) * 3, units, units), task["parts"]),
        optimizer=OptimizerSettings(),
        schedule=Schedule(),
        augment=Augment(),
    )
    launch = Launch(prefetch=0)
    pool = places.take_pool(CPU, world, 4 << 30)
    opened = Corpus.open(corpus)
    alphabet = Alphabet.from_characters(SYMBOLS)
    data = Utterances(
        opened,
        np.arange(len(opened)),
        alphabet,
        "error",
        opened.mean,
        opened.scale,
        1 << 30,
    )
    model = Model(Architecture(FEATURES, alphabet.size, recipe.model.layers))
    trainer = Trainer(
        recipe,
        launch,
        world,
        model,
        data,
        {"recipe": ""},
        mesh=choose_mesh(world.size, 1, task["parts"], f"model={world.size}", task["way"])[0],
    )
    before = pool.statistics.in_use
    seconds = []
    for _ in range(task["steps"]):
        world.barrier()
        start = time.perf_counter()
        trainer.advance()
        seconds.append(time.perf_counter() - start)
    stats = pool.statistics
    assert not stats.fallbacks, "the pool is too small"
    mine = {
        "parameters": 4 * trainer.parameters.size,
        "velocities": 4 * trainer.optimizer.states["velocities"].size,
        "gradients": trainer.gradient_bytes,
        "activations": stats.peak - before,
        "step_ms": round(1e3 * statistics.median(seconds), 1),
    }
    ranks = world.all_gather(mine)
    if world.rank == 0:
        most = {name: max(rank[name] for rank in ranks) for name in mine}
        row = {"ranks": world.size, "parts": task["parts"], "way": task["way"]} | most
        print(json.dumps(row), flush=True)
    trainer.close()
    world.exit(0)


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a table of MiB."""
    names = ("parameters", "velocities", "gradients", "activations")
    lines = [f"| ranks | parts | way | {' | '.join(names)} | step, ms |", "|---" * 8 + "|"]
    for row in rows:
        sizes = " | ".join(f"{row[name] / 2**20:.2f}" for name in names)
        way = row["way"] if row["ranks"] > 1 else ""
        start = f"| {row['ranks']} | {row['parts']} | {way} | {sizes} |"
        lines.append(f"{start} {row['step_ms']:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--units", type=int, default=512)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(Path(options.measure[0]), json.loads(options.measure[1]))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "train.h5"
        write_corpus(corpus, options.batch * options.steps, options.frames)
        for ranks, parts, way in ROWS:
            task = {name: getattr(options, name) for name in ("units", "batch", "steps")}
            task |= {"parts": parts, "way": way}
            words = [sys.executable, __file__, "--measure", str(corpus), json.dumps(task)]
            words = [mpirun(), "-n", str(ranks), *words] if ranks > 1 else words
            done = subprocess.run(words, env=environment(), stdout=subprocess.PIPE, check=True)
            rows.append(json.loads(done.stdout))
            print(table(rows[-1:]).splitlines()[-1], file=sys.stderr)
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
