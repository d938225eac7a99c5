"""`majel info`: versions, processor, kernels, MPI."""

from __future__ import annotations

import argparse
import os
import platform
from typing import Any


def add(commands: Any) -> None:
    """Add the command's parser."""
    commands.add_parser(
        "info",
        help="show versions, processor, kernels and MPI",
        description="Show what a report of a problem should contain.",
    )


def run(options: argparse.Namespace) -> int:
    """Print a line each."""
    import h5py
    import numpy

    from majelpy import ARITHMETIC, __version__, native
    from majelpy.comm.world import library_version
    from majelpy.train.launch import default_threads

    cores = len(os.sched_getaffinity(0))
    lines = {
        "majelpy": f"{__version__}, arithmetic {ARITHMETIC}",
        "python": f"{platform.python_version()}, numpy {numpy.__version__}, "
        f"h5py {h5py.__version__}",
        "machine": f"{platform.machine()}, {platform.system()} {platform.release()}",
        "instruction set": f"{native.isa()} (this machine runs "
        f"{', '.join(native.available_isas())})",
        "kernel digest": native.kernel_digest(),
        "cores": f"{cores} usable; a rank uses {default_threads(1)} threads alone on a host, "
        f"else cores / ranks of the host",
        "mpi": library_version(),
        "gpu": "not supported by this version",
    }
    for name, value in lines.items():
        print(f"{name}: {value}")
    return 0
