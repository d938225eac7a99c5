"""The deterministic allreduce against the MPI library's own Allreduce, measured in one run.

    python benchmarks/allreduce.py [--ranks 2,4] [--hosts 2x1,2x2] [--sizes N,N] [--json FILE]

Sizes are those of DeepBench's all-reduce (https://github.com/baidu-research/DeepBench), in floats,
and some smaller ones. Each rank brings one vector, one leaf, and ours adds them in the order of the
tree while the library is free in its own; both have separate input and output. `--hosts 2x1` means
2 hosts of 1 rank each, made of network namespaces as in tests/several_hosts.py (needs root): all
hosts share this machine's cores and no wire is as fast, so such a row says little of a cluster.
A round's figure is that of the slowest rank; each side's figure is the median of rounds taken in
turn, since machines are shared and noisy.
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

from majelpy.comm.reduce import TreeReducer
from majelpy.comm.world import World, launched_size, library_version
from majelpy.recipes.launch import Launch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from mpi_launch import environment, mpirun
from several_hosts import missing, several_hosts

FLOAT_BYTES = 4
SIZES = (1024, 16384, 65536, 100000, 3097600, 4194304, 6553600, 16777217, 38360000, 64500000)
BAR_BYTES = 256 << 10
LARGE_BAR, SMALL_BAR = 1.5, 0.9  # from BAR_BYTES on, and below; between ranks of one host


def measure(sizes: list[int], rounds: int) -> None:
    """Measure on the ranks of this world; rank 0 prints one JSON line per size."""
    world = World.start()
    world.install_excepthook()
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    expected = world.size * (world.size + 1) // 2

    def seconds(call: Callable[[], object], calls: int) -> float:
        world.barrier()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return max(world.all_gather(time.perf_counter() - start)) / calls

    for size in sizes:
        reducer = TreeReducer(world, world.size, size, bucket_bytes=Launch().bucket_bytes)
        reducer.slots[0] = world.rank + 1
        theirs_in = np.full(size, world.rank + 1, np.float32)
        theirs_out = np.empty_like(theirs_in)

        def theirs(given: np.ndarray = theirs_in, result: np.ndarray = theirs_out) -> None:
            comm.Allreduce(given, result)

        theirs()
        for result in (reducer.reduce(), theirs_out):
            if not (result == expected).all():
                raise SystemExit(f"allreduce of {size} floats: a sum is not {expected}")
        one = world.broadcast(max(seconds(reducer.reduce, 3), seconds(theirs, 3)))
        calls = max(1, int(0.1 / one))
        pairs = [(seconds(reducer.reduce, calls), seconds(theirs, calls)) for _ in range(rounds)]
        ours_ms, peer_ms = (1e3 * statistics.median(side) for side in zip(*pairs, strict=True))
        reducer.close()
        if world.rank == 0:
            print(json.dumps({"floats": size, "ours_ms": ours_ms, "peer_ms": peer_ms}), flush=True)
    world.exit(0)


def fits(size: int, ranks: int) -> bool:
    """Say whether the vectors of all ranks take less than half of the free memory."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    vectors = 3 * ranks + 1  # a slot, the library's input and output; a result
    return vectors * size * FLOAT_BYTES < free / 2


def launch(ranks: tuple[int, ...], sizes: list[int], rounds: int) -> list[dict[str, Any]]:
    """Start the ranks of one host, or of several, and return what they measured."""
    words = [sys.executable, str(Path(__file__).resolve()), "--rounds", str(rounds)]
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


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--ranks", type=numbers, default=[2, 4])
    parser.add_argument("--hosts", default="")
    parser.add_argument("--sizes", type=numbers, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if launched_size(os.environ) != 1:
        measure(options.sizes, options.rounds)
    rows: list[dict[str, Any]] = []
    print(f"majelpy against {library_version()}, on {os.cpu_count()} cores")
    print(f"{'floats':>9s} {'hosts':>5s} {'ranks':>5s} {'ours ms':>9s} {'peer ms':>9s} "
          f"{'ratio':>6s} {'bar':>4s}")  # fmt: skip
    for ranks in layouts(options):
        sizes = [size for size in options.sizes if fits(size, sum(ranks))]
        for row in launch(ranks, sizes, options.rounds):
            row |= {"what": "allreduce", "hosts": len(ranks), "ranks": sum(ranks), "peer": "MPI"}
            row["ratio"] = row["peer_ms"] / row["ours_ms"]
            bar = LARGE_BAR if row["floats"] * FLOAT_BYTES >= BAR_BYTES else SMALL_BAR
            print(
                f"{row['floats']:9d} {row['hosts']:5d} {row['ranks']:5d} {row['ours_ms']:9.3f} "
                f"{row['peer_ms']:9.3f} {row['ratio']:5.2f}x {'' if row['hosts'] > 1 else bar:>4}"
            )
            rows.append(row)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
