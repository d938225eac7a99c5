"""A GPU as a launcher, and its library of entry points.

Policy. CuPy loads the cubin, launches and copies; it does not calculate. Launches and copies of a
place go to CuPy's current stream of that GPU, one after another, so memory that a plan gives back
may be used by the next at once. The GPU of the array made last is CuPy's current one, since CuPy
moves elements nowhere else.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from majelpy.array.memory import Allocation, pool
from majelpy.array.place import Place
from majelpy.errors import BuildError
from majelpy.gpu import build, dense, sequences, standard, sums

PLANS = {
    name: plan
    for module in (dense, sums, sequences, standard)
    for name, plan in vars(module).items()
    if name.startswith("mj_")
}
"""The plan of each entry point."""

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
        try:
            import cupy
        except ImportError:
            raise BuildError(f"{place}: cupy is not installed; needs majelpy[gpu]") from None
        self.place, self._cupy = place, cupy
        self._pool = pool(place)
        self._device = cupy.cuda.Device(place.number)
        attributes = self._device.attributes
        self.multiprocessors = int(attributes["MultiProcessorCount"])
        self.shared_bytes = int(attributes["MaxSharedMemoryPerBlockOptin"])
        self._architecture = int(self._device.compute_capability)
        self._kernels: dict[tuple[str, bool], Any] = {}

    def scratch(self, nbytes: int) -> Allocation:
        return self._pool.allocate(nbytes)

    def upload(self, array: np.ndarray) -> Allocation:
        host = np.ascontiguousarray(array)
        memory = self._pool.allocate(host.nbytes)
        self.copy_in(host, memory.pointer)
        return memory

    def copy_in(self, host: np.ndarray, pointer: int) -> None:
        """Copy a contiguous host array to an address of the GPU."""
        if host.nbytes:
            with self._device:
                runtime = self._cupy.cuda.runtime
                # Pageable memory: the call returns when the host's memory has been read.
                runtime.memcpyAsync(
                    *(pointer, host.ctypes.data, host.nbytes),
                    *(runtime.memcpyHostToDevice, self.stream),
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
                    *(out.ctypes.data, pointer, out.nbytes),
                    *(runtime.memcpyDeviceToHost, self.stream),
                )
                runtime.streamSynchronize(self.stream)

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

    Which pointers are addresses on the GPU says majelpy.gpu.launch.
    """
    if place not in _libraries:
        on = device(place)
        bound = {name: functools.partial(plan, on) for name, plan in PLANS.items()}
        _libraries[place] = SimpleNamespace(**bound)
    return _libraries[place]
