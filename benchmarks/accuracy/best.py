"""The best recipe of a corpus, from recordings to error rates with a language model.

    python benchmarks/accuracy/best.py asterisk --data DATA [--work FOLDER] [--ranks 2] [--test]

Manifests with spoken numbers -> `majel prepare` -> `majel train best-CORPUS.toml` -> `majel lm` of
the training transcripts and DATA/text -> `majel tune` on dev -> `majel eval` on dev, or with --test
on test: once, at the end. Each step is the command that a user would type.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from run import HERE, splits

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Best:
    """How a corpus is prepared, and its language model.

    Attributes
    ----------
    rate : int
        Sample rate in Hz.
    text : bool
        Whether the language model has the sentences of DATA/text, too.
    lm : tuple of str
        Options of `majel lm`.
    search : tuple of str
        Options of `majel tune` and `majel eval`.
    grid : tuple of str
        Weights that `majel tune` tries.
    """

    rate: int
    text: bool
    lm: tuple[str, ...]
    search: tuple[str, ...]
    grid: tuple[str, ...]


CHARACTERS = ("--characters", "--share", "1", "--beam", "100")
GRID = ("--alphas", "0.6,0.8,1,1.3", "--betas", "0.5,1,1.5,2,3")
CORPORA = {
    "fsdd": Best(8000, False, ("--order", "2"), (), ("--alphas", "0,0.5,1", "--betas", "0,1,2")),
    "asterisk": Best(8000, True, ("--order", "7", "--characters"), CHARACTERS, GRID),
    "speechocean762": Best(16000, True, ("--order", "7", "--characters"), CHARACTERS, GRID),
}


def spelled(text: str) -> str:
    """Return an English transcript as it is spoken: digits as words, signs as spaces."""
    words = re.sub("[0-9]", lambda digit: f" {DIGITS[int(digit[0])]} ", text.lower())
    return " ".join(re.sub("[^a-z' ]", " ", words).split())


def spell(manifest: Path, out: Path) -> list[str]:
    """Write a manifest with spelled transcripts and whole paths; return the transcripts."""
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    texts = [spelled(row["transcript"]) for row in rows]
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["path", "transcript"])
        for row, text in zip(rows, texts, strict=True):
            writer.writerow([(manifest.parent / row["path"]).resolve(), text])
    return texts


class Commands:
    """Runs majel's commands in a folder."""

    def __init__(self, work: Path):
        self._work = work

    def __call__(self, *words: object, ranks: int = 1) -> str:
        """Run `majel` with these words; return its standard output."""
        launch = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
        command = [*launch, sys.executable, "-m", "majelpy", *map(str, words)]
        found = subprocess.run(command, cwd=self._work, stdout=subprocess.PIPE, text=True)
        if found.returncode:
            raise SystemExit(f"best: {' '.join(command)} ended with {found.returncode}")
        return found.stdout


def main() -> None:
    """Prepare, train, tune, evaluate; print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", choices=CORPORA)
    parser.add_argument("--data", type=Path, default=Path("shared/data"), metavar="FOLDER")
    parser.add_argument("--work", type=Path, default=Path("build/best"), metavar="FOLDER")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--test", action="store_true", help="judge on test, not on dev")
    options = parser.parse_args()
    name, chosen, work = options.corpus, CORPORA[options.corpus], options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    majel = Commands(work)
    manifests = splits((options.data / name).resolve(), work)
    if options.test and "test" not in manifests:
        raise SystemExit(f"best: {name} has no test split; leave out --test")

    def prepare(split: str) -> list[str]:
        written, corpus = f"{name}-{split}-spelled.tsv", f"{name}-{split}.h5"
        found = spell(manifests[split], work / written)
        majel("prepare", written, corpus, "--samples", "--rate", chosen.rate, "--force")
        return found

    texts = prepare("train")
    for split in ("dev", "test") if options.test else ("dev",):
        prepare(split)
    start = time.perf_counter()
    corpora = (f"data.train={name}-train.h5", f"data.dev={name}-dev.h5")
    settings = [word for corpus in corpora for word in ("--set", corpus)]
    recipe = HERE.resolve() / f"best-{name}.toml"
    majel("train", recipe, "--out", f"{name}-run", *settings, ranks=options.ranks)
    minutes = (time.perf_counter() - start) / 60
    if chosen.text:
        for path in sorted((options.data / "text").glob("*.txt")):
            texts += [spelled(line) for line in path.read_text("utf-8").splitlines()]
    (work / f"{name}.txt").write_text("\n".join(texts) + "\n")
    majel("lm", f"{name}.txt", "-o", f"{name}.arpa", "--force", *chosen.lm)
    search = ("--lm", f"{name}.arpa", *chosen.search)
    tuned = majel("tune", f"{name}-run", f"{name}-dev.h5", *search, *chosen.grid, "--json")
    weights = json.loads(tuned)["best"]
    judged = f"{name}-{'test' if options.test else 'dev'}.h5"
    alone = json.loads(majel("eval", f"{name}-run", judged, "--json"))
    search += ("--alpha", weights["alpha"], "--beta", weights["beta"])
    with_lm = json.loads(majel("eval", f"{name}-run", judged, "--json", *search))
    print(json.dumps({
        "corpus": judged, "training_minutes": minutes, "best_path": alone, "with_lm": with_lm
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
