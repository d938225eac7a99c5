"""Arrays in and out: NumPy, PyTorch, buffers; lifetimes; what the namespace says of itself."""

from __future__ import annotations

import array
import copy
import ctypes
import gc
import math
import operator
import pickle
from typing import Any

import needs
import numpy as np
import pytest
from makers import same_bits, touchy_data

import majelpy as mj
from majelpy.array import kernels
from majelpy.errors import CopyError
from majelpy.memory import CPU, Place
from majelpy.memory import pool as memory

TYPES = list(mj.__array_namespace_info__().dtypes().values())


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_numpy_takes_arrays_without_copying(dtype: np.dtype) -> None:
    x = mj.ones((3, 4), dtype=dtype)
    for view in (np.asarray(x), np.from_dlpack(x), x.numpy()):
        assert view.dtype == dtype and view.shape == (3, 4) and view.ctypes.data == x.pointer
        view[1, 2] = 0
        assert not x[1, 2]
        x[1, 2] = True if dtype == mj.bool else 1


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_arrays_take_numpy_without_copying(dtype: np.dtype) -> None:
    host = np.ones((3, 4), dtype)
    for x in (mj.asarray(host), mj.from_dlpack(host)):
        assert x.pointer == host.ctypes.data and x.dtype == dtype
    assert mj.asarray(host, copy=True).pointer != host.ctypes.data
    assert mj.from_dlpack(host, copy=True).pointer != host.ctypes.data
    turned = mj.from_dlpack(host.T)
    assert turned.shape == (4, 3) and turned.pointer != host.ctypes.data
    with pytest.raises(CopyError, match="not contiguous"):
        mj.from_dlpack(host.T, copy=False)


def test_dlpack_by_hand() -> None:
    x = mj.ones((2, 2))
    assert x.__dlpack_device__() == (1, 0) and "dltensor" in repr(x.__dlpack__(stream=None))
    y = mj.empty_like(x)
    assert y.shape == x.shape and y.dtype == x.dtype and y.pointer != x.pointer


def test_memory_that_must_not_be_written_is_copied() -> None:
    host = np.ones(3)
    host.flags.writeable = False
    x = mj.asarray(host)
    x[0] = 5
    assert host[0] == 1 and x.numpy()[0] == 5


def test_foreign_byte_order_is_turned() -> None:
    x = mj.asarray(np.arange(3).astype(">i4"))
    assert x.dtype == mj.int32 and x.numpy().tolist() == [0, 1, 2]


def test_exports_keep_the_memory_alive(own_pool: memory.Pool) -> None:
    for export in (np.from_dlpack, np.asarray, lambda a: mj.from_dlpack(a), lambda a: a[3]):
        x = mj.zeros((100, 10))
        kept = export(x)
        del x
        gc.collect()
        assert own_pool.statistics.in_use == 4096
        other = mj.ones((100, 10))
        assert not np.asarray(kept).any()
        del kept, other
        gc.collect()
        assert own_pool.statistics.in_use == 0


class Producer:
    """A producer of bfloat16 as PyTorch is one: an older or a newer capsule over its memory."""

    def __init__(self, words: np.ndarray, version: tuple[int, int] | None) -> None:
        self.words = words
        self._version = version

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0

    def __dlpack__(self, *, max_version: tuple[int, int] | None = None, **asked: Any) -> Any:
        capsule = self.words.__dlpack__(max_version=self._version and max_version)
        name = {None: b"dltensor"}.get(self._version, b"dltensor_versioned")
        get = ctypes.pythonapi.PyCapsule_GetPointer
        get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        # A DLTensor: data, device (2 x int32), ndim (int32), and then the type's code, kDLBfloat.
        at = get(capsule, name) + (20 if self._version is None else 32 + 20)
        assert tuple((ctypes.c_uint8 * 2).from_address(at)) == (1, 16)
        ctypes.c_uint8.from_address(at).value = 4
        return capsule


@pytest.mark.parametrize("version", [None, (1, 0)])
def test_bfloat16_of_others_is_taken(version: tuple[int, int] | None) -> None:
    words = np.array([[0x3F80, 0xC000, 0x7F80], [0x0001, 0x8000, 0x7FC0]], np.uint16)
    for take in (mj.asarray, mj.from_dlpack):
        x = take(Producer(words, version))
        assert x.dtype == mj.bfloat16
        # NumPy does not write to the memory of an older capsule, so that is copied.
        assert (x.pointer == words.ctypes.data) == (version is not None)
        wanted = (words.astype(np.uint32) << 16).view(np.float32)
        assert same_bits(mj.astype(x, mj.float32), wanted)
    turned = mj.from_dlpack(Producer(words.T, version))
    assert turned.shape == (3, 2) and turned.pointer != words.ctypes.data
    assert same_bits(turned.numpy().view(np.uint16), np.ascontiguousarray(words.T))
    assert mj.asarray(Producer(words, version), mj.float64).dtype == mj.float64
    x = mj.asarray(words)  # and what is no bfloat16 stays what it is
    assert mj.from_dlpack(x).dtype == mj.uint16


def test_bfloat16_goes_out_and_in() -> None:
    x = mj.astype(mj.asarray([1.5, -2.0]), mj.bfloat16)
    back = mj.from_dlpack(x)
    assert back.dtype == mj.bfloat16 and back.pointer == x.pointer
    with pytest.raises((RuntimeError, BufferError)):
        np.from_dlpack(x)  # NumPy has no such type


def test_bfloat16_of_pytorch(each_place: Place) -> None:
    torch = needs.module("torch")
    tensor = torch.tensor([[1.5, -2.0, 3.0]], dtype=torch.bfloat16)
    x = mj.asarray(tensor)
    assert x.dtype == mj.bfloat16 and x.pointer == tensor.data_ptr()
    assert mj.astype(x, mj.float32).numpy().tolist() == [[1.5, -2.0, 3.0]]
    there = mj.asarray(tensor, device=each_place)
    assert same_bits(there.to_device(CPU).numpy().view(np.uint16), x.numpy().view(np.uint16))
    again = torch.from_dlpack(x)
    assert again.dtype == torch.bfloat16 and again.data_ptr() == tensor.data_ptr()


def test_pytorch_takes_and_gives_arrays() -> None:
    torch = needs.module("torch")
    x = mj.arange(6, dtype=mj.float32)
    tensor = torch.from_dlpack(x)
    tensor[1] = 9
    assert float(x[1]) == 9 and mj.from_dlpack(tensor).pointer == x.pointer


def test_buffers_and_nested_data() -> None:
    assert mj.asarray(array.array("d", [1.5, 2])).dtype == mj.float64
    assert mj.asarray(memoryview(bytearray(b"abc"))).numpy().tolist() == [97, 98, 99]
    assert mj.asarray([mj.asarray(1.5), mj.asarray(2.5)]).dtype == mj.float32
    assert mj.asarray([[True, False]]).dtype == mj.bool and mj.asarray([1, 2.5]).dtype == mj.float32
    assert mj.asarray([np.float64(1)]).dtype == mj.float64 and mj.asarray(range(3)).shape == (3,)
    assert mj.asarray([2**64 - 1], dtype=mj.uint64).numpy().tolist() == [2**64 - 1]
    assert mj.asarray([0.1], dtype=mj.float32).numpy()[0] == np.float32(0.1)


def test_the_namespace() -> None:
    x = mj.ones((2, 3))
    assert (
        x.__array_namespace__(api_version="2024.12") is mj and mj.__array_api_version__ == "2025.12"
    )
    info = mj.__array_namespace_info__()
    assert (
        info.default_device() == CPU
        and info.devices() == (CPU, *kernels.gpus())
        and x.device == CPU
    )
    assert info.default_dtypes()["real floating"] == mj.float32 == mj.zeros(1).dtype
    assert list(info.dtypes(kind="unsigned integer")) == ["uint8", "uint16", "uint32", "uint64"]
    assert info.capabilities()["boolean indexing"] is True
    assert x.to_device(CPU) is x and x.to_device("cpu") is x
    assert (x.ndim, x.size, x.shape) == (2, 6, (2, 3))
    assert mj.newaxis is None and (mj.e, mj.pi, mj.inf) == (math.e, math.pi, math.inf)
    assert math.isnan(mj.nan) and mj.isdtype(mj.float16, ("bool", "numeric")) is False
    assert mj.isdtype(x.dtype, "real floating") and mj.isdtype(mj.int8, mj.int8)
    assert mj.finfo(mj.float32).eps == 2.0**-23 and mj.finfo(x).bits == 32
    assert mj.finfo(mj.bfloat16).max == 3.3895313892515355e38 and mj.finfo(mj.float16).eps == 2**-10
    assert mj.iinfo(mj.uint8).max == 255 and mj.iinfo(mj.asarray(3)).min == -(2**63)
    assert set(mj.__all__) <= set(dir(mj)) and all(hasattr(mj, name) for name in mj.__all__)
    assert not hasattr(mj, "nonsense")


def test_views_and_copies(each_place: Place) -> None:
    x = mj.asarray(touchy_data((4, 3), 1), device=each_place)
    assert x[2].pointer == x.pointer + 24 and x[1:, ...].pointer == x.pointer + 12
    assert mj.reshape(x, (3, 4)).pointer == x.pointer != mj.reshape(x, (12,), copy=True).pointer
    for same in (copy.copy(x), copy.deepcopy(x), x.copy(), +x, mj.astype(x, x.dtype)):
        assert same_bits(same.to_device(CPU), x.to_device(CPU)) and same.pointer != x.pointer
    assert mj.astype(x, x.dtype, copy=False) is x


@pytest.mark.parametrize("dtype", [*TYPES, mj.float16, mj.bfloat16], ids=str)
def test_arrays_are_pickled_and_copied(dtype: np.dtype, each_place: Place) -> None:
    data = mj.astype(mj.asarray(np.arange(12).reshape(3, 4) % 5), dtype, device=each_place)
    for x in (data, data[1:], data[2, 3], data[:0], data[:, 1:2]):
        whole = x.to_device(CPU).numpy()
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            y = pickle.loads(pickle.dumps(x, protocol))
            assert (y.dtype, y.shape, y.place) == (dtype, x.shape, CPU)
            assert y.numpy().tobytes() == whole.tobytes()
        twice = [x, x]
        for y in (copy.copy(x), *copy.deepcopy(twice)):
            assert (y.dtype, y.shape, y.place) == (dtype, x.shape, each_place)
            assert y.to_device(CPU).numpy().tobytes() == whole.tobytes()
        first, second = copy.deepcopy(twice)
        assert first is second and (first.pointer != x.pointer or not x.size)


OPERATORS = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "floor_divide": operator.floordiv,
    "remainder": operator.mod,
    "pow": operator.pow,
    "matmul": operator.matmul,
    "equal": operator.eq,
    "not_equal": operator.ne,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_take_arrays_of_numpy(name: str) -> None:
    a, b = (np.abs(touchy_data((3, 3), seed)) + np.float32(1) for seed in (1, 2))
    call = OPERATORS[name]
    wanted = getattr(mj, name)(mj.asarray(a), mj.asarray(b))
    for left, right in ((mj.asarray(a), b), (a, mj.asarray(b))):
        found = call(left, right)
        assert isinstance(found, mj.Array) and same_bits(found, wanted)
    x = mj.asarray(a)
    if name != "matmul":
        assert same_bits(call(a[0, 0], x), getattr(mj, name)(mj.asarray(a[0, 0]), x))
        wide = call(x, b.astype(np.float64))
        assert wide.dtype in (mj.float64, mj.bool)
    total = mj.asarray(a + b)
    x += b
    assert isinstance(x, mj.Array) and same_bits(x, total)
    with pytest.raises(TypeError):
        a += mj.asarray(b)  # NumPy's own memory is not written unasked


def test_bits_of_numpy_are_operands_too(each_place: Place) -> None:
    x = mj.asarray([6, 3], device=CPU)
    assert (
        (x & np.array([2, 1])).numpy().tolist() == [2, 1] == (np.array([2, 1]) & x).numpy().tolist()
    )
    assert (np.array([1, 1]) << x).numpy().tolist() == [64, 8]
    if each_place != CPU:
        with pytest.raises(CopyError, match=r"^add: .*needs one place"):
            mj.ones(2, device=each_place) + np.ones(2, np.float32)


def test_single_elements_are_numbers(each_place: Place) -> None:
    x = mj.asarray([[1.25, -2.5]], device=each_place)
    assert f"{x[0, 0]:.3f} {x[0, 1]:+.1e} {x[0, 0]:>6}" == "1.250 -2.5e+00   1.25"
    assert f"{mj.asarray(7, device=each_place):04d}" == "0007" and f"{x}" == str(x)
    assert x[0, 1].item() == x[:, 1:].item() == -2.5 and type(x[0, 0].item()) is float
    assert mj.asarray([[7]], device=each_place).item() == 7
    assert mj.asarray(True, device=each_place).item() is True
    assert mj.astype(x, mj.bfloat16)[0, 0].item() == 1.25
    with pytest.raises(ValueError, match="format"):
        f"{x[0, 0]:d}"


def test_reshape_takes_sizes_and_sequences(each_place: Place) -> None:
    x = mj.asarray(touchy_data((2, 6), 1), device=each_place)
    for found in (
        *(x.reshape(3, 4), x.reshape((3, 4)), x.reshape([3, -1]), x.reshape(-1, 4)),
        *(x.reshape((np.int64(3), 4)), mj.reshape(x, (3, 4)), mj.reshape(x, (-1, 4))),
    ):
        assert found.shape == (3, 4) and found.pointer == x.pointer
    assert x.reshape(-1).shape == x.reshape(12).shape == x.reshape((12,)).shape == (12,)
    assert x[:1, :1].reshape().shape == x[:1, :1].reshape(()).shape == ()
    assert mj.zeros((0, 3), device=each_place).reshape(-1, 3).shape == (0, 3)


def test_what_an_array_looks_like() -> None:
    assert repr(mj.asarray([1, 2])) == "Array([1, 2], dtype=int64, place=cpu)"
    assert repr(mj.asarray(1.5)) == "Array(1.5, dtype=float32, place=cpu)"
    assert repr(mj.asarray([1.5], mj.bfloat16)) == "Array([1.5], dtype=bfloat16, place=cpu)"
    large = repr(mj.zeros((50, 50)))
    assert "..." in large and large.endswith("shape=(50, 50), dtype=float32, place=cpu)")
