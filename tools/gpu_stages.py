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
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden" / "every_place.json"
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")

Result = dict[str, Any]


def not_run(why: str) -> Result:
    """Return the result of a stage that this machine cannot run."""
    return {"ok": True, "not run": why}


def gpu(number: int = 0) -> Any:
    """Return a GPU's launcher."""
    from majelpy.gpu.device import device
    from majelpy.memory.place import Place

    return device(Place("gpu", number))


@contextmanager
def pool_of(nbytes: int, **options: Any) -> Iterator[Any]:
    """Let new arrays on the first GPU use a pool of that size."""
    from majelpy.memory.place import Place
    from majelpy.memory.pool import Pool, set_pool

    pool = Pool(nbytes, Place("gpu", 0), report=lambda line: None, **options)
    before = set_pool(pool)
    try:
        yield pool
    finally:
        if before is not None:
            set_pool(before)


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
    """The same with all memory in the pool's fallback, pinned host memory."""
    with pool_of(0) as pool:
        wrong = wrong_digests()
        return {"ok": not wrong and pool.statistics.fallbacks > 0, "wrong": wrong}


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


def barrier() -> Result:
    """A thousand launches of blocks that wait for one another, with copies beside them."""
    from majelpy.gpu.launches import LAUNCHES

    on, random = gpu(), np.random.default_rng(1)
    hidden, utterances = 256, 24
    first, launches = None, 1000
    lengths = random.integers(1, 60, utterances)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rows = int(offsets[-1])
    x = on.upload(random.standard_normal((rows, 2 * hidden), np.float32))
    weight = on.upload(random.standard_normal((2, hidden, hidden), np.float32) / np.float32(32))
    h, last = on.scratch(8 * rows * hidden), on.scratch(8 * utterances * hidden)
    beside, host = on.scratch(1 << 20), np.zeros(1 << 18, np.float32)
    sizes = (0, 0, 2, utterances, offsets.ctypes.data, hidden, 1, 0)
    pointers = (x.pointer, weight.pointer, None, None, h.pointer, None, last.pointer)
    for _ in range(launches):
        mark = on.point()
        LAUNCHES["mj_rnn_forward_rows"](on, *sizes, *pointers)
        on.copy_in_beside(host, beside.pointer, mark)
        arrived = on.copy_out(beside.pointer, host)
        out = np.empty((rows, 2 * hidden), np.float32)
        on.download(h.pointer, out)
        on.wait(arrived)
        first = out.tobytes() if first is None else first
        if out.tobytes() != first:
            return {"ok": False, "wrong": "two launches differ"}
    return {"ok": True, "launches": launches}


def uploads() -> Result:
    """Host memory that is overwritten at once, behind a long kernel, has gone up as it was."""
    from majelpy.gpu.launches import LAUNCHES

    on = gpu()
    size = 4096
    a, c = on.scratch(4 * size * size), on.scratch(4 * size * size)
    LAUNCHES["mj_gemm"](
        on, size, size, size, 1, a.pointer, size, 1, a.pointer, size, 1, c.pointer, size
    )
    host, there, wrong = np.empty(1 << 16, np.float32), [], 0
    for number in range(200):
        host[:] = number
        there.append(on.upload(host))
        host[:] = -1
    for number, memory in enumerate(there):
        out = np.empty(1 << 16, np.float32)
        on.download(memory.pointer, out)
        wrong += int((out != number).any())
    return {"ok": wrong == 0, "wrong": wrong}


def failure() -> Result:
    """An illegal address in a child ends it with our error within seconds."""
    program = (
        "from gpu_stages import gpu\n"
        "from majelpy.gpu.launches import LAUNCHES\n"
        "on = gpu()\n"
        "LAUNCHES['mj_add_arrays'](on, 1 << 20, 8, 8, 8)\n"
        "mark = on.point()\n"
        "while not on.passed(mark): pass\n"
    )
    start = time.monotonic()
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tools")])
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": paths},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    seconds = time.monotonic() - start
    last = (done.stderr.strip().splitlines() or [""])[-1]
    return {"ok": "DeviceError" in last, "seconds": seconds, "said": last}


def neighbours() -> Result:
    """A process on the second GPU leaves nothing on the first."""
    import cupy

    if cupy.cuda.runtime.getDeviceCount() < 2:
        return not_run("this machine has one GPU")
    on = gpu(1)
    on.copy_in(np.ones(4, np.float32), on.scratch(16).pointer)
    on.synchronize()
    ask = ["nvidia-smi", "--query-compute-apps=pid,gpu_uuid", "--format=csv,noheader"]
    said = subprocess.run(ask, capture_output=True, text=True).stdout.splitlines()
    mine = {line.split(",")[1].strip() for line in said if line.split(",")[0] == str(os.getpid())}
    return {"ok": len(mine) == 1, "contexts": len(mine)}


def functions() -> Result:
    """exp, log, sigmoid and tanh of all floats have the CPU's bits, but for NaN's."""
    from majelpy import native
    from majelpy.gpu.launches import LAUNCHES

    on, cpu, count = gpu(), native.library(), 1 << 24
    native.set_threads(os.cpu_count() or 1)
    x, out = np.empty(count, np.float32), np.empty(count, np.float32)
    there, result = on.scratch(4 * count), on.scratch(4 * count)
    expected, wrong = (
        np.empty(count, np.float32),
        dict.fromkeys(("exp", "log", "sigmoid", "tanh"), 0),
    )
    for part in range(256):
        x.view(np.uint32)[:] = np.arange(count, dtype=np.uint32) + np.uint32(part * count)
        on.copy_in(x, there.pointer)
        for number, name in enumerate(wrong):
            LAUNCHES["mj_math_array"](on, number, count, there.pointer, result.pointer)
            cpu.mj_math_array(number, count, x.ctypes.data, expected.ctypes.data)
            on.download(result.pointer, out)
            same = (out.view(np.uint32) == expected.view(np.uint32)) | (
                np.isnan(out) & np.isnan(expected)
            )
            wrong[name] += int((~same).sum())
    return {"ok": not any(wrong.values()), "wrong": wrong}


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
    """Products, layers and steps against the FMA peak, cuDNN and cudaMalloc."""
    import gpu_training

    return {"ok": True, **gpu_training.everything()}


STAGES: dict[str, tuple[Callable[[], Result], float]] = {
    "digests": (digests, 300),
    "tests": (tests, 1500),
    "fallback": (fallback, 600),
    "barrier": (barrier, 120),
    "uploads": (uploads, 120),
    "failure": (failure, 120),
    "neighbours": (neighbours, 120),
    "functions": (functions, 600),
    **{tool: (lambda tool=tool: sanitizer(tool), 900) for tool in TOOLS},
    "benchmarks": (benchmarks, 900),
}
"""Each stage and its time limit in seconds, in the order in which they run."""

HIDDEN: dict[str, Callable[[], Result]] = {"exact": exact}
"""What stages start."""
