"""The deterministic allreduce against the MPI library's own Allreduce.

    python benchmarks/allreduce.py [--ranks 2,4] [--hosts 2x1,2x2] [--sizes N,N] [--json FILE]

Sizes are those of DeepBench's all-reduce (https://github.com/baidu-research/DeepBench), in floats,
and some smaller ones. Each rank brings one vector, one leaf, and ours adds them in the order of the
tree while the library is free in its own; both have separate input and output. `--hosts 2x1` means
2 hosts of 1 rank each, made of network namespaces as in several_hosts.py of tests/helpers (root):
all hosts share this machine's cores and no wire is as fast, so such a row says little of a cluster.
Each side has an mpirun of its own, and they take turns, since machines are shared and noisy. A
turn's figure is that of the slowest rank; a side's is the median of its turns, with the least and
the most beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from majelpy.comm.mpi import library_version
from majelpy.comm.reduce import TreeReducer
from majelpy.comm.world import World
from majelpy.recipes.launch import Launch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))

from machine import processor
from mpi_launch import environment, mpirun
from several_hosts import missing, several_hosts

FLOAT_BYTES = 4
SIZES = (1024, 16384, 65536, 100000, 3097600, 4194304, 6553600, 16777217, 38360000, 64500000)
BAR_BYTES = 256 << 10
LARGE_BAR, SMALL_BAR = 1.5, 0.9  # from BAR_BYTES on, and below; between ranks of one host


def measure(side: str, sizes: list[int]) -> None:
    """Measure one side on the ranks of this world; rank 0 prints one JSON line per size."""
    world = World.start()
    world.install_excepthook()
    expected = world.size * (world.size + 1) // 2

    def seconds(call: Callable[[], object], calls: int) -> float:
        world.barrier()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return max(world.all_gather(time.perf_counter() - start)) / calls

    for size in sizes:
        call, close = (ours if side == "ours" else library)(world, size)
        if not (np.asarray(call()) == expected).all():
            raise SystemExit(f"allreduce of {size} floats: a sum is not {expected}")
        one = world.broadcast(seconds(call, 3))
        took = seconds(call, max(1, int(0.2 / one)))
        close()
        if world.rank == 0:
            print(json.dumps({"floats": size, "ms": 1e3 * took}), flush=True)
    world.exit(0)


def ours(world: World, size: int) -> tuple[Callable[[], Any], Callable[[], None]]:
    """Return our sum, and what ends it."""
    reducer = TreeReducer(world, world.size, size, bucket_bytes=Launch().bucket_bytes)
    reducer.slots[0] = world.rank + 1
    return reducer.reduce, reducer.close


def library(world: World, size: int) -> tuple[Callable[[], Any], Callable[[], None]]:
    """Return the MPI library's sum, and what ends it."""
    from mpi4py import MPI

    given = np.full(size, world.rank + 1, np.float32)
    result = np.empty_like(given)

    def call() -> Any:
        MPI.COMM_WORLD.Allreduce(given, result)
        return result

    return call, lambda: None


def fits(size: int, ranks: int) -> bool:
    """Say whether the vectors of all ranks take less than half of the free memory."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    vectors = 3 * ranks + 1  # a slot, the library's input and output; a result
    return vectors * size * FLOAT_BYTES < free / 2


def launch(ranks: tuple[int, ...], sizes: list[int], turns: int) -> list[dict[str, Any]]:
    """Start each side in turn on one host, or on several; return a row for each size."""
    taken: dict[tuple[str, int], list[float]] = {}
    for _ in range(turns):
        for side in ("ours", "peer"):
            for line in _turn(side, ranks, sizes):
                taken.setdefault((side, line["floats"]), []).append(line["ms"])
    return [
        {"floats": size}
        | {f"{side}_ms": statistics.median(taken[side, size]) for side in ("ours", "peer")}
        | {f"{side}_turns_ms": taken[side, size] for side in ("ours", "peer")}
        for size in sizes
    ]


def _turn(side: str, ranks: tuple[int, ...], sizes: list[int]) -> list[dict[str, Any]]:
    words = [sys.executable, str(Path(__file__).resolve()), "--side", side]
    words += ["--sizes", ",".join(map(str, sizes))]
    place: AbstractContextManager[Any] = several_hosts(ranks) if len(ranks) > 1 else nullcontext()
    with place as hosts:
        if hosts:
            ended = hosts.run(*words, timeout=3600)
        else:
            command = [mpirun(), "-n", str(ranks[0]), *words]
            variables = environment() | {"OMP_NUM_THREADS": "1"}
            ended = subprocess.run(
                command, env=variables, capture_output=True, text=True, check=False
            )
    if ended.returncode:
        raise SystemExit(ended.stderr)
    return [json.loads(line) for line in ended.stdout.splitlines()]


def numbers(text: str) -> list[int]:
    """Return the numbers of a list with commas."""
    return [int(word) for word in text.split(",") if word]


def layouts(options: argparse.Namespace) -> list[tuple[int, ...]]:
    """Return the ranks of each host, of each world to measure."""
    found = [(ranks,) for ranks in options.ranks]
    for word in options.hosts.split(",") if options.hosts else []:
        hosts, _, ranks = word.partition("x")
        found.append((int(ranks),) * int(hosts))
    lack = missing() if options.hosts else ""
    if lack:
        raise SystemExit(f"--hosts: {lack}")
    return found


def _spread(row: dict[str, Any], side: str) -> str:
    turns = row[f"{side}_turns_ms"]
    return f"{row[f'{side}_ms']:.3g} ({min(turns):.3g}-{max(turns):.3g})"


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--ranks", type=numbers, default=[2, 4])
    parser.add_argument("--hosts", default="")
    parser.add_argument("--sizes", type=numbers, default=list(SIZES))
    parser.add_argument("--turns", type=int, default=5, help="of each side (default 5)")
    parser.add_argument("--side", choices=("ours", "peer"), help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.side:
        measure(options.side, options.sizes)
    rows: list[dict[str, Any]] = []
    print(f"majelpy against {library_version()}, on {processor()}, {os.cpu_count()} cores")
    print("| floats | hosts | ranks | ours, ms (spread) | peer, ms (spread) | ratio | bar |")
    print("|---|---|---|---|---|---|---|")
    for ranks in layouts(options):
        sizes = [size for size in options.sizes if fits(size, sum(ranks))]
        for row in launch(ranks, sizes, options.turns):
            row |= {"what": "allreduce", "hosts": len(ranks), "ranks": sum(ranks), "peer": "MPI"}
            row["ratio"] = row["peer_ms"] / row["ours_ms"]
            bar = LARGE_BAR if row["floats"] * FLOAT_BYTES >= BAR_BYTES else SMALL_BAR
            print(
                f"| {row['floats']} | {row['hosts']} | {row['ranks']} | {_spread(row, 'ours')} | "
                f"{_spread(row, 'peer')} | {row['ratio']:.2f} | {'' if row['hosts'] > 1 else bar} |"
            )
            rows.append(row)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
