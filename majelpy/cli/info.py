"""`majel info`: versions, processor, kernels, memory pool, MPI."""

from __future__ import annotations

import argparse
import os
import platform
from typing import Any


def add(commands: Any) -> None:
    """Add the command's parser."""
    commands.add_parser(
        "info",
        help="show versions, processor, kernels, memory pool and MPI",
        description="Show what a report of a problem should contain.",
    )


def run(options: argparse.Namespace) -> int:
    """Print a line each."""
    import h5py
    import numpy

    from majelpy import native
    from majelpy.comm.mpi import library_version
    from majelpy.gpu.device import gpus
    from majelpy.memory.free_memory import free_bytes
    from majelpy.memory.pool import pool
    from majelpy.recipes.launch import default_threads
    from majelpy.version import ARITHMETIC, __version__
    from majelpy.wording import byte_size, counted

    memory = pool()
    stats = memory.statistics
    limit = "no limit" if memory.limit is None else f"limit {byte_size(memory.limit)}"
    cores = len(os.sched_getaffinity(0))
    lines = {
        "majelpy": f"{__version__}, arithmetic {ARITHMETIC}",
        "python": f"{platform.python_version()}, numpy {numpy.__version__}, "
        f"h5py {h5py.__version__}",
        "machine": f"{platform.machine()}, {platform.system()} {platform.release()}",
        "instruction set": f"{native.isa()} (this machine runs "
        f"{', '.join(native.available_isas())})",
        "kernel digest": native.kernel_digest(),
        "cores": f"{cores} usable; a rank uses {counted(default_threads(1), 'thread')} alone on a "
        "host, else cores / ranks of the host",
        "pool": f"{byte_size(memory.capacity)} by default, {limit}; taken at the first use, and "
        "only what is touched costs memory; commands take their share of 90% of what is free, now "
        f"{byte_size(free_bytes())}; majel train --pool-bytes N changes it",
        "pool statistics": f"in use {byte_size(stats.in_use)}, peak {byte_size(stats.peak)}, "
        f"largest free block {byte_size(memory.largest_free)}, fragmentation "
        f"{memory.fragmentation:.2f}, fallback {byte_size(stats.fallback_in_use)}, "
        f"{counted(stats.allocations, 'allocation')} (of a training: a line a step in "
        "timings.jsonl of its run)",
        "mpi": library_version(),
        "gpu": gpus(),
    }
    for name, value in lines.items():
        print(f"{name}: {value}")
    return 0
