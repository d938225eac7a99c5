"""Stages of `scripts/gpu_check`: waiting blocks, late copies, an illegal address, another GPU."""

from __future__ import annotations

import ctypes
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from gpu_machine import Result, child, gpu, last_line, not_run

LAUNCHES, BATCHES = 1000, 8
HIDDEN, UTTERANCES, LONGEST = 256, 24, 60
COPIED = 1 << 18
"""Numbers that go up, and others that go down, beside each launch."""

SECONDS = 10.0
"""From an illegal address to the end of its process, at most."""


class Batch:
    """Utterances of ragged lengths, their recurrent layer's input, and what the CPU makes of it."""

    def __init__(self, on: Any, random: np.random.Generator, weight: np.ndarray):
        from majelpy import native

        lengths = random.integers(1, LONGEST + 1, UTTERANCES)
        self.offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = int(self.offsets[-1])
        self.sizes = (0, 0, 2, UTTERANCES, self.offsets.ctypes.data, HIDDEN, 1, 0)
        x = random.standard_normal((rows, 2 * HIDDEN), np.float32)
        self.expected, last = np.empty_like(x), np.empty(2 * UTTERANCES * HIDDEN, np.float32)
        hosts = [v.ctypes.data for v in (x, weight, self.expected, last)]
        native.library().mj_rnn_forward_rows(*self.sizes, *self._pointers(*hosts))
        self.memory = on.upload(x), on.upload(weight), on.scratch(x.nbytes), on.scratch(last.nbytes)

    @staticmethod
    def _pointers(x: int, weight: int, h: int, last: int) -> tuple[Any, ...]:
        return x, weight, None, None, h, None, last

    def forget(self, on: Any) -> None:
        """Write NaN where the states go, so that those of a launch before do not count."""
        on.copy_in(np.full_like(self.expected, np.nan), self.memory[2].pointer)

    def launch(self, on: Any) -> None:
        from majelpy.gpu.launches import LAUNCHES

        pointers = self._pointers(*(memory.pointer for memory in self.memory))
        LAUNCHES["mj_rnn_forward_rows"](on, *self.sizes, *pointers)

    def right(self, on: Any) -> bool:
        """Whether the states are the CPU's."""
        out = np.empty_like(self.expected)
        on.download(self.memory[2].pointer, out)
        return out.tobytes() == self.expected.tobytes()


@contextmanager
def noted(on: Any) -> Iterator[set[str]]:
    """Give the names of the kernels that are launched."""
    names, launch = set[str](), on.launch

    def note(kernel: str, *arguments: Any, **options: Any) -> None:
        names.add(kernel)
        launch(kernel, *arguments, **options)

    with patch.object(on, "launch", note):
        yield names


def barrier() -> Result:
    """A thousand launches of blocks that wait for one another, copies both ways beside them."""
    on, random = gpu(), np.random.default_rng(1)
    weight = random.standard_normal((2, HIDDEN, HIDDEN), np.float32) / np.float32(32)
    batches = [Batch(on, random, weight) for _ in range(BATCHES)]
    up, down = host = np.empty((2, COPIED), np.float32)
    pinned = on.pin(host.ctypes.data, host.nbytes)  # else the copies wait for the host
    there = [on.upload(np.zeros(COPIED, np.float32)) for _ in range(2)]
    wrong = {"launches": 0, "copies": 0}
    with noted(on) as kernels:
        for number in range(LAUNCHES):
            batch, (source, target) = (
                batches[number % BATCHES],
                (there[number % 2], there[~number % 2]),
            )
            batch.forget(on)
            before = on.point()
            arrived = on.copy_out(source.pointer, down)  # begins before the launch, so beside it
            batch.launch(on)
            up[:] = number + 1
            on.copy_in_beside(up, target.pointer, before)
            wrong["launches"] += not batch.right(on)
            while not on.passed(arrived):
                pass
            wrong["copies"] += int((down != number).any())
    if pinned:
        on.unpin(host.ctypes.data)
    waited = any("persistent" in kernel for kernel in kernels)
    return {
        "ok": waited and not any(wrong.values()),
        "wrong": wrong,
        "launches": LAUNCHES,
        "pinned": pinned,
        "kernels": sorted(kernels),
    }


def uploads() -> Result:
    """Host memory that is overwritten at once, behind a long kernel, has gone up as it was."""
    from majelpy.gpu.launches import LAUNCHES as KERNELS

    on = gpu()
    size = 4096
    a, c = on.scratch(4 * size * size), on.scratch(4 * size * size)
    KERNELS["mj_gemm"](
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


FAULT = """
import time
from gpu_machine import gpu
from majelpy.gpu.launches import LAUNCHES
on = gpu()
there = on.scratch(16).pointer
LAUNCHES["mj_add_arrays"](on, 4, there, there, there)  # compiled and loaded before the clock starts
on.synchronize()
print(time.time(), flush=True)
LAUNCHES["mj_add_arrays"](on, 1 << 20, 8, 8, 8)
mark = on.point()
while not on.passed(mark):
    pass
"""


def failure() -> Result:
    """An illegal address in a child ends it with our error within seconds."""
    code, started, said = child([sys.executable, "-c", FAULT], 100)
    ended = time.time()
    if code is None or not started:
        return {"ok": False, "code": code, "said": last_line(said)}
    seconds, last = ended - float(started), last_line(said)
    right = code != 0 and "DeviceError" in last and seconds < SECONDS
    return {"ok": right, "code": code, "seconds": round(seconds, 1), "said": last}


def contexts(gpus: int) -> list[int]:
    """Return the numbers of the GPUs on which this process has a context, by CUDA's driver."""
    cuda = ctypes.CDLL("libcuda.so.1")
    found = []
    for number in range(gpus):
        handle, flags, active = ctypes.c_int(), ctypes.c_uint(), ctypes.c_int()
        asked = cuda.cuDeviceGet(ctypes.byref(handle), number)
        asked = asked or cuda.cuDevicePrimaryCtxGetState(
            handle, ctypes.byref(flags), ctypes.byref(active)
        )
        if asked:
            raise RuntimeError(f"CUDA's driver answers {asked} for GPU {number}")
        found += [number] * bool(active.value)
    return found


def neighbours() -> Result:
    """A rank that trains on the second GPU leaves nothing on the first."""
    import device_training

    from majelpy.comm.world import World
    from majelpy.gpu.device import count

    gpus = count()
    if gpus < 2:
        return not_run("this machine has one GPU")
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "train.h5")
        device_training.write_corpus(corpus)
        device_training.bits(corpus, "gpu:1", 2, World.alone())
    found = contexts(gpus)
    return {"ok": found == [1], "contexts": found}
