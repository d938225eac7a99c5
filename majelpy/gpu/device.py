"""A GPU as a launcher, and its library of entry points.

Policy. CuPy loads the cubin, launches and copies; it does not calculate. Launches and copies of a
place go to CuPy's current stream of that GPU, one after another, so memory that a launch gives back
may be used by the next at once. The GPU of the array made last is CuPy's current one, since CuPy
moves elements nowhere else. Beside that stream are two of copies only, one to the host (`copy_out`)
and one from it (`copy_in_beside`), so that copies and kernels run at the same time.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from majelpy.errors import BuildError, MajelError, PoolError
from majelpy.gpu import build
from majelpy.gpu.launches import LAUNCHES
from majelpy.memory.place import Place
from majelpy.memory.pool import Allocation, pool
from majelpy.wording import install

PAGE = 4096

UNASKED_SHARED = 48 * 1024
"""Dynamic shared memory that a kernel may use without asking for more."""


class Device:
    """Launcher on one GPU.

    Raises
    ------
    BuildError
        If CuPy is not installed; from `launch`, if the kernels cannot be compiled.
    PoolError
        If there is no such GPU.
    """

    def __init__(self, place: Place):
        if place.number >= count():
            raise PoolError(f"{place}: this machine has {count()} GPUs")
        import cupy

        self.place, self._cupy = place, cupy
        self._device = cupy.cuda.Device(place.number)
        attributes = self._device.attributes
        self.multiprocessors = int(attributes["MultiProcessorCount"])
        self.shared_bytes = int(attributes["MaxSharedMemoryPerBlockOptin"])
        self._architecture = int(self._device.compute_capability)
        self._kernels: dict[tuple[str, bool], Any] = {}
        try:
            with self._device:
                # The default stream waits for any other that is not made so.
                self._out, self._in = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
        except cupy.cuda.runtime.CUDARuntimeError as error:  # such as one that others keep
            raise PoolError(f"{place}: the GPU cannot be used: {error}") from None

    def scratch(self, nbytes: int) -> Allocation:
        return pool(self.place).allocate(nbytes)

    def upload(self, array: np.ndarray) -> Allocation:
        host = np.ascontiguousarray(array)
        memory = pool(self.place).allocate(host.nbytes)
        self.copy_in(host, memory.pointer)
        return memory

    def copy_in(self, host: np.ndarray, pointer: int) -> None:
        """Copy a contiguous host array to an address of the GPU."""
        if host.nbytes:
            with self._device:
                runtime = self._cupy.cuda.runtime
                # Pageable memory: the call returns when the host's memory has been read.
                runtime.memcpyAsync(
                    pointer,
                    host.ctypes.data,
                    host.nbytes,
                    runtime.memcpyHostToDevice,
                    self.stream,
                )

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
            with self._device:
                runtime = self._cupy.cuda.runtime
                runtime.memcpyAsync(
                    out.ctypes.data,
                    pointer,
                    out.nbytes,
                    runtime.memcpyDeviceToHost,
                    self.stream,
                )
                runtime.streamSynchronize(self.stream)

    def pin(self, address: int, nbytes: int) -> bool:
        """Keep the pages of host memory in place, so that copies need not wait for the host.

        Return whether the system allows it; copies are right, but slower, if not.
        """
        first, last = address // PAGE * PAGE, -(-(address + nbytes) // PAGE) * PAGE
        runtime = self._cupy.cuda.runtime
        try:
            with self._device:
                runtime.hostRegister(first, last - first, 0)
        except runtime.CUDARuntimeError:
            return False
        return True

    def unpin(self, address: int) -> None:
        """Undo `pin`; needed before that memory is given back."""
        with self._device:
            self._cupy.cuda.runtime.hostUnregister(address // PAGE * PAGE)

    def copy_out(self, pointer: int, out: np.ndarray) -> Any:
        """Begin to copy to a host array what is there after all launches so far.

        It has arrived, with all before, when the mark returned has `passed`.
        """
        with self._device:
            runtime = self._cupy.cuda.runtime
            self._out.wait_event(self.point())
            runtime.memcpyAsync(
                out.ctypes.data,
                pointer,
                out.nbytes,
                runtime.memcpyDeviceToHost,
                self._out.ptr,
            )
            mark = self._cupy.cuda.Event(disable_timing=True)
            mark.record(self._out)
            return mark

    def passed(self, mark: Any) -> bool:
        """Whether all before a mark, of `copy_out` or `point`, is done."""
        with self._device:
            return bool(mark.done)

    def finish_copies(self) -> None:
        """Wait until all that `copy_out` began has arrived."""
        self._out.synchronize()

    def point(self) -> Any:
        """Return a mark in the order of launches and copies: after all so far."""
        with self._device:
            event = self._cupy.cuda.Event(disable_timing=True)
            event.record(self._cupy.cuda.get_current_stream())
            return event

    def copy_in_beside(self, host: np.ndarray, pointer: int, after: Any) -> None:
        """Copy a host array to memory that is free after a point; return when it is there.

        For another thread than the one that launches: kernels run on meanwhile.
        """
        with self._device:
            runtime = self._cupy.cuda.runtime
            self._in.wait_event(after)
            runtime.memcpyAsync(
                pointer,
                host.ctypes.data,
                host.nbytes,
                runtime.memcpyHostToDevice,
                self._in.ptr,
            )
            self._in.synchronize()

    @property
    def free_bytes(self) -> int:
        """Memory of this GPU that nobody has taken."""
        return int(self._device.mem_info[0])

    @property
    def identity(self) -> str:
        """Which GPU of its host this is, whatever number it goes by here."""
        return str(self._device.pci_bus_id)

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
        values = tuple(a if isinstance(a, int | np.float32) else a.pointer for a in arguments)
        with self._device:
            function = self._kernel(kernel, together)
            if shared > UNASKED_SHARED and function.max_dynamic_shared_size_bytes < shared:
                function.max_dynamic_shared_size_bytes = shared
            function(grid, block, values, shared_mem=shared)

    def synchronize(self) -> None:
        """Wait until all work is done."""
        with self._device:
            self._cupy.cuda.runtime.streamSynchronize(self.stream)

    @property
    def stream(self) -> int:
        """CuPy's current stream: where launches and copies go."""
        return int(self._cupy.cuda.get_current_stream().ptr)

    def _kernel(self, name: str, together: bool) -> Any:
        if (name, together) not in self._kernels:
            module = self._module(build.programs()[name], together)
            self._kernels[name, together] = module.get_function(name)
        return self._kernels[name, together]

    @functools.cache  # noqa: B019  devices live as long as the process
    def _module(self, program: str, together: bool) -> Any:
        path = build.cubin(program, self._architecture)
        return self._cupy.RawModule(path=str(path), enable_cooperative_groups=together)


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
        on = device(place)
        bound = {name: functools.partial(launch, on) for name, launch in LAUNCHES.items()}
        _libraries[place] = SimpleNamespace(**bound)
    return _libraries[place]
