"""`majel plan` held against real trainings on 1 and 2 ranks of this machine.

    python benchmarks/plan_validation.py [--ranks 1,2] [--quick] [--json FILE]

For each number of ranks the constants are measured with as many (`majel plan --measure`), the
time of a step is predicted from them, and a training of made-up utterances runs some epochs: its
figure is the median over the epochs but the first of their mean step. Needs a quiet machine with a
core a rank; with MPI for more than one. `--quick` shows that it works, with a tiny model.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from majelpy.nn.networks import deep_speech_1
from majelpy.speech.corpus_writer import CorpusWriter

FEATURES = 81
ALPHABET = " 'abcdefghijklmnopqrstuvwxyz"
EPOCHS = 4


@dataclass(frozen=True)
class Case:
    """A corpus and a model: utterances, their frames (from, to), characters, minibatch, units."""

    name: str
    utterances: int
    frames: tuple[int, int]
    characters: int
    batch: int
    units: int

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return -(-self.utterances // self.batch)


CASES = [
    Case("digits, 32 utterances, 256 units", 512, (30, 60), 4, 32, 256),
    Case("sentences, 16 utterances, 512 units", 128, (350, 450), 60, 16, 512),
]
QUICK = [Case("quick, 8 utterances, 32 units", 32, (20, 40), 4, 8, 32)]


def write_case(case: Case, folder: Path) -> Path:
    """Write corpus and recipe; return the recipe."""
    random = np.random.default_rng(1)
    corpus = folder / "train.h5"
    with CorpusWriter(corpus, features=FEATURES, rate=0, window=0, hop=0) as writer:
        for i in range(case.utterances):
            frames = random.standard_normal((random.integers(*case.frames), FEATURES))
            text = "".join(random.choice(list(ALPHABET[2:]), case.characters))
            writer.append(frames.astype(np.float32), text, f"utterance-{i}")
        writer.finish(np.zeros(FEATURES, np.float32), np.ones(FEATURES, np.float32))
    recipe = folder / "recipe.toml"
    table = {
        "data": {
            "train": str(corpus), "holdout": 0, "batch": case.batch, "leaves": 8,
            "alphabet": ALPHABET,
        },
        "model": {
            "layers": deep_speech_1(5, [case.units] * 3, case.units, case.units, dropout=0.1),
        },
        "optimizer": {"rate": 1e-4},
        "schedule": {"epochs": EPOCHS},
    }  # fmt: skip
    recipe.write_text(tomli_w.dumps(table), "utf-8")
    return recipe


def majel(ranks: int, *arguments: object) -> str:
    """Run a command on so many ranks; return its standard output."""
    words = [sys.executable, "-m", "majelpy", *map(str, arguments)]
    if ranks > 1:
        beside = Path(sys.executable).parent / "mpirun"
        mpirun = str(beside) if beside.exists() else shutil.which("mpirun")
        if mpirun is None:
            raise SystemExit("plan_validation: 2 ranks need mpirun; pip install '.[mpi]'")
        words = [mpirun, "-n", str(ranks), *words]
    variables = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }
    ended = subprocess.run(
        words, env=os.environ | variables, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise SystemExit(f"plan_validation: {' '.join(words)}:\n{ended.stderr}")
    return ended.stdout


def measured(run: Path, case: Case) -> tuple[float, int]:
    """Milliseconds of a step, and the largest peak of the pool."""
    lines = [json.loads(line) for line in (run / "timings.jsonl").read_text().splitlines()]
    epochs = [lines[at : at + case.steps] for at in range(0, len(lines), case.steps)]
    means = [statistics.fmean(line["seconds"] for line in epoch) for epoch in epochs[1:]]
    return statistics.median(means) * 1e3, max(line["pool_peak_bytes"] for line in lines)


def validate(cases: list[Case], ranks: list[int]) -> list[dict[str, Any]]:
    """Measure, predict and train; a row a case and number of ranks."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for count in ranks:
            cluster = Path(name) / f"cluster-{count}.toml"
            majel(count, "plan", "--measure", "-o", cluster)
            for case in cases:
                folder = Path(name) / f"{count}-{case.units}"
                folder.mkdir()
                recipe = write_case(case, folder)
                # A file measured on one process may hold more ranks; it is asked for one only.
                said = majel(
                    1, "plan", recipe, "--cluster", cluster, "--ranks", count, "--json"
                )  # fmt: skip
                found = next(r for r in json.loads(said)["meshes"] if not r["way"])
                majel(count, "train", recipe, "--out", folder / "run", "--threads", 1)
                step, pool = measured(folder / "run", case)
                rows.append({
                    "what": case.name, "ranks": count, "predicted_ms": found["step_ms"],
                    "measured_ms": step, "ratio": found["step_ms"] / step,
                    "predicted_pool_bytes": found["memory_bytes"]["pool"],
                    "measured_pool_bytes": pool,
                })  # fmt: skip
    return rows


def main() -> None:
    """Validate and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--ranks", default="1,2")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    ranks = [int(count) for count in options.ranks.split(",")]
    rows = validate(QUICK if options.quick else CASES, ranks)
    print(f"{'what':38s} {'ranks':>5s} {'predicted ms':>12s} {'measured ms':>11s} {'ratio':>6s}"
          f" {'pool':>6s}")  # fmt: skip
    for row in rows:
        pool = row["predicted_pool_bytes"] / row["measured_pool_bytes"]
        print(f"{row['what']:38s} {row['ranks']:5d} {row['predicted_ms']:12.2f} "
              f"{row['measured_ms']:11.2f} {row['ratio']:6.2f} {pool:6.2f}")  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
