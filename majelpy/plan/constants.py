"""The cluster file: what machine there is, how fast its links and kernels are.

Policy. Everything that a prediction takes from hardware stands here, with its unit in its name.
`majel plan --measure` writes such a file (majelpy/plan/measure.py); people edit hosts and links.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from majelpy.errors import RecipeError
from majelpy.settings import parse, read_toml, setting

_LEAST = 1e-6
"""Least rate that counts as one."""


@dataclass(frozen=True)
class Link:
    """Cost of a message of n bytes: alpha + n / beta. A beta of 0: not known."""

    alpha_us: float = setting(0.0, least=0, help="microseconds of a message without bytes")
    beta_gb_s: float = setting(0.0, least=0, help="10^9 bytes a second of a long message")

    def seconds(self, nbytes: float, messages: float = 1) -> float:
        """Seconds of so many messages, one after another, of ``nbytes`` bytes in all."""
        return messages * self.alpha_us * 1e-6 + nbytes / (self.beta_gb_s * 1e9)


@dataclass(frozen=True)
class Links:
    """Between two ranks of a socket, of two sockets of a host, of two hosts."""

    socket: Link
    host: Link
    fabric: Link


@dataclass(frozen=True)
class GemmRates:
    """(m, k) times (k, n); of ``gflops`` k runs fastest."""

    m: tuple[int, ...] = setting(least=1, help="rows of the grid")
    n: tuple[int, ...] = setting(least=1, help="columns of the grid")
    k: tuple[int, ...] = setting(least=1, help="terms of the grid")
    gflops: tuple[float, ...] = setting(least=_LEAST, help="10^9 operations a second, 2 m n k each")


@dataclass(frozen=True)
class RecurrentRates:
    """A time step of one direction; of ``gflops`` hidden runs fastest."""

    utterances: tuple[int, ...] = setting(least=1, help="rows of the grid")
    hidden: tuple[int, ...] = setting(least=1, help="units of the grid")
    gflops: tuple[float, ...] = setting(
        least=_LEAST, help="10^9 operations a second, 2 N H^2 a step"
    )


@dataclass(frozen=True)
class CtcRates:
    """Loss and gradient of CTC, by states of an utterance (2 labels + 1)."""

    states: tuple[int, ...] = setting(least=1, help="states of the grid")
    mega_per_s: tuple[float, ...] = setting(least=_LEAST, help="10^6 frames times states a second")


@dataclass(frozen=True)
class Rates:
    """Speed of the kernels of one rank."""

    gemm: GemmRates
    recurrent: RecurrentRates
    ctc: CtcRates
    elementwise_gb_s: float = setting(least=_LEAST, help="10^9 bytes a second, read and written")
    optimizer_gb_s: float = setting(least=_LEAST, help="the same, of norm and update")
    digest_gb_s: float = setting(least=_LEAST, help="10^9 bytes a second of SHA-256")
    softmax_mega_per_s: float = setting(least=_LEAST, help="10^6 elements a second")
    dropout_mega_per_s: float = setting(least=_LEAST, help="10^6 elements a second")
    call_us: float = setting(least=0, help="microseconds of an operation on one element")
    threads: int = setting(1, least=1, most=1024, help="threads of a rank when measured")


@dataclass(frozen=True)
class Cluster:
    """Hosts of one kind; ranks fill one host, and in it one socket, after another."""

    links: Links
    rates: Rates
    hosts: int = setting(1, least=1, most=1 << 20, help="number of hosts")
    sockets: int = setting(1, least=1, most=1024, help="sockets of a host")
    cores: int = setting(1, least=1, most=4096, help="cores of a socket")
    ranks_per_host: int = setting(1, least=1, most=4096, help="ranks of a full host")

    @property
    def ranks(self) -> int:
        """Ranks of the whole cluster."""
        return self.hosts * self.ranks_per_host


def load(path: str) -> Cluster:
    """Return the cluster of a file.

    Raises
    ------
    RecipeError
        If the file cannot be read, is not TOML, has an unknown key or a value of a wrong kind, a
        table of rates does not fit its axes, or a link is missing that its ranks need.
    """
    cluster: Cluster = parse(Cluster, read_toml(path), path)
    rates = cluster.rates
    gemm, recurrent, ctc = rates.gemm, rates.recurrent, rates.ctc
    _check_grid(path, "gemm.gflops", gemm.gflops, {"m": gemm.m, "n": gemm.n, "k": gemm.k})
    axes = {"utterances": recurrent.utterances, "hidden": recurrent.hidden}
    _check_grid(path, "recurrent.gflops", recurrent.gflops, axes)
    _check_grid(path, "ctc.mega_per_s", ctc.mega_per_s, {"states": ctc.states})
    links, local = cluster.links, cluster.ranks_per_host
    needed = [
        ("socket", links.socket, local > cluster.sockets, f"{local} ranks of a host"),
        ("host", links.host, cluster.sockets > 1 < local, f"{cluster.sockets} sockets"),
        ("fabric", links.fabric, cluster.hosts > 1, f"{cluster.hosts} hosts"),
    ]
    for name, link, used, reason in needed:
        if used and link.beta_gb_s < _LEAST:
            raise RecipeError(
                f"{path}: links.{name}.beta_gb_s is {link.beta_gb_s:g} (0: not known); {reason} "
                f"need at least {_LEAST:g}"
            )
    return cluster


def _check_grid(
    path: str, name: str, values: tuple[float, ...], axes: dict[str, tuple[int, ...]]
) -> None:
    table = name.partition(".")[0]
    for axis, points in axes.items():
        if any(a >= b for a, b in pairwise(points)):
            raise RecipeError(f"{path}: rates.{table}.{axis} is {list(points)}; needs to ascend")
    needed = math.prod(map(len, axes.values()))
    if len(values) != needed:
        sizes = " x ".join(f"{len(points)} {axis}" for axis, points in axes.items())
        raise RecipeError(
            f"{path}: rates.{name} has {len(values)} values; needs {needed} ({sizes})"
        )
