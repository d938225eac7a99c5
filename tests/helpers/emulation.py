"""The GPU's drivers on an emulation of blocks and threads: a `Launcher` without a GPU.

Policy. The drivers of kernels/gpu are compiled by g++ behind gpu_emulation/emulation.h and launched
by the same code as on a GPU (majelpy/gpu). Memory starts as NaN and ends at a guard
page, so reading past an array's end is a fault, and reading what nobody wrote shows.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from paths import BUILDS

from majelpy import native
from majelpy.gpu import build
from majelpy.gpu.launches import PLAIN

HERE = Path(__file__).parent / "gpu_emulation"

FLAGS = (
    *("-std=c++17", "-O1", "-shared", "-fPIC", "-ffp-contract=off", "-fno-fast-math", "-fwrapv"),
    *("-fno-strict-aliasing", "-Wno-psabi", "-U_FORTIFY_SOURCE"),
)


@functools.cache
def library() -> Any:
    """The emulated drivers, built once for each state of their sources."""
    sources = [*build.folder().rglob("*.h"), *build.folder().rglob("*.cu"), *HERE.glob("*")]
    key = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(sources))).hexdigest()
    builds = os.environ.get(BUILDS, tempfile.gettempdir())
    path = Path(builds) / f"majelpy-emulation-{os.getuid()}-{key[:16]}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory() as folder:
            source = "".join(build.source(program) for program in build.PROGRAMS)
            (Path(folder) / "drivers.inc").write_text(source)
            table = "".join(f"ENTRY({name})\n" for name in build.programs())
            (Path(folder) / "table.inc").write_text(table)
            target = Path(folder) / "emulation.so"
            compiler = shutil.which(os.environ.get("CXX", "g++")) or "g++"
            command = [compiler, *FLAGS, f"-I{folder}", f"-I{HERE}", f"-I{build.folder()}"]
            subprocess.run([*command, "-o", str(target), str(HERE / "emulation.cpp")], check=True)
            os.replace(shutil.copy(target, f"{path}.{os.getpid()}"), path)
    loaded = ctypes.CDLL(str(path))
    loaded.mj_guarded.restype = ctypes.c_void_p
    loaded.mj_guarded.argtypes = [ctypes.c_size_t]
    loaded.mj_release.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    loaded.mj_release.restype = None
    loaded.mj_emulate.argtypes = [
        *(ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int),
        *(ctypes.c_uint64, ctypes.c_size_t, ctypes.c_void_p),
    ]
    return loaded


class Memory:
    """Guarded memory; ``array`` views it from NumPy."""

    ranges: ClassVar[dict[int, int]] = {}
    """First and last address of all that there is."""

    def __init__(self, nbytes: int):
        self.nbytes = nbytes
        self.pointer = int(library().mj_guarded(nbytes))
        self.ranges[self.pointer] = self.pointer + nbytes

    @classmethod
    def holds(cls, address: int) -> bool:
        """Whether an address is the device's; 0 is nobody's and may be passed."""
        return not address or any(a <= address <= b for a, b in [*cls.ranges.items()])

    def array(self, shape: Any, dtype: Any = np.float32) -> np.ndarray:
        kind = np.dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64))
        if count == 0:
            return np.empty(shape, kind)
        raw = (ctypes.c_byte * (count * kind.itemsize)).from_address(self.pointer)
        return np.frombuffer(raw, kind).reshape(shape)

    def __del__(self) -> None:
        self.ranges.pop(self.pointer, None)
        library().mj_release(self.pointer, self.nbytes)


class Emulation:
    """Launcher over the emulation.

    Parameters
    ----------
    order : int
        0 takes threads up in ascending order, 1 in descending order, more shuffles by that seed.
    multiprocessors, shared_bytes : int
        Of the device that launches believe in.
    """

    strict = True
    """Whether all pointers must be to `Memory`; the stand-in for CuPy has other memory too."""

    def __init__(self, order: int = 0, multiprocessors: int = 4, shared_bytes: int = 160 * 1024):
        self.order, self.multiprocessors = order, multiprocessors
        self.shared_bytes = shared_bytes
        self.launched: list[str] = []

    def scratch(self, nbytes: int) -> Memory:
        return Memory(nbytes)

    def upload(self, array: np.ndarray) -> Memory:
        memory = Memory(array.nbytes)
        memory.array(array.shape, array.dtype)[...] = array
        return memory

    def download(self, pointer: int, out: np.ndarray) -> None:
        ctypes.memmove(out.ctypes.data, pointer, out.nbytes)

    def resident(self, kernel: str, threads: int, shared: int) -> int:
        return self.multiprocessors

    def launch(
        self,
        kernel: str,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        arguments: Sequence[Any],
        *,
        shared: int = 0,
        together: bool = False,
    ) -> None:
        assert shared <= self.shared_bytes, f"{kernel}: {shared} bytes of shared memory"
        assert all(
            0 < g <= limit for g, limit in zip(grid, (2**31 - 1, 65535, 65535), strict=False)
        )
        entry = kernel.removesuffix("_kernel")
        if self.strict and entry in PLAIN:  # its kernel takes the parameters of the entry point
            for value, parameter in zip(arguments, native.prototypes()[entry], strict=True):
                here = parameter.kind != "pointer" or not isinstance(value, int)
                assert here or Memory.holds(value), f"{entry}: {parameter.name} is not on the GPU"
        blocks = int(np.prod(grid))
        assert not together or blocks <= self.multiprocessors, f"{kernel}: {blocks} blocks"
        slots = (ctypes.c_uint64 * max(1, len(arguments)))()
        addresses = (ctypes.c_void_p * max(1, len(arguments)))()
        for i, value in enumerate(arguments):
            addresses[i] = ctypes.addressof(slots) + 8 * i
            if isinstance(value, np.float32):
                slots[i] = int(value.view(np.uint32))
            else:
                number = value if isinstance(value, int) else value.pointer
                slots[i] = int(number) & 0xFFFF_FFFF_FFFF_FFFF
        three = [(ctypes.c_uint * 3)(*((*extent, 1, 1)[:3])) for extent in (grid, block)]
        status = library().mj_emulate(
            *(kernel.encode(), three[0], three[1], shared, together, self.order),
            *(len(arguments), addresses),
        )
        assert status == 0, (
            f"{kernel}: {('', 'no such kernel', 'wrong number of arguments')[status]}"
        )
        self.launched.append(kernel)
