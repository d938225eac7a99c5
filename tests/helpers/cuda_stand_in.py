"""A stand-in for CuPy's thin layer over CUDA: what `majelpy.gpu.device.Device` calls, and no more.

Policy. It behaves as the real one does where that matters: ``with Device(n)`` sets back the device
of before; using a device starts its context; a copy reads the host's memory late, when somebody
waits; `eventQuery` returns a status and raises nothing; a failure stays until the process ends.
Memory of the GPU is the host's.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

NOT_READY, ILLEGAL_ADDRESS = 600, 700


class CUDARuntimeError(RuntimeError):
    """CuPy's, of the runtime."""

    def __init__(self, status: int):
        self.status = status
        super().__init__(f"cudaError {status}")


class CUDADriverError(RuntimeError):
    """CuPy's, of the driver."""


class Cuda:
    """The state of a machine with some GPUs, as `cupy` and its parts.

    Attributes
    ----------
    contexts : set of int
        GPUs whose context was started.
    current : int
        The calling thread's GPU.
    status : int
        0, or the failure that all calls return from now on.
    slow : bool
        Whether work waits until somebody waits for it.
    """

    def __init__(self, gpus: int = 2):
        self.gpus, self.contexts, self.current = gpus, set[int](), 0
        self.status, self.slow = 0, False
        self.waiting: list[Any] = []
        self.loaded: list[str] = []
        self.refused: set[str] = set()
        self.blocks = 1
        self.launched: list[tuple[str, Any, Any]] = []
        self.attributes = {
            "MultiProcessorCount": 4,
            "MaxSharedMemoryPerBlockOptin": 160 << 10,
            "CooperativeLaunch": 1,
        }
        self.on_gpu: dict[int, Any] = {}

    def memory(self, nbytes: int) -> int:
        """Return the address of new memory on the GPU."""
        held = (ctypes.c_char * nbytes)()
        self.on_gpu[ctypes.addressof(held)] = held
        return ctypes.addressof(held)

    def bytes_at(self, address: int, nbytes: int) -> bytes:
        """Return what is there now."""
        return ctypes.string_at(address, nbytes)

    def check(self) -> None:
        """Raise the failure, if there is one."""
        if self.status:
            raise CUDARuntimeError(self.status)

    def finish(self) -> None:
        """Do what waits."""
        while self.waiting:
            self.waiting.pop(0)()

    # --- what CuPy has under these names ---

    def use(self, number: int) -> None:
        """`cudaSetDevice`, which starts the context."""
        self.check()
        self.current = number
        self.contexts.add(number)

    def copy(self, to: int, source: int, nbytes: int, kind: int, stream: int) -> None:
        """`cudaMemcpyAsync`, in its least convenient form: the source is read late."""
        self.check()
        assert kind == 4, "the direction is what the addresses say"
        work = lambda: ctypes.memmove(to, source, nbytes)  # noqa: E731
        if self.slow:
            self.waiting.append(work)
        else:
            work()

    def synchronize(self, *_: Any) -> None:
        """Any call that waits."""
        self.check()
        self.finish()

    def query(self, event: int) -> int:
        """`cudaEventQuery`."""
        return self.status or (NOT_READY if self.waiting else 0)

    def properties(self, number: int) -> dict[str, Any]:
        """`cudaGetDeviceProperties`."""
        return {"uuid": bytes([number] * 16), "name": b"GPU"}

    def module(self, path: str, enable_cooperative_groups: bool) -> Any:
        """`cupy.RawModule`."""

        def get(name: str) -> Any:
            self.loaded.append(path)
            with open(path, "rb") as file:
                if file.read().decode() in self.refused:
                    raise CUDADriverError("CUDA_ERROR_NO_BINARY_FOR_GPU")
            return Kernel(self, name)

        return SimpleNamespace(get_function=get)

    @property
    def cupy(self) -> Any:
        """The module."""
        cuda = self

        class Device:
            def __init__(self, number: int):
                self.id, self.attributes, self.compute_capability = number, cuda.attributes, "90"

            def use(self) -> None:
                cuda.use(self.id)

            def __enter__(self) -> None:
                self.before = cuda.current
                cuda.use(self.id)

            def __exit__(self, *_: Any) -> None:
                cuda.use(self.before)

        class Stream:
            ptr = 7

            def __init__(self, non_blocking: bool):
                cuda.check()

            def wait_event(self, event: Any) -> None:
                cuda.check()

            def synchronize(self) -> None:
                cuda.synchronize()

        class Event:
            ptr = 1

            def __init__(self, disable_timing: bool):
                cuda.check()

            def synchronize(self) -> None:
                cuda.synchronize()

        class PinnedMemory:
            def __init__(self, nbytes: int):
                self.held = (ctypes.c_char * nbytes)()
                self.ptr = ctypes.addressof(self.held)

        runtime = SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError,
            getDeviceCount=lambda: cuda.gpus,
            getDeviceProperties=cuda.properties,
            memcpyAsync=cuda.copy,
            memcpyDefault=4,
            memGetInfo=lambda: (cuda.check(), (1000 + cuda.current, 0))[1],
            eventQuery=cuda.query,
            eventRecord=lambda event, stream: cuda.check(),
            streamSynchronize=cuda.synchronize,
        )
        driver = SimpleNamespace(
            CUDADriverError=CUDADriverError,
            occupancyMaxActiveBlocksPerMultiprocessor=lambda function, threads, shared: cuda.blocks,
        )
        return SimpleNamespace(
            cuda=SimpleNamespace(
                runtime=runtime, driver=driver, Device=Device, Stream=Stream, Event=Event,
                PinnedMemory=PinnedMemory, get_current_stream=lambda: SimpleNamespace(ptr=0),
            ),
            RawModule=cuda.module,
        )  # fmt: skip


class Kernel:
    """`cupy.RawKernel`."""

    max_dynamic_shared_size_bytes = 0

    def __init__(self, cuda: Cuda, name: str):
        self.cuda, self.name, self.kernel = cuda, name, SimpleNamespace(ptr=3)

    def __call__(self, grid: Any, block: Any, values: Any, shared_mem: int) -> None:
        self.cuda.check()
        self.cuda.launched.append((self.name, grid, values))
