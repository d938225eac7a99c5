"""Arrays in and out: NumPy, PyTorch, buffers; lifetimes; what the namespace says of itself."""

from __future__ import annotations

import array
import copy
import gc
import math

import needs
import numpy as np
import pytest
from makers import same_bits, touchy_data

import majelpy as mj
from majelpy.array import launch
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
        info.default_device() == CPU and info.devices() == (CPU, *launch.gpus()) and x.device == CPU
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


def test_what_an_array_looks_like() -> None:
    assert repr(mj.asarray([1, 2])) == "Array([1, 2], dtype=int64, place=cpu)"
    assert repr(mj.asarray(1.5)) == "Array(1.5, dtype=float32, place=cpu)"
    assert repr(mj.asarray([1.5], mj.bfloat16)) == "Array([1.5], dtype=bfloat16, place=cpu)"
    large = repr(mj.zeros((50, 50)))
    assert "..." in large and large.endswith("shape=(50, 50), dtype=float32, place=cpu)")
