"""A GPU as a launcher, and its library of entry points.

Policy. CuPy loads the cubin, launches and copies; it does not calculate. Launches and copies of a
place go to CuPy's current stream of that GPU, one after another, so memory that a launch gives back
may be used by the next at once. Whatever works on a GPU makes it CuPy's current one, and leaves it
so, since CuPy moves elements nowhere else. Beside that stream are two of copies only, one to the
host (`copy_out`) and one from it (`copy_in_beside`), so that copies and kernels run side by side.
A failure of CUDA is a `DeviceError`, and nothing waits for ever.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from majelpy.errors import BuildError, DeviceError, MajelError, PoolError
from majelpy.gpu import build
from majelpy.gpu.uploads import Uploads
from majelpy.memory.place import Place
from majelpy.memory.pool import Allocation, pool
from majelpy.wording import counted, install

PAGE = 4096

UNASKED_SHARED = 48 * 1024
"""Dynamic shared memory that a kernel may use without asking for more."""

UPLOAD_BYTES, UPLOAD_SECTIONS = 8 << 20, 8
"""Of the pinned memory through which host arrays go up."""

PATIENCE = 600.0
"""Seconds after which work that is not done counts as lost; no step takes as long."""

NOT_READY = 600
"""CUDA's status of an event that has not been reached (cudaErrorNotReady)."""


@dataclass(frozen=True)
class Mark:
    """A point in the order of launches and copies, and when it was made."""

    event: Any
    since: float


class Device:
    """Launcher on one GPU.

    Raises
    ------
    BuildError
        If CuPy is not installed; from `launch`, if the kernels cannot be compiled or loaded.
    DeviceError
        From all that works, if the GPU has failed.
    PoolError
        If there is no such GPU.
    """

    def __init__(self, place: Place):
        if place.number >= count():
            raise PoolError(f"{place}: this machine has {counted(count(), 'GPU')}")
        import cupy

        self.place, self._cupy = place, cupy
        self._runtime = cupy.cuda.runtime
        self._device = cupy.cuda.Device(place.number)
        attributes = self._device.attributes
        self.multiprocessors = int(attributes["MultiProcessorCount"])
        self.shared_bytes = int(attributes["MaxSharedMemoryPerBlockOptin"])
        self._together = bool(attributes["CooperativeLaunch"]) and not served()
        self._architecture = int(self._device.compute_capability)
        self._kernels: dict[tuple[str, bool], Any] = {}
        self._modules: dict[tuple[str, bool], Any] = {}
        self._failures = (self._runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError)
        try:
            self._device.use()
            # The default stream waits for any other that is not made so.
            self._out, self._in = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
            self._pinned = cupy.cuda.PinnedMemory(UPLOAD_BYTES)
        except self._failures as error:  # such as a GPU that others keep
            raise PoolError(f"{place}: the GPU cannot be used: {error}") from None
        self._uploads = Uploads(int(self._pinned.ptr), UPLOAD_BYTES, UPLOAD_SECTIONS, self)

    @contextmanager
    def _working(self, what: str) -> Iterator[Any]:
        """Make this GPU the calling thread's, for good, and let CUDA's failures be ours.

        CuPy's own ``with device`` sets back the device of before, at first number 0, where that
        starts a context of half a gigabyte.
        """
        try:
            self._device.use()
            yield self._runtime
        except self._failures as error:
            raise DeviceError(f"{self.place}: {what}: {error}") from None

    def scratch(self, nbytes: int) -> Allocation:
        return pool(self.place).allocate(nbytes)

    def upload(self, array: np.ndarray) -> Allocation:
        host = np.ascontiguousarray(array)
        memory = pool(self.place).allocate(host.nbytes)
        self.copy_in(host, memory.pointer)
        return memory

    def copy_in(self, host: np.ndarray, pointer: int) -> None:
        """Copy a contiguous host array, which may be changed at once, to an address of the GPU."""
        if host.nbytes:
            self._uploads.copy(host.ctypes.data, pointer, host.nbytes)

    def begin_copy(self, source: int, pointer: int, nbytes: int) -> None:
        """Begin to copy host memory that stays as it is until what comes after this is done."""
        with self._working("copy to the GPU"):
            self._copy(source, pointer, nbytes, self.stream)

    def _copy(self, source: int, target: int, nbytes: int, stream: int) -> None:
        """Begin a copy in either direction."""
        # Whether an address is the GPU's, or the host's as a pool's fallback has it, CUDA knows.
        kind = self._runtime.memcpyDefault
        self._runtime.memcpyAsync(target, source, nbytes, kind, stream)

    @property
    def mover(self) -> Any:
        """The module that moves elements of arrays on this GPU."""
        self._device.use()
        return self._cupy

    def view(self, memory: Allocation, shape: tuple[int, ...], dtype: np.dtype) -> Any:
        """Return memory as a CuPy array, which keeps it alive."""
        cuda = self.mover.cuda
        whole = cuda.UnownedMemory(memory.pointer, memory.nbytes, memory, self.place.number)
        return self._cupy.ndarray(shape, dtype, cuda.MemoryPointer(whole, 0))

    def download(self, pointer: int, out: np.ndarray) -> None:
        if out.nbytes:
            with self._working("copy from the GPU") as runtime:
                self._copy(pointer, out.ctypes.data, out.nbytes, self.stream)
                runtime.streamSynchronize(self.stream)

    def pin(self, address: int, nbytes: int) -> bool:
        """Keep the pages of host memory in place, so that copies need not wait for the host.

        Return whether the system allows it; copies are right, but slower, if not.
        """
        first, last = address // PAGE * PAGE, -(-(address + nbytes) // PAGE) * PAGE
        try:
            self._device.use()
            self._runtime.hostRegister(first, last - first, 0)
        except self._runtime.CUDARuntimeError:
            return False
        return True

    def unpin(self, address: int) -> None:
        """Undo `pin`; needed before that memory is given back."""
        with self._working("release of pinned memory") as runtime:
            runtime.hostUnregister(address // PAGE * PAGE)

    def copy_out(self, pointer: int, out: np.ndarray) -> Mark:
        """Begin to copy to a host array what is there after all launches so far.

        It has arrived, with all before, when the mark returned has `passed`.
        """
        with self._working("copy from the GPU"):
            self._out.wait_event(self.point().event)
            self._copy(pointer, out.ctypes.data, out.nbytes, self._out.ptr)
            return self.point(self._out.ptr)

    def passed(self, mark: Mark) -> bool:
        """Whether all before a mark, of `copy_out` or `point`, is done.

        Raises
        ------
        DeviceError
            If the GPU has failed, or has had `PATIENCE` for it.
        """
        with self._working("work on the GPU") as runtime:
            status = runtime.eventQuery(mark.event.ptr)
            if status not in (0, NOT_READY):  # CuPy's `done` would be False for ever
                raise runtime.CUDARuntimeError(status)
        if status == NOT_READY and time.monotonic() - mark.since > PATIENCE:
            raise DeviceError(f"{self.place}: work on the GPU: not done in {PATIENCE:.0f} s")
        return bool(status == 0)

    def wait(self, mark: Mark) -> None:
        """Return when all before a mark is done."""
        with self._working("work on the GPU"):
            mark.event.synchronize()

    def finish_copies(self) -> None:
        """Wait until all that `copy_out` began has arrived."""
        with self._working("copy from the GPU"):
            self._out.synchronize()

    def point(self, stream: int | None = None) -> Mark:
        """Return a mark in the order of launches and copies, or of a stream: after all so far."""
        with self._working("mark") as runtime:
            event = self._cupy.cuda.Event(disable_timing=True)
            runtime.eventRecord(event.ptr, self.stream if stream is None else stream)
            return Mark(event, time.monotonic())

    def copy_in_beside(self, host: np.ndarray, pointer: int, after: Mark) -> None:
        """Copy a host array to memory that is free after a point; return when it is there.

        For another thread than the one that launches: kernels run on meanwhile.
        """
        with self._working("copy to the GPU"):
            self._in.wait_event(after.event)
            self._copy(host.ctypes.data, pointer, host.nbytes, self._in.ptr)
            self._in.synchronize()

    @property
    def free_bytes(self) -> int:
        """Memory of this GPU that nobody has taken."""
        with self._working("look at its memory") as runtime:
            return int(runtime.memGetInfo()[0])

    @property
    def identity(self) -> str:
        """Which GPU of the world this is, whatever number and host it goes by here."""
        # Parts of a GPU that is divided (MIG) share its address, and some drivers its UUID too.
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        if self.place.number < len(visible) and visible[self.place.number].startswith("MIG-"):
            return visible[self.place.number]
        uuid = self._runtime.getDeviceProperties(self.place.number)["uuid"]
        return uuid.hex() if isinstance(uuid, bytes) else str(uuid)

    def resident(self, kernel: str, threads: int, shared: int) -> int:
        """Return how many blocks of a kernel are surely on the GPU together; 0 if none can wait."""
        if not self._together:
            return 0
        with self._working(kernel):
            function = self._kernel(kernel, together=True, shared=shared)
            ask = self._cupy.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor
            return int(ask(function.kernel.ptr, threads, shared)) * self.multiprocessors

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
        # A bool would be an argument of one byte.
        values = tuple(
            a if isinstance(a, np.float32) else int(a if isinstance(a, int) else a.pointer)
            for a in arguments
        )
        with self._working(kernel):
            self._kernel(kernel, together, shared)(grid, block, values, shared_mem=shared)

    def synchronize(self) -> None:
        """Wait until all work is done."""
        with self._working("work on the GPU") as runtime:
            runtime.streamSynchronize(self.stream)

    @property
    def stream(self) -> int:
        """CuPy's current stream: where launches and copies go."""
        return int(self._cupy.cuda.get_current_stream().ptr)

    def _kernel(self, name: str, together: bool, shared: int) -> Any:
        if (name, together) not in self._kernels:
            self._kernels[name, together] = self._loaded(name, together)
        function = self._kernels[name, together]
        if shared > UNASKED_SHARED and function.max_dynamic_shared_size_bytes < shared:
            function.max_dynamic_shared_size_bytes = shared
        return function

    def _loaded(self, name: str, together: bool) -> Any:
        """Return a kernel of its program, which is compiled anew once if it cannot be loaded."""
        program = build.programs()[name]
        for once_more in (True, False):
            path = build.code(program, self._architecture)
            try:
                if (program, together) not in self._modules:
                    self._modules[program, together] = self._cupy.RawModule(
                        path=str(path), enable_cooperative_groups=together
                    )
                return self._modules[program, together].get_function(name)
            except self._failures as error:
                self._modules.pop((program, together), None)
                path.unlink(missing_ok=True)
                if not once_more:
                    raise BuildError(
                        f"{self.place}: the driver does not load the kernels for "
                        f"sm_{self._architecture}: {error}; needs a newer driver, or an older NVRTC"
                    ) from None
        raise AssertionError


def served() -> bool:
    """Whether a server (MPS) launches for several processes, which may keep their blocks apart."""
    folder = os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")
    return Path(folder, "control").exists()


def count() -> int:
    """Return the number of GPUs of this host.

    Raises
    ------
    BuildError
        If CuPy is not installed.
    PoolError
        If there is no GPU.
    """
    try:
        import cupy
    except ImportError:
        raise BuildError(f"gpu: cupy is not installed; needs {install('gpu')}") from None
    try:
        found = int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise PoolError(f"gpu: no GPU can be used here: {error}") from None
    if not found:
        raise PoolError("gpu: this machine has no GPU")
    return found


def gpus() -> str:
    """Return the names of this host's GPUs in one line, or why there are none."""
    try:
        total = count()
    except MajelError as error:
        return f"none: {str(error).removeprefix('gpu: ')}"
    import cupy

    found = [cupy.cuda.runtime.getDeviceProperties(n)["name"].decode() for n in range(total)]
    return f"{', '.join(found)}; CuPy {cupy.__version__}"


_devices: dict[Place, Any] = {}
_libraries: dict[Place, Any] = {}


def device(place: Place) -> Any:
    """Return the launcher of a GPU, started at the first call."""
    if place not in _devices:
        _devices[place] = Device(place)
    return _devices[place]


def places() -> tuple[Place, ...]:
    """Return the GPUs that CuPy finds, or else those that have a launcher."""
    try:
        import cupy

        count = int(cupy.cuda.runtime.getDeviceCount())
    except Exception:  # CuPy's own errors have no name where it cannot be imported
        return tuple(sorted(_devices, key=str))
    return tuple(Place("gpu", number) for number in range(count))


def set_device(place: Place, new: Any) -> None:
    """Let a place be served by that launcher; None forgets the one it has."""
    _libraries.pop(place, None)
    if new is None:
        _devices.pop(place, None)
    else:
        _devices[place] = new


def library(place: Place) -> Any:
    """Return the GPU's entry points: the names and arguments of `native.library`.

    Which pointers are addresses on the GPU says majelpy.gpu.launcher.
    """
    if place not in _libraries:
        # Not at the start: it reads all kernels, and a training on CPUs has no use for them.
        from majelpy.gpu.launches import LAUNCHES

        on = device(place)
        bound = {name: functools.partial(launch, on) for name, launch in LAUNCHES.items()}
        _libraries[place] = SimpleNamespace(**bound)
    return _libraries[place]
