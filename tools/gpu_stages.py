"""What `scripts/gpu_check` runs on a GPU, a stage a function, each in a process of its own.

Policy. A stage returns values for JSON and ``"ok"``; what it finds wrong it says in words. It holds
nothing that another stage needs, so one that hangs or dies loses nothing but itself. Stages that a
machine cannot run (one GPU, no sanitizer) return ``"not run"`` with the reason.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gpu_ranks
import gpu_stress
import numpy as np
from gpu_machine import ROOT, Result, gpu, not_run, pool_of

GOLDEN = ROOT / "tests" / "golden" / "every_place.json"
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")


def build() -> Result:
    """Both programs compile anew for this GPU and all kernels load; what they take of it."""
    from majelpy.gpu import build

    on, seconds, kernels = gpu(), {}, {}
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ, {"XDG_CACHE_HOME": folder}),
    ):
        for program in build.PROGRAMS:
            start = time.monotonic()
            build.code(program, on._architecture)
            seconds[program] = round(time.monotonic() - start, 1)
        for name in build.programs():
            function = on._kernel(name, together=False, shared=0)
            kernels[name] = {
                "registers": function.num_regs,
                "stack": function.local_size_bytes,
            }
    return {"ok": True, "seconds": seconds, "kernels": kernels}


def wrong_digests() -> list[str]:
    """Return the cases of all kernels, launched in each way, whose bits are not golden."""
    import gpu_cases
    import one_case
    from makers import digest

    from majelpy.gpu import gemm, rnn
    from majelpy.gpu.launches import LAUNCHES

    on, golden = gpu(), json.loads(GOLDEN.read_text())
    choose, shape = gemm.choose, rnn.persistent_shape
    wrong = []
    for case, lying in gpu_cases.elsewhere():
        try:
            found = one_case.on_device(case, on, LAUNCHES[case.entry], **lying)
        except AssertionError as error:
            wrong.append(f"{case.name} ({lying}): {error}")
        else:
            if digest(*found) != golden[case.name]:
                wrong.append(f"{case.name} ({lying})")
    try:
        for way in gemm.WAYS:
            gemm.choose = gpu_cases.only(way)
            for case in gpu_cases.all_cases():
                if digest(*one_case.on_device(case, on, LAUNCHES[case.entry])) != golden[case.name]:
                    wrong.append(f"{case.name} ({way.name})")
            rnn.persistent_shape = lambda *_: None  # from the second time on step by step
    finally:
        gemm.choose = choose
        rnn.persistent_shape = shape
    return wrong


def digests() -> Result:
    """Every kernel's bits are the CPU's: golden digests."""
    wrong = wrong_digests()
    return {"ok": not wrong, "wrong": wrong}


def fallback() -> Result:
    """The same, and trainings, with all memory in the pool's fallback, pinned host memory."""
    with pool_of(0) as pool:
        wrong = wrong_digests()
        used = pool.statistics.fallbacks
    wrong += wrong_trainings(3, pool_bytes=0)
    return {"ok": not wrong and used > 0, "wrong": wrong}


def wrong_trainings(steps: int, pool_bytes: int) -> list[str]:
    """Return the recipes whose steps on the GPU, with so large a pool, are not the CPU's."""
    import device_training

    from majelpy.comm.world import World

    alone, wrong = World.alone(), []
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "train.h5")
        device_training.write_corpus(corpus)
        for name, recipe in device_training.RECIPES.items():
            expected = device_training.bits(corpus, "cpu", steps, alone, recipe)
            found = device_training.bits(corpus, "gpu:0", steps, alone, recipe, pool_bytes)
            wrong += [name] if found != expected else []
    return wrong


def sanitizer(tool: str) -> Result:
    """The same under a tool of compute-sanitizer, each allocation taken from CUDA by itself."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        return not_run("there is no compute-sanitizer on the PATH")
    command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable]
    command += [str(ROOT / "scripts" / "gpu_check"), "--stage", "exact"]
    done = subprocess.run(command, capture_output=True, text=True)
    return {"ok": done.returncode == 0, "code": done.returncode, "said": done.stdout[-2000:]}


def exact() -> Result:
    """Digests with exact allocations, so that a sanitizer sees an overrun; no stage by itself."""
    from majelpy.memory.place import Place
    from majelpy.memory.system import GpuSystem

    class Exact(GpuSystem):
        fallback_name = "memory of its own"

        def fallback(self, nbytes: int) -> Any:
            return self.region(max(nbytes, 1))

    with pool_of(0, system=Exact(Place("gpu", 0))):
        wrong = wrong_digests()
    return {"ok": not wrong, "wrong": wrong}


PART = 1 << 24
STARTS = range(0, 1 << 32, PART)
"""Patterns of a part of all floats, and the first of each part."""


def functions() -> Result:
    """exp, log, sigmoid, tanh, 1/x and sqrt of all floats have the CPU's bits, but for NaN's."""
    from majelpy import native
    from majelpy.gpu.launches import LAUNCHES
    from majelpy.memory.numbering import UNARY

    calls: dict[str, tuple[str, tuple[int, ...]]] = {
        **{
            name: ("mj_math_array", (i,))
            for i, name in enumerate(("exp", "log", "sigmoid", "tanh"))
        },
        **{name: ("mj_unary", (UNARY.index(name), 0)) for name in ("reciprocal", "sqrt")},
    }
    on, cpu, wrong = gpu(), native.library(), dict.fromkeys(calls, 0)
    native.set_threads(os.cpu_count() or 1)
    x, out, expected = (np.empty(PART, np.float32) for _ in range(3))
    there, result = on.scratch(x.nbytes), on.scratch(x.nbytes)
    for start in STARTS:
        x.view(np.uint32)[:] = np.arange(PART, dtype=np.uint32) + np.uint32(start)
        on.copy_in(x, there.pointer)
        for name, (entry, which) in calls.items():
            LAUNCHES[entry](on, *which, PART, there.pointer, result.pointer)
            getattr(cpu, entry)(*which, PART, x.ctypes.data, expected.ctypes.data)
            on.download(result.pointer, out)
            same = (out.view(np.uint32) == expected.view(np.uint32)) | (
                np.isnan(out) & np.isnan(expected)
            )
            wrong[name] += int((~same).sum())
    return {"ok": not any(wrong.values()), "floats": PART * len(STARTS), "wrong": wrong}


def tests() -> Result:
    """The tests marked gpu: kernels, pool, 30-step fingerprints on one to three ranks."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    command += ["-W", "ignore:Unknown config option"]  # pytest-timeout's, where that is missing
    found = sorted((ROOT / "tests").rglob("test_*.py"))
    command += [str(path) for path in found if "mark.gpu" in path.read_text()]
    variables = {"MAJELPY_REQUIRE": "gpu", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True
    )
    return {"ok": done.returncode == 0, "said": done.stdout[-4000:]}


def benchmarks() -> Result:
    """Products, layers and steps against the FMA peak, cuBLAS, cuDNN and cudaMalloc."""
    import gpu_training

    return {"ok": True, **gpu_training.everything()}


STAGES: dict[str, tuple[Callable[[], Result], float]] = {
    "build": (build, 300),
    "digests": (digests, 400),
    "tests": (tests, 1500),
    "time_sliced": (gpu_ranks.time_sliced, 900),
    "served": (gpu_ranks.served, 1000),
    "fallback": (fallback, 700),
    "barrier": (gpu_stress.barrier, 240),
    "uploads": (gpu_stress.uploads, 120),
    "failure": (gpu_stress.failure, 120),
    "neighbours": (gpu_stress.neighbours, 120),
    "functions": (functions, 900),
    **{tool: (lambda tool=tool: sanitizer(tool), 900) for tool in TOOLS},
    "benchmarks": (benchmarks, 900),
}
"""Each stage and its time limit in seconds, in the order in which they run."""

HIDDEN: dict[str, Callable[[], Result]] = {"exact": exact}
"""What stages start."""
