"""A GPU place without a GPU: the emulation's kernels, a pool, and a stand-in for CuPy.

Policy. The stand-in moves elements as CuPy does, and refuses what CuPy refuses (NumPy arrays as
operands, silent copies to the host), what CuPy answers otherwise than NumPy (it wraps indices
around, lets any of two values for one element win, reduces neither over nothing nor to nothing),
and what majelpy forbids itself: arrays of floats, since CuPy's kernels flush denormals.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
from emulation import Emulation, Memory

from majelpy.gpu import device as gpu
from majelpy.memory import pool as pools
from majelpy.memory.place import CPU, Place
from majelpy.memory.pool import Pool, pool
from majelpy.memory.system import Piece, system_of

GPU = Place("gpu", 0)

LACKING = {"matmul", "dot", "tensordot", "einsum", "meshgrid", "pad", "ndindex", "errstate"}
"""Functions of NumPy that CuPy has not, or only with cuBLAS, or with other arguments."""

WITHOUT_IDENTITY = {"max", "min", "argmax", "argmin"}
"""Reductions that CuPy refuses where there is nothing to reduce."""

MEMBERS = {
    *("T", "all", "any", "argsort", "astype", "copy", "dtype", "item", "itemsize", "max", "min"),
    *("nbytes", "ndim", "ravel", "reshape", "shape", "size", "strides", "sum", "swapaxes"),
    "transpose",
}
"""What is used of CuPy's arrays."""


class Moved:
    """Array of the stand-in: integers and booleans in the emulated GPU's memory."""

    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, host: np.ndarray, owner: Any = None):
        if host.dtype.kind not in "iub":
            raise AssertionError(f"CuPy would see {host.dtype}; only integers may move")
        self._host, self._owner = host, owner

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    @property
    def flags(self) -> Any:
        """CuPy's flags: without `writeable`."""
        found = self._host.flags
        return SimpleNamespace(c_contiguous=found.c_contiguous, f_contiguous=found.f_contiguous)

    @property
    def device(self) -> Any:
        return SimpleNamespace(id=GPU.number)

    @property
    def data(self) -> Any:
        """What CuPy calls `data`: has the address as `ptr`."""
        return type("Data", (), {"ptr": self._host.ctypes.data})

    def view(self, dtype: Any) -> Moved:
        """The same memory as other elements; floats may be handed on, not used."""
        found = self._host.view(dtype)
        return Foreign(found) if found.dtype.kind == "f" else Moved(found, self._owner)

    def __dlpack__(self, **options: Any) -> Any:
        options.pop("stream", None)
        return self._host.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0  # kDLCUDA

    def __getattr__(self, name: str) -> Any:
        if name not in MEMBERS:
            raise AttributeError(name)
        if name in WITHOUT_IDENTITY:
            return lambda *a, **o: getattr(Mover(), name)(self, *a, **o)
        found = getattr(self._host, name)
        return _wrapped(found, self._owner) if callable(found) else _outward(found, self._owner)

    def __getitem__(self, key: Any) -> Any:
        found = self._picked(_key(key), self._host)
        # CuPy gives arrays without axes where NumPy gives numbers.
        return Moved(np.asarray(found), self._owner)

    def __setitem__(self, key: Any, value: Any) -> None:
        parts, host = _key(key), _inward(value)
        if _has_integers(parts) and np.size(host) > 1:
            at = self._picked(parts, np.arange(self._host.size).reshape(self._host.shape))
            if len(np.unique(at)) < at.size:
                raise AssertionError("two values for one element: on a GPU any may win")
        self._picked(parts, self._host)
        self._host[parts] = host

    def _picked(self, parts: Any, host: np.ndarray) -> Any:
        try:
            return host[parts]
        except IndexError:
            if _has_integers(parts):
                raise AssertionError("CuPy would wrap such an index around") from None
            raise

    def __len__(self) -> int:
        return len(self._host)

    def __bool__(self) -> bool:
        return bool(self._host)

    def __int__(self) -> int:
        return int(self._host)

    def __index__(self) -> int:
        return int(self._host)


def _operator(name: str) -> Any:
    def apply(self: Moved, other: Any) -> Any:
        return _outward(getattr(self._host, name)(_inward(other)), self._owner)

    return apply


OPERATORS = (
    "add radd sub rsub mul rmul and or xor lshift rshift floordiv mod "
    "eq ne lt le gt ge iadd isub imul iand ior ixor"
)
for _name in OPERATORS.split():
    setattr(Moved, f"__{_name}__", _operator(f"__{_name}__"))
Moved.__invert__ = lambda self: Moved(~self._host)  # type: ignore[attr-defined]


def _key(key: Any) -> Any:
    parts = key if isinstance(key, tuple) else (key,)
    return tuple(_inward(part) for part in parts)


def _has_integers(parts: tuple[Any, ...]) -> bool:
    return any(isinstance(part, np.ndarray) and part.dtype.kind in "iu" for part in parts)


def _inward(value: Any) -> Any:
    """An operand as NumPy takes it, refused where CuPy would refuse it."""
    if isinstance(value, Moved):
        return value._host
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, float):
        raise AssertionError("CuPy would see a float; only integers may move")
    if isinstance(value, list | tuple):
        return type(value)(_inward(part) for part in value)
    return value


def _outward(value: Any, owner: Any = None) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return Moved(np.asarray(value), owner)
    if isinstance(value, list | tuple):
        return type(value)(_outward(part, owner) for part in value)
    return value


def _wrapped(function: Any, owner: Any = None) -> Any:
    def call(*arguments: Any, **options: Any) -> Any:
        options = {name: _inward(value) for name, value in options.items()}
        result = function(*(_inward(a) for a in arguments), **options)
        return _outward(result, owner)

    return call


class Foreign(Moved):
    """Array of another library on the GPU: of any elements, which CuPy may only look at."""

    def __init__(self, host: np.ndarray):
        self._host, self._owner = host, None

    def __getattr__(self, name: str) -> Any:
        if name not in ("dtype", "shape"):
            raise AttributeError(f"{name} of floats")
        return super().__getattr__(name)


class Mover:
    """The stand-in for the module `cupy`."""

    def __getattr__(self, name: str) -> Any:
        if name in LACKING:
            raise AttributeError(f"majelpy must not use cupy.{name}")
        found = getattr(np, name)
        if isinstance(found, type) or not callable(found):
            return found
        call = _wrapped(found)
        return _refusing(name, call) if name in WITHOUT_IDENTITY else call

    @property
    def lib(self) -> Any:
        windows = _wrapped(np.lib.stride_tricks.sliding_window_view)
        return SimpleNamespace(stride_tricks=SimpleNamespace(sliding_window_view=windows))

    @staticmethod
    def from_dlpack(x: Any) -> Any:
        return Foreign(x._host if isinstance(x, Moved) else np.from_dlpack(OnHost(x)))

    @staticmethod
    def asarray(x: Any) -> Any:
        """Take what CuPy takes as it is: its own arrays, and another library's."""
        if isinstance(x, Moved):
            return x
        about = x.__cuda_array_interface__
        count = int(np.prod(about["shape"], dtype=np.int64)) * np.dtype(about["typestr"]).itemsize
        raw = gpu_bytes(about["data"][0], count)
        return Foreign(raw.view(about["typestr"]).reshape(about["shape"]))


class OnHost:
    """A DLPack producer of the GPU as NumPy may read it: the emulation's memory is the host's."""

    def __init__(self, producer: Any):
        self._producer = producer

    def __dlpack__(self, **options: Any) -> Any:
        return self._producer.__dlpack__(stream=None, **options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


def _refusing(name: str, call: Any) -> Any:
    def reduce(x: Moved, *arguments: Any, **options: Any) -> Any:
        if x.size == 0:
            raise ValueError(f"zero-size array to reduction operation cupy_{name}")
        return call(x, *arguments, **options)

    return reduce


class EmulatedSystem:
    """System allocator of the emulated place."""

    place = GPU
    fallback_name = "pinned host memory"

    def region(self, nbytes: int) -> Piece:
        memory = Memory(nbytes)
        return Piece(memory.pointer, memory)

    fallback = region

    def fill(self, piece: Piece, nbytes: int, value: int) -> None:
        raw = np.empty(nbytes, np.uint8)
        raw[...] = value
        EmulatedDevice.copy(piece.pointer, raw)

    def stream(self) -> None:
        return None

    def wait(self, later: Any, earlier: Any) -> None:
        pass

    def finish(self) -> None:
        pass


class Mark:
    """So many launches and copies to the host."""

    def __init__(self, launches: int, copies: int):
        self.launches, self.copies, self.asked = launches, copies, False


class EmulatedDevice(Emulation):
    """What majelpy.gpu.device.Device is, on the emulation."""

    strict = False
    stream = 0
    identity = "emulated"
    free_bytes = 1 << 25

    def __init__(self) -> None:
        super().__init__()
        self.mover = Mover()
        self.pinned: dict[int, int] = {}
        self.copied_out = 0
        self._arriving: list[tuple[int, np.ndarray, bytes]] = []

    def scratch(self, nbytes: int) -> Any:
        return pool(GPU).allocate(nbytes)

    def upload(self, array: np.ndarray) -> Any:
        host = np.ascontiguousarray(array)
        memory = pool(GPU).allocate(host.nbytes)
        self.copy_in(host, memory.pointer)
        return memory

    @staticmethod
    def copy(pointer: int, host: np.ndarray) -> None:
        gpu_bytes(pointer, host.nbytes)[...] = host.reshape(-1).view(np.uint8)

    def copy_in(self, host: np.ndarray, pointer: int) -> None:
        self.copy(pointer, np.ascontiguousarray(host))

    def begin_copy(self, source: int, pointer: int, nbytes: int) -> None:
        self.copy(pointer, gpu_bytes(source, nbytes))

    def view(self, memory: Any, shape: tuple[int, ...], dtype: np.dtype) -> Moved:
        count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return Moved(gpu_bytes(memory.pointer, count).view(dtype).reshape(shape), memory)

    def synchronize(self) -> None:
        pass

    def pin(self, address: int, nbytes: int) -> bool:
        page = address // 4096
        assert page not in self.pinned, "pinned twice"
        self.pinned[page] = nbytes
        return True

    def unpin(self, address: int) -> None:
        del self.pinned[address // 4096]

    def copy_out(self, pointer: int, out: np.ndarray) -> Mark:
        """Keep what is there now; who reads ``out`` before its mark has `passed` reads NaN."""
        source = gpu_bytes(pointer, out.nbytes).tobytes()
        self.copied_out += 1
        self._arriving.append((pointer, out, source))
        out.view(np.uint8)[...] = 0xFF
        return Mark(0, self.copied_out)

    def passed(self, mark: Mark) -> bool:
        """Say no at the first question, as a copy takes its time; then let it arrive."""
        if not mark.asked:
            mark.asked = True
            return False
        while self.copied_out - len(self._arriving) < mark.copies:
            self._arrive()
        return True

    def _arrive(self) -> None:
        pointer, out, source = self._arriving.pop(0)
        # A GPU may copy at any moment up to now.
        assert gpu_bytes(pointer, out.nbytes).tobytes() == source, "changed during the copy"
        out.view(np.uint8)[...] = np.frombuffer(source, np.uint8)

    def finish_copies(self) -> None:
        while self._arriving:
            self._arrive()

    def point(self) -> Mark:
        return Mark(len(self.launched), 0)

    def copy_in_beside(self, host: np.ndarray, pointer: int, after: Mark) -> None:
        assert after.launches <= len(self.launched)
        self.copy(pointer, host)


def gpu_bytes(pointer: int, nbytes: int) -> np.ndarray:
    """View memory of the emulated GPU."""
    from majelpy.gpu.launcher import host

    return host(pointer, nbytes, np.uint8)


@contextlib.contextmanager
def emulated_gpu(nbytes: int = 1 << 26) -> Iterator[EmulatedDevice]:
    """Let `gpu:0` be the emulation, with a pool of that size."""
    before = pools._pools.get(GPU)
    pools._pools[GPU] = Pool(nbytes, GPU, system=EmulatedSystem())
    on = EmulatedDevice()
    gpu.set_device(GPU, on)
    with (
        patch.object(pools, "system_of", lambda p: system_of(p) if p == CPU else EmulatedSystem()),
        patch.object(gpu, "count", lambda: 1),
    ):
        try:
            yield on
        finally:
            gpu.set_device(GPU, None)
            pools._pools.pop(GPU)
            if before:
                pools._pools[GPU] = before
