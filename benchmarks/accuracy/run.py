"""majelpy's error rates and time an epoch against a PyTorch twin's, corpus by corpus.

    python benchmarks/accuracy/run.py fsdd --seeds 1 2 3 --data DATA    # train, both sides
    python benchmarks/accuracy/run.py fsdd --check --data DATA          # is it the same model?
    python benchmarks/accuracy/run.py fsdd --time 5 --data DATA         # epochs in turn
    python benchmarks/accuracy/run.py --table                           # what results.json says

DATA has a folder for each corpus with train.tsv, and dev.tsv or test.tsv. See README.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from check import check
from sides import Ours, Side, Theirs
from table import table

from majelpy import ARITHMETIC, native
from majelpy.data.utterances import Utterances
from majelpy.recipes import recipe as recipes
from majelpy.recipes.launch import Launch
from majelpy.speech.corpus import Corpus
from majelpy.train.setup import Prepared, prepare_run

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
SIDES: dict[str, type[Ours] | type[Theirs]] = {"majelpy": Ours, "twin": Theirs}
HELD = 9
"""Where a corpus has no dev split, every ninth training utterance is held out."""


def splits(data: Path, work: Path) -> dict[str, Path]:
    """Return the manifests of a corpus's splits; write those that are held out."""
    found = {split: data / f"{split}.tsv" for split in ("train", "dev", "test")}
    if not found["dev"].exists():
        with found["train"].open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        parts = {"dev": rows[::HELD], "train": [r for n, r in enumerate(rows) if n % HELD]}
        for split, members in parts.items():
            found[split] = work / f"{data.name}-{split}.tsv"
            with found[split].open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, delimiter="\t", lineterminator="\n")
                writer.writerow(["path", "transcript"])
                writer.writerows([(data / r["path"]).resolve(), r["transcript"]] for r in members)
    return {split: path for split, path in found.items() if path.exists()}


def prepared_corpora(name: str, data: Path, work: Path) -> dict[str, Path]:
    """Return the prepared corpus of each split; those in the work folder are kept."""
    work.mkdir(parents=True, exist_ok=True)
    found = {}
    for split, manifest in splits(data / name, work).items():
        found[split] = work / f"{name}-{split}.h5"
        if not found[split].exists():
            command = [sys.executable, "-m", "majelpy", "prepare", manifest, found[split]]
            subprocess.run(command, check=True, stdout=sys.stderr)
    return found


def load(name: str, corpora: dict[str, Path], seed: int) -> tuple[recipes.Recipe, Prepared]:
    """Return the recipe of a corpus with that seed, and what it needs."""
    recipe = recipes.load(
        str(HERE / f"{name}.toml"),
        [f"data.train={corpora['train']}", f"data.dev={corpora['dev']}", f"seed={seed}"],
    )
    return recipe, prepare_run(recipe, Launch())


def judged(prepared: Prepared, corpus: Path) -> Utterances:
    """Return the utterances of a corpus to find errors on."""
    found, normal = Corpus.open(str(corpus)), prepared.statistics
    return Utterances(
        found,
        np.arange(len(found)),
        prepared.alphabet,
        "drop",
        normal["mean"],
        normal["scale"],
        0,
    )


def train(side: Side, epochs: int, title: str) -> list[float]:
    """Train to the end; return the seconds of each epoch."""
    seconds = []
    for epoch in range(epochs):
        start = time.perf_counter()
        loss = side.epoch(epoch)
        seconds.append(time.perf_counter() - start)
        print(f"{title}: epoch {epoch + 1}/{epochs}: loss {loss:.3f}, {seconds[-1]:.1f} s",
              file=sys.stderr, flush=True)  # fmt: skip
    return seconds


def measure(name: str, corpora: dict[str, Path], options: argparse.Namespace) -> None:
    """Train each side with each seed and note its errors."""
    for seed in options.seeds:
        for system in options.systems:
            recipe, prepared = load(name, corpora, seed)
            side = SIDES[system](recipe, prepared)
            seconds = train(side, recipe.schedule.epochs, f"{name} {system} {seed}")
            found = side.errors(judged(prepared, corpora[options.split]))
            note(
                "errors",
                {"corpus": name, "system": system, "seed": seed, "split": options.split},
                {
                    "cer": found.cer,
                    "wer": found.wer,
                    "epochs": recipe.schedule.epochs,
                    "seconds_per_epoch": statistics.median(seconds),
                    "machine": "quiet" if options.quiet else "busy",
                    **conditions(options.threads),
                },
            )


def race(name: str, corpora: dict[str, Path], options: argparse.Namespace) -> None:
    """Time epochs of both sides in turn, after one to warm up."""
    recipe, prepared = load(name, corpora, options.seeds[0])
    sides: dict[str, Side] = {s: make(recipe, prepared) for s, make in SIDES.items()}
    seconds: dict[str, list[float]] = {system: [] for system in sides}
    for epoch in range(options.time + 1):
        for system, side in sides.items():
            start = time.perf_counter()
            side.epoch(epoch)
            seconds[system].append(time.perf_counter() - start)
    medians = {f"{s}_seconds": statistics.median(times[1:]) for s, times in seconds.items()}
    rounds = {"epochs": options.time}
    note("times", {"corpus": name, "threads": options.threads},
         {**medians, **rounds, **conditions(options.threads)})  # fmt: skip


def conditions(threads: int) -> dict[str, Any]:
    """What figures depend on besides the recipe."""
    return {
        "threads": threads,
        "arithmetic": ARITHMETIC,
        "isa": native.isa(),
        "torch": torch.__version__,
        "processor": processor(),
    }


def processor() -> str:
    """The processor's name as Linux has it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def note(kind: str, key: dict[str, Any], values: dict[str, Any]) -> None:
    """Put a row into results.json in place of an older one with the same key; print it."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"errors": [], "times": []}
    others = [row for row in results[kind] if any(row[k] != v for k, v in key.items())]
    rows = [*others, key | values]
    results[kind] = sorted(rows, key=lambda row: [str(row[k]) for k in key])
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(key | values), flush=True)


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpora", nargs="*", metavar="CORPUS", help="a recipe beside this file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--systems", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--data", type=Path, default=Path("shared/data"), metavar="FOLDER")
    parser.add_argument("--work", type=Path, default=Path("build/accuracy"), metavar="FOLDER",
                        help="where prepared corpora are kept (%(default)s)")  # fmt: skip
    parser.add_argument("--threads", type=int, default=1, help="of both sides")
    parser.add_argument("--split", choices=("dev", "test"), default="dev",
                        help="where errors are counted; test: once, at the end")  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="nothing else runs on the machine")
    parser.add_argument("--check", action="store_true", help="hold the twin against the model")
    parser.add_argument("--time", type=int, metavar="N", help="time N epochs of both in turn")
    parser.add_argument("--table", action="store_true", help="print README.md's tables")
    options = parser.parse_args()
    native.set_threads(options.threads)
    torch.set_num_threads(options.threads)
    for name in options.corpora:
        corpora = prepared_corpora(name, options.data, options.work)
        if options.check:
            check(*load(name, corpora, options.seeds[0]))
        elif options.time:
            race(name, corpora, options)
        else:
            measure(name, corpora, options)
    if options.table:
        print(table(json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
