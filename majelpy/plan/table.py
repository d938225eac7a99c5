"""Predictions for people and for programs: table, object for JSON, plot.

Policy. One row a mesh, ascending by ranks; `*` marks the fastest of as many ranks, and `train` the
one that `majel train` takes, unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from majelpy.errors import OutputError
from majelpy.plan.model import Prediction
from majelpy.wording import install

_HEADINGS = (
    "ranks", "mesh", "step ms", "compute ms", "communication ms", "exposed %", "efficiency %",
    "memory MiB", "", "",
)  # fmt: skip


def lines(predictions: Sequence[Prediction]) -> list[str]:
    """Return the lines of a table."""
    rows = [_HEADINGS, *(_row(prediction) for prediction in predictions)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADINGS))]
    return [
        "  ".join(
            cell.ljust(width) if i == 1 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _row(found: Prediction) -> tuple[str, ...]:
    return (
        str(found.mesh.ranks),
        str(found.mesh),
        f"{found.step * 1e3:.2f}",
        f"{found.compute * 1e3:.2f}",
        f"{(found.exposed + found.hidden) * 1e3:.2f}",
        f"{found.exposed_share * 100:.1f}",
        f"{found.efficiency * 100:.1f}",
        f"{found.memory.total / 2**20:.1f}",
        "*" if found.best else "",
        "train" if found.chosen else "",
    )


def objects(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Return a dictionary a prediction, of JSON values; times in milliseconds."""
    return [
        {
            "ranks": found.mesh.ranks,
            **vars(found.mesh),
            "step_ms": found.step * 1e3,
            "compute_ms": found.compute * 1e3,
            "communication_ms": (found.exposed + found.hidden) * 1e3,
            "exposed_ms": found.exposed * 1e3,
            "hidden_ms": found.hidden * 1e3,
            "exposed_percent": found.exposed_share * 100,
            "efficiency_percent": found.efficiency * 100,
            "imbalance": found.imbalance,
            "sent_bytes_per_host": round(found.sent_bytes),
            "memory_bytes": {**vars(found.memory), "total": found.memory.total},
            "best": found.best,
            "chosen": found.chosen,
        }
        for found in predictions
    ]


def plot(predictions: Sequence[Prediction], path: str, title: str) -> None:
    """Write a picture: time of a step and efficiency over ranks, a line a way to divide.

    Raises
    ------
    OutputError
        If matplotlib is missing, the name's ending is not one that it writes, or the file cannot
        be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise OutputError(f"plan: --plot needs matplotlib; {install('plot')}") from None
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    time, efficiency = figure.subplots(1, 2)
    for model, way in sorted({(p.mesh.model, p.mesh.way) for p in predictions}):
        line = [p for p in predictions if (p.mesh.model, p.mesh.way) == (model, way)]
        ranks = [p.mesh.ranks for p in line]
        name = f"model={model} by {way}" if way else "a model a rank"
        (drawn,) = time.plot(ranks, [p.step * 1e3 for p in line], marker="o", label=name)
        exposed = [p.exposed * 1e3 for p in line]
        time.plot(ranks, exposed, linestyle=":", color=drawn.get_color())
        efficiency.plot(ranks, [p.efficiency * 100 for p in line], marker="o", label=name)
    time.set(xscale="log", xlabel="ranks", yscale="log", ylabel="ms a step (dotted: exposed)")
    efficiency.set(xscale="log", xlabel="ranks", ylabel="efficiency %")
    ticks = sorted({p.mesh.ranks for p in predictions})
    for axes in (time, efficiency):
        axes.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
        axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title)
    try:
        figure.savefig(path)
    except ValueError as error:  # an ending that matplotlib does not know
        raise OutputError(f"plan: --plot {path}: {str(error).splitlines()[0]}") from None
