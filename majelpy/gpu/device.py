"""A GPU as a launcher, and its library of entry points.

Policy. CuPy loads the cubin, launches and copies; it does not calculate. Launches and copies of a
place go to CuPy's current stream of that GPU, one after another, so memory that a plan gives back
may be used by the next at once.
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
        if host.nbytes:
            with self._device:
                runtime = self._cupy.cuda.runtime
                # Pageable memory: the call returns when the host's memory has been read.
                runtime.memcpyAsync(
                    *(memory.pointer, host.ctypes.data, host.nbytes),
                    *(runtime.memcpyHostToDevice, self._stream()),
                )
        return memory

    def download(self, pointer: int, out: np.ndarray) -> None:
        if out.nbytes:
            with self._device:
                runtime = self._cupy.cuda.runtime
                runtime.memcpyAsync(
                    *(out.ctypes.data, pointer, out.nbytes),
                    *(runtime.memcpyDeviceToHost, self._stream()),
                )
                runtime.streamSynchronize(self._stream())

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
            self._cupy.cuda.runtime.streamSynchronize(self._stream())

    def _stream(self) -> int:
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


@functools.cache
def device(place: Place) -> Device:
    """Return the launcher of a GPU, started at the first call."""
    return Device(place)


@functools.cache
def library(place: Place) -> Any:
    """Return the GPU's entry points: the names and arguments of `native.library`.

    Which pointers are addresses on the GPU says majelpy.gpu.launch.
    """
    on = device(place)
    return SimpleNamespace(**{n: functools.partial(plan, on) for n, plan in PLANS.items()})
