"""The launch: everything about how a run is executed. None of it may change a bit.

Policy. A new field needs a variation in tests/train/test_one_answer.py, or that test fails.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from majelpy import arguments
from majelpy.errors import RecipeError
from majelpy.memory.place import parse_place
from majelpy.wording import bounds

_BOUNDS: dict[str, tuple[float, float]] = {
    "threads": (0, 1024),
    "bucket_bytes": (64, math.inf),
    "pool_bytes": (0, math.inf),
    "prefetch": (0, 64),
    "cache_bytes": (0, math.inf),
    "checkpoint_seconds": (0, math.inf),
}


@dataclass(frozen=True)
class Launch:
    """How to execute.

    Attributes
    ----------
    place : str
        Where this rank computes: ``cpu``, ``gpu`` (by its position among the ranks of the host) or
        ``gpu:1``. Ranks of one world may differ.
    threads : int
        Kernel threads of a rank; 0: cores divided by the ranks of the host.
    shared_memory : bool
        Ranks of a host sum through shared memory; without it, by messages.
    bucket_bytes : int
        Gradient bytes summed in one round of messages.
    mesh : str
        Ranks that have different leaves times ranks that share a model, such as
        ``data=2,model=2``; "": chosen by majelpy.mesh.
    model_parallel : str
        How ranks share a model: ``time``, ``directions``, ``hidden`` or ``auto``.
    overlap : bool
        Gradients are summed while the backward pass still computes others.
    pool_bytes : int, optional
        Size of the memory pool on that place; None: see majelpy.train.places.
    prefetch : int
        Minibatches read ahead, each by a thread of its own; 0: each when it is needed.
    cache_bytes : int
        Features or samples kept in memory after their first use.
    checkpoint_seconds : float
        Least time between checkpoints; 0: one after each step.

    Raises
    ------
    RecipeError
        If a number is out of bounds, or there is no such place.
    ArgumentError
        If a setting is of another type.
    """

    place: str = "cpu"
    threads: int = 0
    shared_memory: bool = True
    bucket_bytes: int = 4 << 20
    mesh: str = ""
    model_parallel: str = "auto"
    overlap: bool = True
    pool_bytes: int | None = None
    prefetch: int = 2
    cache_bytes: int = 1 << 30
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        for name in ("mesh", "model_parallel"):
            arguments.require(getattr(self, name), str, _option(name), "a text")
        for name in ("shared_memory", "overlap"):
            arguments.require(getattr(self, name), bool, _option(name), "True or False")
        for name in ("threads", "bucket_bytes", "prefetch", "cache_bytes"):
            arguments.whole(getattr(self, name), _option(name))
        if self.pool_bytes is not None:
            arguments.whole(self.pool_bytes, _option("pool_bytes"))
        arguments.number(self.checkpoint_seconds, _option("checkpoint_seconds"))
        parse_place(self.place)
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise RecipeError(f"{_option(name)} is {value}; needs {bounds(least, most)}")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def default_threads(local_ranks: int) -> int:
    """Cores for one rank: those it is bound to, or its share of all."""
    cores = len(os.sched_getaffinity(0))
    bound = cores < (os.cpu_count() or 1)
    return cores if bound else max(1, cores // local_ranks)
