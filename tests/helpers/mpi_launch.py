"""Run a program of mpi_programs under mpirun; the test's own process never starts MPI."""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import needs
from paths import BUILDS, PROGRAMS

PATIENCE = 500
"""Seconds after which a program hangs: none needs as many, however busy the machine is."""


def found_mpirun() -> str | None:
    """Return mpirun's path, or None without MPI."""
    beside = Path(sys.executable).parent / "mpirun"
    found = str(beside) if beside.exists() else shutil.which("mpirun")
    return found if importlib.util.find_spec("mpi4py") else None


def mpirun() -> str:
    """Return mpirun's path; without MPI skip the test, or fail if MAJELPY_REQUIRE says mpi."""
    found = found_mpirun()
    if found:
        return found
    needs.lacking("mpi", "needs mpi4py and mpirun (pip install '.[mpi]')")


@cache
def own_folder() -> str:
    """Return a folder for temporary files of what this process starts.

    In a folder of all, an mpirun that ends removes what another is about to use ("the PMIx server's
    listener thread failed to start").
    """
    folder = tempfile.mkdtemp(prefix="mj-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def environment() -> dict[str, str]:
    """Return this process's environment, with more ranks than cores and root allowed."""
    return os.environ | {
        "TMPDIR": own_folder(),
        BUILDS: os.environ.get(BUILDS, tempfile.gettempdir()),
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }


def launch(
    program: str, ranks: int, *arguments: str, timeout: float = PATIENCE
) -> subprocess.CompletedProcess[str]:
    """Run ``mpi_programs/<program>`` on `ranks` ranks; the exit code is the caller's to check."""
    command = [mpirun(), "-n", str(ranks), sys.executable, str(PROGRAMS / program), *arguments]
    return subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=timeout, check=False
    )
