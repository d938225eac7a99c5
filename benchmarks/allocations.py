"""The allocations of a real training, replayed on our pool and on others.

    python benchmarks/allocations.py [--place gpu:0] [--steps N] [--json FILE]

Trains the digits recipe on features made on the spot, notes each allocation and release of some
steps, and replays them: on our pool, `malloc` and NumPy, or on a GPU (with CuPy) on our pool,
CuPy's pool and `cudaMalloc`. A second column writes each piece once, as training does: memory that
is fresh from the system then costs its page faults. Ratios are a peer's time by ours. Each figure
is the median of rounds taken in turn.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from majelpy.comm.world import World
from majelpy.errors import PoolError
from majelpy.memory.place import CPU, Place, parse_place
from majelpy.memory.pool import DEFAULT_POOL_BYTES, Allocation, Pool, Returned, pool, set_pool
from majelpy.recipes.launch import Launch
from majelpy.recipes.recipe import load
from majelpy.speech.corpus_writer import CorpusWriter
from majelpy.train import places
from majelpy.train.loop import Run

FEATURES, UTTERANCES = 81, 256


class Recorder(Pool):
    """A pool that notes what it is asked for.

    Attributes
    ----------
    log : list of (int, int)
        A line an event: the number of the allocation, and its bytes, or -1 for its release.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log: list[tuple[int, int]] = []
        self._numbers: dict[int, int] = {}

    def allocate(self, nbytes: int) -> Allocation:
        held = super().allocate(nbytes)
        self._numbers[held.pointer] = self.statistics.allocations - 1
        self.log.append((self._numbers[held.pointer], nbytes))
        return held

    def _release(self, returned: Returned) -> None:
        self.log.append((self._numbers[returned[1].pointer], -1))
        super()._release(returned)


def record(steps: int) -> list[tuple[int, int]]:
    """Train for some steps and return the log; all that is still held then is released."""
    random = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "train.h5"
        with CorpusWriter(corpus, features=FEATURES, rate=0, window=0, hop=0) as writer:
            for i, frames in enumerate(random.integers(30, 60, UTTERANCES)):
                values = random.standard_normal((frames, FEATURES)).astype(np.float32)
                writer.append(values, random.choice(["one", "two", "seven"]), str(i))
            writer.finish(np.zeros(FEATURES, np.float32), np.ones(FEATURES, np.float32))
        changes = [f'data.train="{corpus}"', "data.holdout=32", 'data.alphabet=""']
        run = Run(
            load("digits", changes), Launch(prefetch=False), World.start(), f"{folder}/run"
        )  # fmt: skip
        run.open()
        recorder = Recorder()
        before = pool()
        with patch.object(places, "Pool", lambda *_, **__: recorder):
            run.train(steps)
        set_pool(before)
    log = recorder.log
    released = {number for number, nbytes in log if nbytes < 0}
    return log + [(number, -1) for number, nbytes in log if nbytes >= 0 and number not in released]


def asked_peak(log: list[tuple[int, int]]) -> int:
    """Most bytes asked for at a time."""
    sizes: dict[int, int] = {}
    now = most = 0
    for number, nbytes in log:
        if nbytes < 0:
            now -= sizes[number]
        else:
            sizes[number] = nbytes
            now += nbytes
            most = max(most, now)
    return most


@dataclass
class Peer:
    """An allocator.

    Attributes
    ----------
    take, address : callable
        Give a piece of some bytes; where that lies.
    give : callable, optional
        Takes a piece back; without it, letting go is enough.
    peak : callable, optional
        Bytes that it has of the system.
    pool : Pool, optional
        If it is ours.
    """

    name: str
    take: Callable[[int], Any]
    address: Callable[[Any], int]
    give: Callable[[Any], None] | None = None
    peak: Callable[[], int] | None = None
    pool: Pool | None = None


def replay(
    peer: Peer, log: list[tuple[int, int]], write: Callable[[int, int], None] | None = None
) -> float:
    """Seconds that a replay takes; with ``write`` each piece is written once."""
    held: dict[int, Any] = {}
    take, give, address = peer.take, peer.give, peer.address
    start = time.perf_counter()
    for number, nbytes in log:
        if nbytes >= 0:
            held[number] = piece = take(nbytes)
            if write is not None:
                write(address(piece), nbytes)
            piece = None
        elif give is None:
            del held[number]
        else:
            give(held.pop(number))
    return time.perf_counter() - start


def shape(pool: Pool, log: list[tuple[int, int]]) -> tuple[int, float]:
    """Peak of a pool's blocks in bytes, and its fragmentation then."""
    held: dict[int, Allocation] = {}
    most, fragmentation = 0, 0.0
    for number, nbytes in log:
        if nbytes < 0:
            del held[number]
            continue
        held[number] = pool.allocate(nbytes)
        if pool.statistics.in_use > most:
            most, fragmentation = pool.statistics.in_use, pool.fragmentation
    return most, fragmentation


@dataclass
class Machine:
    """Allocators of a place, what writes there, and what waits until that is done."""

    peers: list[Peer]
    write: Callable[[int, int], None]
    settle: Callable[[], None]


def cpu() -> Machine:
    """Our pool, malloc and NumPy."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    ours = Pool()
    peers = [
        Peer("our pool", ours.allocate, lambda held: held.pointer, pool=ours),
        Peer("malloc", libc.malloc, int, libc.free),
        Peer("numpy.empty", lambda n: np.empty(n, np.uint8), lambda x: int(x.ctypes.data)),
    ]
    return Machine(peers, lambda at, nbytes: void(ctypes.memset(at, 1, nbytes)), lambda: None)


def gpu(place: Place) -> Machine:
    """Our pool, CuPy's and cudaMalloc; raises PoolError without CuPy or the GPU."""
    ours = Pool(DEFAULT_POOL_BYTES, place)
    import cupy

    cupy.cuda.Device(place.number).use()
    runtime, theirs = cupy.cuda.runtime, cupy.cuda.MemoryPool()
    peers = [
        Peer("our pool", ours.allocate, lambda held: held.pointer, pool=ours),
        Peer("CuPy's pool", theirs.malloc, lambda memory: memory.ptr, peak=theirs.total_bytes),
        Peer("cudaMalloc", lambda n: runtime.malloc(max(n, 1)), int, runtime.free),
    ]

    def write(address: int, nbytes: int) -> None:
        runtime.memsetAsync(address, 1, nbytes, 0)

    return Machine(peers, write, runtime.deviceSynchronize)


def void(value: object) -> None:
    """Drop a result."""


def main(place: Place = CPU, steps: int = 12, rounds: int = 9) -> list[dict[str, Any]]:
    """Measure, print a table, return its rows; none if there is no such GPU."""
    try:
        machine = cpu() if place == CPU else gpu(place)
    except PoolError as error:
        print(f"allocations: {error}; nothing is measured there", file=sys.stderr)
        return []
    log = record(steps)
    pairs, asked = len(log) // 2, asked_peak(log)
    bare: dict[str, list[float]] = {peer.name: [] for peer in machine.peers}
    written: dict[str, list[float]] = {peer.name: [] for peer in machine.peers}
    for turn in range(rounds + 1):
        for peer in machine.peers:
            for times, write in ((bare, None), (written, machine.write)):
                machine.settle()
                seconds = replay(peer, log, write)
                if turn > 0:  # the first is to warm up
                    times[peer.name].append(1e6 * seconds / pairs)
    rows: list[dict[str, Any]] = []
    for peer in machine.peers:
        row: dict[str, Any] = {
            "place": str(place),
            "what": peer.name,
            "pairs": pairs,
            "us_per_pair": statistics.median(bare[peer.name]),
            "us_per_pair_written": statistics.median(written[peer.name]),
            "asked_peak_bytes": asked,
            "peak_bytes": peer.peak() if peer.peak else asked,
            "fragmentation": None,
        }
        if peer.pool:
            row["peak_bytes"], row["fragmentation"] = shape(peer.pool, log)
        rows.append(row)
        row["ratio"] = row["us_per_pair"] / rows[0]["us_per_pair"]
        row["ratio_written"] = row["us_per_pair_written"] / rows[0]["us_per_pair_written"]
    print(f"{place}: {pairs} allocations of {steps} training steps, {asked} bytes at most")
    print("what           us/pair  ratio  written  ratio   peak bytes  fragmentation")
    for row in rows:
        split = "" if row["fragmentation"] is None else f"{row['fragmentation']:.3f}"
        print(
            f"{row['what']:14s} {row['us_per_pair']:7.2f} {row['ratio']:6.2f} "
            f"{row['us_per_pair_written']:8.2f} {row['ratio_written']:6.2f} "
            f"{row['peak_bytes']:12d} {split:>14s}"
        )
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--place", type=parse_place, default=CPU)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = main(options.place, options.steps, options.rounds)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
