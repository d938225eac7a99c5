"""Stages of `scripts/gpu_check`: ranks that share one GPU train with the CPU's bits.

Policy. Kernels of several processes run in turn, or side by side under NVIDIA's server (MPS); a
stage says which, whatever the machine has running. The bits are those of one process on the CPU.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from gpu_machine import ROOT, Result, child, last_line, not_run

RANKS, STEPS = 4, 30

TRAINING = ROOT / "tests" / "helpers" / "device_training.py"

PATIENCE = 200.0
"""Seconds of a training, at most: two recipes here and on the CPU are within the stage's limit."""

SERVER = "nvidia-cuda-mps-control"


def fingerprints(variables: Mapping[str, str]) -> Result:
    """Hold trainings of several ranks on one GPU against the CPU's, in this environment."""
    import device_training
    import mpi_launch

    mpirun = mpi_launch.found_mpirun()
    if mpirun is None:
        return not_run("there is no mpirun, or no mpi4py")
    result: Result = {"ok": True, "ranks": RANKS, "steps": STEPS}
    for recipe in device_training.RECIPES:
        bits = []
        for words, place in (([], "cpu"), ([mpirun, "-n", str(RANKS)], "gpu:0")):
            start = time.monotonic()
            command = [*words, sys.executable, str(TRAINING), place, str(STEPS), recipe]
            code, found, said = child(command, PATIENCE, mpi_launch.environment() | variables)
            if code != 0:
                said = said.replace("\0", "").strip()[-2000:]  # mpirun has the last words, and NULs
                result |= {"ok": False, f"{recipe} on {place}": said or f"code {code}"}
            result[f"{recipe} on {place}, seconds"] = round(time.monotonic() - start, 1)
            bits.append(found.splitlines())
        same = bits[0] == bits[1] and len(bits[0]) == STEPS + 1
        result |= {recipe: bits[0][-1] if same else "differs", "ok": result["ok"] and same}
    return result


def time_sliced() -> Result:
    """Four ranks on one GPU, whose kernels run in turn: 30-step fingerprints."""
    with tempfile.TemporaryDirectory(prefix="no-mps-") as folder:  # where no server listens
        return fingerprints({"CUDA_MPS_PIPE_DIRECTORY": folder})


def served() -> Result:
    """The same under a server of our own (MPS), whose ranks' kernels run side by side."""
    program = shutil.which(SERVER)
    if program is None:
        return not_run(f"there is no {SERVER} on the PATH")
    with tempfile.TemporaryDirectory(prefix="mps-", ignore_cleanup_errors=True) as folder:
        pipes, logs = Path(folder, "pipes"), Path(folder, "logs")
        for each in (pipes, logs):
            each.mkdir()
        variables = {"CUDA_MPS_PIPE_DIRECTORY": str(pipes), "CUDA_MPS_LOG_DIRECTORY": str(logs)}
        with Path(folder, "said").open("w+") as said:  # a pipe would stay open with the server
            started = subprocess.run(
                [program, "-d"], env=os.environ | variables, stdout=said, stderr=said, timeout=60
            )
            said.seek(0)
            if started.returncode:
                return {"ok": False, "code": started.returncode, "said": last_line(said.read())}
        try:
            found = fingerprints(variables)
            servers = _ask(program, "get_server_list", variables).split()
        finally:
            _ask(program, "quit", variables)
    if "not run" in found:
        return found
    # Without one, the ranks have passed by the server.
    return found | {"ok": found["ok"] and bool(servers), "servers": len(servers)}


def _ask(program: str, question: str, variables: Mapping[str, str]) -> str:
    """Return what the server answers."""
    return subprocess.run(
        [program], env=os.environ | variables, input=f"{question}\n",
        capture_output=True, text=True, timeout=60,
    ).stdout  # fmt: skip
