"""README's picture: one recipe on four layouts, one learning curve, one fingerprint.

    python tools/draw_one_answer.py CORPUS.h5 DEV.h5 PICTURE.svg

Trains the recipe `synth` four times (some minutes), from corpora that `scripts/demo` makes: on one
rank, on three, on two by two that share the model, and on two that are killed on the way and go
on as one rank with another instruction set. Draws nothing if a ledger or fingerprint differs. Needs
matplotlib and mpirun.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

INK, SOFT, ACCENT = "#222222", "#9aa5b1", "#2463ad"
ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


def start(
    folder: Path, ranks: int, settings: list[str], **variables: str
) -> subprocess.Popen[bytes]:
    """Start a training of the recipe on so many ranks."""
    words = ["mpirun", "-n", str(ranks), "majel", "train", "synth", "--out", str(folder)]
    return subprocess.Popen(
        [*words, *settings], env=os.environ | ENVIRONMENT | variables, stdout=sys.stderr
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for a training, which must succeed."""
    if process.wait():
        raise SystemExit(f"draw_one_answer: the training ended with code {process.returncode}")


def train(settings: list[str], folder: Path) -> dict[str, Path]:
    """Train on the four layouts; return each run's folder by its title."""
    runs = {
        "1 rank": folder / "one",
        "3 ranks": folder / "three",
        "4 ranks, 2 to a model": folder / "mesh",
        "2 killed, 1 goes on (AVX2)": folder / "killed",
    }
    finish(start(folder / "one", 1, settings))
    finish(start(folder / "three", 3, settings))
    finish(start(folder / "mesh", 4, [*settings, "--mesh", "data=2,model=2"]))
    killed = start(folder / "killed", 2, [*settings, "--checkpoint-seconds", "1"])
    while len(lines(folder / "killed")) < 400:
        time.sleep(0.2)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    time.sleep(3)  # mpirun's daemon ends the ranks
    finish(start(folder / "killed", 1, settings, MAJELPY_ISA="avx2"))
    return runs


def lines(run: Path) -> list[dict[str, Any]]:
    """Return the entries of a run's ledger."""
    try:
        text = (run / "ledger.jsonl").read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines()]


def draw(runs: dict[str, Path], picture: Path) -> None:
    """Draw the layouts above the curve that they all have."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot
    from matplotlib.patches import FancyBboxPatch

    matplotlib.rcParams["svg.hashsalt"] = "majelpy"
    matplotlib.rcParams["font.size"] = 9
    figure = pyplot.figure(figsize=(8.4, 4.0))
    grid = figure.add_gridspec(2, 4, height_ratios=(1, 2.6), hspace=0.12)
    boxes = {0: [(0, 0, 4, 2)], 1: [(0, 0, 1.2, 2), (1.4, 0, 1.2, 2), (2.8, 0, 1.2, 2)]}
    boxes[2] = [(x, y, 1.9, 0.9) for x in (0, 2.1) for y in (0, 1.1)]
    boxes[3] = [(0, 0, 0.9, 2), (1.1, 0, 0.9, 2), (2.6, 0, 1.4, 2)]
    for number, title in enumerate(runs):
        axes = figure.add_subplot(grid[0, number])
        for x, y, width, height in boxes[number]:
            axes.add_patch(
                FancyBboxPatch(
                    (x, y),
                    width,
                    height,
                    boxstyle="round,pad=0,rounding_size=0.15",
                    facecolor="#e8eff8",
                    edgecolor=ACCENT,
                )
            )
        if number == 3:
            axes.text(2.3, 1, "✗", color="#b3261e", ha="center", va="center", fontsize=13)
        axes.set(xlim=(-0.1, 4.1), ylim=(-0.1, 2.1), title=title)
        axes.title.set_fontsize(9)
        axes.axis("off")
    axes = figure.add_subplot(grid[1, :])
    entries = lines(next(iter(runs.values())))
    axes.plot([e["step"] for e in entries], [float(e["loss"]) for e in entries], color=SOFT, lw=0.7)
    axes.set(xlabel="step", ylabel="loss of a minibatch", xlim=(0, entries[-1]["step"]))
    axes.set_ylim(bottom=0)
    watched = [e for e in entries if "dev_characters" in e]
    errors = axes.twinx()
    rates = [100 * e["dev_wrong_characters"] / e["dev_characters"] for e in watched]
    errors.plot([e["step"] for e in watched], rates, color=ACCENT, marker="o", ms=3)
    errors.set(ylabel="wrong characters, unknown voices (%)", ylim=(0, 100))
    errors.yaxis.label.set_color(ACCENT)
    for side in (axes, errors):
        side.spines["top"].set_visible(False)
    mark = (next(iter(runs.values())) / "fingerprint").read_text().strip()
    axes.text(
        0.5,
        0.9,
        f"all four: the same {len(entries)} losses, the same weights\nfingerprint {mark[:32]}...",
        transform=axes.transAxes,
        ha="center",
        va="top",
        family="monospace",
        color=INK,
    )
    figure.savefig(picture, metadata={"Date": None}, bbox_inches="tight")


def main() -> None:
    """Train, compare, draw."""
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    corpus, dev, picture = sys.argv[1:]
    settings = ["--set", f"data.train={corpus}", "--set", f"data.dev={dev}"]
    settings += ["--set", "model.parts=2"]
    with tempfile.TemporaryDirectory() as folder:
        runs = train(settings, Path(folder))
        ledgers = {(run / "ledger.jsonl").read_bytes() for run in runs.values()}
        marks = {(run / "fingerprint").read_text() for run in runs.values()}
        if len(ledgers) > 1 or len(marks) > 1:
            raise SystemExit("draw_one_answer: DIFFERENT")
        draw(runs, Path(picture))


if __name__ == "__main__":
    main()
