"""Measures the constants of the machine at hand: rates of kernels, alpha and beta of links.

Policy. Times are medians of a few short rounds. Under mpirun all ranks measure at the same time,
so that rates contain their rivalry for memory, and the median of the ranks is taken; links are
measured between rank 0 and another rank of its socket, of another socket, of another host. A single
process copies memory instead, which is what ranks of a host do when they add gradients.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from majelpy import native, ops
from majelpy.array import Array, asarray
from majelpy.comm.tags import Tag
from majelpy.comm.world import World
from majelpy.plan.constants import (
    Cluster,
    CtcRates,
    GemmRates,
    Link,
    Links,
    Rates,
    RecurrentRates,
)
from majelpy.wording import counted, lasting

_SMALL, _LARGE = 64, 8 << 20
"""Bytes of the messages that alpha and beta are taken from."""

_VECTOR = 1 << 22
"""Floats of the vectors of elementwise operations: more than caches hold."""

_DIRECTIONS = 2

Labels = list[list[int]]


@dataclass(frozen=True)
class Effort:
    """Sizes to measure, and for how long.

    Attributes
    ----------
    m, n, k, utterances, hidden, labels : tuple of int
        Axes of the grids.
    vector : int
        Floats of elementwise operations.
    seconds : float
        Of one round.
    rounds : int
    """

    m: tuple[int, ...] = (16, 128, 1024)
    n: tuple[int, ...] = (32, 256, 1024)
    k: tuple[int, ...] = (64, 256, 1024)
    utterances: tuple[int, ...] = (1, 4, 14, 56)
    hidden: tuple[int, ...] = (128, 256, 512, 1024)
    labels: tuple[int, ...] = (4, 20, 80)
    vector: int = _VECTOR
    seconds: float = 0.02
    rounds: int = 5


class Stopwatch:
    """Seconds of calls, the same number of rounds on every rank."""

    def __init__(self, world: World, effort: Effort, say: Callable[[str], None]):
        self._world, self._effort, self.say = world, effort, say

    def __call__(self, what: str, call: Callable[[], object]) -> float:
        """Return the seconds of one call: the median of the rounds, then of the ranks."""
        call()
        self._world.barrier()
        mine = statistics.median(self._round(call) for _ in range(self._effort.rounds))
        seconds = statistics.median(self._world.all_gather(mine))
        if self._world.rank == 0:
            self.say(f"{what}: {lasting(seconds)}")
        return seconds

    def _round(self, call: Callable[[], object]) -> float:
        start, calls = time.perf_counter(), 0
        while True:
            call()
            calls += 1
            elapsed = time.perf_counter() - start
            if elapsed >= self._effort.seconds:
                return elapsed / calls


def measure(
    world: World, threads: int, say: Callable[[str], None], effort: Effort | None = None
) -> tuple[Cluster, list[str]]:
    """Return the cluster that these ranks see, and remarks on what could not be measured.

    Parameters
    ----------
    threads : int
        Kernel threads of a rank.
    say : callable
        Takes lines of progress, on rank 0.
    """
    effort = effort or Effort()
    native.set_threads(threads)
    watch = Stopwatch(world, effort, say)
    if world.rank == 0:
        ranks, each = counted(world.size, "rank"), counted(threads, "thread")
        say(f"measuring with {ranks} of {each}, for half a minute or so")
    rates = Rates(
        gemm=_gemm(watch, effort),
        recurrent=_recurrent(watch, effort),
        ctc=_ctc(watch, effort),
        threads=threads,
        **_streams(watch, effort),
    )
    packages, cores = _processor()
    links, remarks = _links(world, watch)
    cluster = Cluster(
        links=links,
        rates=rates,
        hosts=len(world.hosts),
        sockets=packages,
        cores=max(1, cores // packages),
        ranks_per_host=world.local_size if world.size > 1 else max(1, cores // threads),
    )
    return cluster, remarks


def _random(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape, dtype=np.float32)


def _gemm(watch: Stopwatch, effort: Effort) -> GemmRates:
    rates = []
    for m, n, k in product(effort.m, effort.n, effort.k):
        a, b = asarray(_random(m, k)), asarray(_random(n, k))

        def multiply(a: Array = a, b: Array = b) -> None:
            ops.gemm(a, b, transpose_b=True)

        seconds = watch(f"gemm {m}x{n}x{k}", multiply)
        rates.append(2e-9 * m * n * k / seconds)
    return GemmRates(effort.m, effort.n, effort.k, tuple(rates))


def _recurrent(watch: Stopwatch, effort: Effort) -> RecurrentRates:
    """Forward and backward together: both have as many products."""
    steps, rates = 16, []
    for utterances, hidden in product(effort.utterances, effort.hidden):
        offsets = np.arange(0, utterances * steps + 1, steps)
        x = asarray(_random(utterances * steps, _DIRECTIONS * hidden))
        weight = asarray(_random(_DIRECTIONS, hidden, hidden) / np.float32(hidden))

        def both(x: Array = x, offsets: np.ndarray = offsets, weight: Array = weight) -> None:
            h = ops.rnn_forward(x, offsets, weight).h
            ops.rnn_backward(x, offsets, weight, h)

        seconds = watch(f"recurrent {counted(utterances, 'utterance')}, {hidden} units", both)
        products = 2 * _DIRECTIONS * steps
        rates.append(2e-9 * products * utterances * hidden * hidden / seconds)
    return RecurrentRates(effort.utterances, effort.hidden, tuple(rates))


def _ctc(watch: Stopwatch, effort: Effort) -> CtcRates:
    utterances, characters, rates = 8, 29, []
    for count in effort.labels:
        frames = 5 * count
        labels = [[1 + (i + n) % (characters - 1) for i in range(count)] for n in range(utterances)]
        offsets = np.arange(0, utterances * frames + 1, frames)
        log_probs = ops.log_softmax(_random(utterances * frames, characters))

        def loss(lp: Array = log_probs, o: np.ndarray = offsets, t: Labels = labels) -> None:
            ops.ctc_loss(lp, o, t)

        seconds = watch(f"ctc {frames} frames, {count} labels", loss)
        rates.append(1e-6 * utterances * frames * (2 * count + 1) / seconds)
    return CtcRates(tuple(2 * count + 1 for count in effort.labels), tuple(rates))


def _streams(watch: Stopwatch, effort: Effort) -> dict[str, float]:
    """Rates of operations that pass over memory, and the cost of a call."""
    size, columns = effort.vector, 64
    a, b = asarray(_random(size)), asarray(_random(size))
    one, factor = asarray(np.ones(1, np.float32)), asarray(np.zeros(1, np.float32))
    matrix = a.reshape(size // columns, columns)
    rows = np.array([0, size // columns])
    dropout = ops.Dropout(0.1, 1, 0, rows, np.zeros(1, np.int64))
    text = a.numpy().tobytes()

    def update() -> None:
        ops.factor_of(ops.square_sum(b), 1.0)
        ops.nesterov(a, b, b, factor=factor, rate=factor, momentum=0.0, decay=0.0)

    gigabytes = 4e-9 * size
    return {
        "elementwise_gb_s": 3 * gigabytes / watch("elementwise", lambda: ops.add(a, b)),
        "softmax_mega_per_s": 1e-6 * size / watch("softmax", lambda: ops.log_softmax(matrix)),
        "dropout_mega_per_s": 1e-6 * size / watch("dropout", lambda: dropout.apply(matrix, 0)),
        "digest_gb_s": gigabytes / watch("digest", lambda: hashlib.sha256(text).digest()),
        "optimizer_gb_s": 6 * gigabytes / watch("optimizer", update),
        "call_us": 1e6 * watch("call", lambda: ops.add(one, one)),
    }


def _processor() -> tuple[int, int]:
    """Sockets and cores of this host; a core's hardware threads count once."""
    found = set()
    for cpu in range(os.cpu_count() or 1):
        folder = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
        try:
            package = (folder / "physical_package_id").read_text().strip()
            found.add((package, (folder / "core_id").read_text().strip()))
        except OSError:  # not Linux, or a processor that is off
            continue
    return max(1, len({package for package, _ in found})), len(found) or os.cpu_count() or 1


def _socket() -> str:
    """The socket that this rank is bound to; empty if to none."""
    sockets = set()
    for cpu in os.sched_getaffinity(0):
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id")
        sockets.add(path.read_text().strip() if path.exists() else "")
    return sockets.pop() if len(sockets) == 1 else ""


def _links(world: World, watch: Stopwatch) -> tuple[Links, list[str]]:
    """Links to the nearest rank of each level; what is not there takes the next nearer's."""
    if world.size == 1:
        link, none = _copies(watch), Link()
        return Links(link, link, none), [
            "links: of memory copies alone, in one process; mpirun -n 2 majel plan --measure "
            "measures messages"
        ]
    home = next(i for i, ranks in enumerate(world.hosts) if 0 in ranks)
    places = world.all_gather((world.rank in world.hosts[home], _socket()))
    peers: dict[str, int] = {}
    for rank, (same_host, name) in enumerate(places[1:], 1):
        level = "fabric" if not same_host else "socket" if name == places[0][1] else "host"
        peers.setdefault(level, rank)
    found = {level: _ping_pong(world, peer) for level, peer in peers.items()}
    if world.rank == 0:
        for level, link in found.items():
            alpha = lasting(1e-6 * link.alpha_us)
            watch.say(f"link {level}: {alpha}, {link.beta_gb_s:.4g} GB/s")
    remarks = [
        f"links.{level}: not measured, no two ranks are so"
        for level in ("socket", "host", "fabric")
        if level not in found and (level != "host" or _processor()[0] > 1)
    ]
    none = Link()
    socket = found.get("socket", found.get("host", none))
    return Links(socket, found.get("host", socket), found.get("fabric", none)), remarks


def _line(small: float, large: float) -> Link:
    """Alpha and beta from the seconds of a small and a large message."""
    slope = max(large - small, 1e-12) / (_LARGE - _SMALL)
    return Link(max(small - slope * _SMALL, 0.0) * 1e6, 1e-9 / slope)


def _copies(watch: Stopwatch) -> Link:
    source, target = np.ones(_LARGE, np.uint8), np.ones(_LARGE, np.uint8)

    def copy(nbytes: int) -> None:
        target[:nbytes] = source[:nbytes]

    small = watch("copy of 64 bytes", lambda: copy(_SMALL))
    return _line(small, watch("copy of 8 MiB", lambda: copy(_LARGE)))


def _ping_pong(world: World, peer: int) -> Link:
    """Half the time of a message there and back, between rank 0 and another; the rest wait."""
    seconds = [_exchange(world, peer, *kind) for kind in ((_SMALL, 200), (_LARGE, 4))]
    return _line(*world.broadcast(seconds))


def _exchange(world: World, peer: int, nbytes: int, count: int) -> float:
    data, times = np.zeros(nbytes, np.uint8), []
    for _ in range(7):
        world.barrier()
        start = time.perf_counter()
        for _ in range(count):
            if world.rank == 0:
                world.send(data, peer, Tag.MEASURED).Wait()
                world.receive(data, peer, Tag.MEASURED).Wait()
            elif world.rank == peer:
                world.receive(data, 0, Tag.MEASURED).Wait()
                world.send(data, 0, Tag.MEASURED).Wait()
        times.append((time.perf_counter() - start) / (2 * count))
    return statistics.median(times[1:])  # the first one opens the connection
