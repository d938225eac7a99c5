"""Comparisons that can be believed: processes of their own, in turn, verified, with their spread.

Policy. Each side runs in a process of its own (`side.py`), in an environment without settings that
choose kernels. The sides take turns, so that what disturbs the machine disturbs both. A side that
uses more cores than it was given, or runs another number of threads, ends the benchmark. A figure
is a median; beside it stand the least and the most. Shares are of the peak that the same number of
threads reached on this machine in this run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import machine
from workload import operations

CHOOSES_KERNELS = (
    *("OPENBLAS_CORETYPE", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE", "MKL_CBWR"),
    *("ATEN_CPU_CAPABILITY", "NPY_DISABLE_CPU_FEATURES", "MAJELPY_ISA"),
)
"""Variables that would set a side's kernels; taken out of its environment."""

SPARE_CORES = 0.15
"""What a side may use beyond its threads: Python's own, and the clocks' resolution."""


@dataclass(frozen=True)
class Case:
    """What is measured, and against whom.

    Attributes
    ----------
    name, sizes
        A function of the sides, and its arguments.
    peers
        Libraries that are compared with.
    bar
        Least ratio of a peer's time to ours that the project asks of itself.
    """

    name: str
    sizes: dict[str, Any]
    label: str
    peers: tuple[str, ...]
    bar: float
    sides: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sides", ("majelpy", *self.peers))


class Side:
    """A library at work in a process of its own."""

    def __init__(self, library: str, threads: int, case: Case):
        self.library, self._threads = library, threads
        words = [library, str(threads), case.name, json.dumps(case.sizes)]
        variables = {k: v for k, v in os.environ.items() if k not in CHOOSES_KERNELS}
        variables |= dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)
        )
        variables["OMP_WAIT_POLICY"] = "passive"  # who waits leaves the cores to the other side
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("side.py")), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=variables,
        )
        self.verified: dict[str, Any] = self._answer()
        if self.verified["threads"] != threads:
            raise SystemExit(f"{library}: runs {self.verified['threads']} threads, not {threads}")

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.library}: ended with code {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def seconds(self, least: float) -> float:
        """Return seconds of a call, measured over at least so many."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{least}\n")
        self._process.stdin.flush()
        found = self._answer()
        if found["cores"] > self._threads + SPARE_CORES:
            raise SystemExit(
                f"{self.library}: used {found['cores']:.2f} cores, was given {self._threads}"
            )
        return float(found["seconds"])

    def __enter__(self) -> Side:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def measure(case: Case, threads: int, rounds: int, least: float, peak: float) -> dict[str, Any]:
    """Return a row: each side's median, least and most milliseconds, shares and ratios."""
    with ExitStack() as stack:
        sides = [stack.enter_context(Side(one, threads, case)) for one in case.sides]
        for side in sides:
            side.seconds(least)  # warms up
        taken = [[side.seconds(least) for side in sides] for _ in range(rounds)]
    flops = operations(case.name, case.sizes)
    row: dict[str, Any] = {"what": case.label, "threads": threads, "bar": case.bar, "sides": {}}
    for side, times in zip(sides, zip(*taken, strict=True), strict=True):
        median = statistics.median(times)
        row["sides"][side.library] = {
            **side.verified,
            "ms": median * 1e3,
            "least_ms": min(times) * 1e3,
            "most_ms": max(times) * 1e3,
            "share_of_peak": flops / median / peak if flops else None,
        }
    ours = row["sides"]["majelpy"]["ms"]
    row["ratios"] = {peer: row["sides"][peer]["ms"] / ours for peer in case.peers}
    return row


def table(rows: list[dict[str, Any]], found: dict[str, Any]) -> str:
    """Return the rows as a Markdown table, with the machine and what was verified."""
    lines = [
        f"{found['processor']}, {found['cores']} cores; peak "
        + ", ".join(f"{v / 1e9:.0f} GF/s on {n}" for n, v in found["fma_flops"].items())
        + "; memory "
        + ", ".join(f"{v / 1e9:.0f} GB/s on {n}" for n, v in found["triad_bytes"].items())
        + " (threads).",
        "",
    ]
    libraries = {
        name: f"{side['library']} ({side['kernel']})"
        for row in rows
        for name, side in row["sides"].items()
    }
    lines += ["; ".join(libraries.values()) + ".", ""]
    lines.append(
        "| what | threads | ours, ms (spread) | of peak | peer, ms (spread) | ratio | bar |"
    )
    lines.append("|---|---|---|---|---|---|---|")
    for row in rows:
        ours = row["sides"]["majelpy"]
        share = "" if ours["share_of_peak"] is None else f"{ours['share_of_peak']:.0%}"
        for peer, ratio in row["ratios"].items():
            theirs = row["sides"][peer]
            lines.append(
                f"| {row['what']} | {row['threads']} | {_spread(ours)} | {share} | "
                f"{peer} {_spread(theirs)} | {ratio:.2f} | {row['bar']} |"
            )
    return "\n".join(lines)


def _spread(side: dict[str, Any]) -> str:
    return f"{side['ms']:.3g} ({side['least_ms']:.3g}-{side['most_ms']:.3g})"


def main(description: str, cases: list[Case]) -> None:
    """Measure the cases as the command line says, and print a table."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", default="1,2", help="numbers of threads (default 1,2)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side (default 7)")
    parser.add_argument("--least", type=float, default=0.3, help="seconds of a turn (default 0.3)")
    parser.add_argument("--only", default="", help="only cases whose name has this text")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    counts = [int(text) for text in options.threads.split(",")]
    found = machine.peaks(counts)
    rows = []
    for threads in counts:
        peak = found["fma_flops"][str(threads)]
        for case in cases:
            if options.only in case.label:
                print(f"{case.label}, threads: {threads}", file=sys.stderr)
                rows.append(measure(case, threads, options.rounds, options.least, peak))
    print(table(rows, found))
    if options.json:
        options.json.write_text(json.dumps({"machine": found, "rows": rows}, indent=1) + "\n")
