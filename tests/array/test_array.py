"""Arrays: shapes, views, lifetimes, exchange with NumPy."""

from __future__ import annotations

import gc
import subprocess
import sys

import numpy as np
import pytest
from makers import same_bits, touchy_data

from majelpy.array import Array, asarray, empty, zeros
from majelpy.errors import MajelError, RecipeError, ShapeError
from majelpy.memory import CPU, parse_place
from majelpy.memory import pool as memory


def test_asarray_does_not_copy_what_fits() -> None:
    host = touchy_data((3, 4), 1)
    array = asarray(host)
    assert array.pointer == host.ctypes.data and asarray(array) is array
    assert asarray(array, np.float32) is array
    host[1, 2] = 7
    assert array.numpy()[1, 2] == 7


def test_asarray_copies_what_does_not_fit() -> None:
    host = touchy_data((3, 4), 2)
    assert same_bits(asarray(host.T), np.ascontiguousarray(host.T))
    assert same_bits(asarray(host[:, ::2]), host[:, ::2].copy())
    assert asarray(host, np.float64).dtype == np.float64
    assert asarray([[1, 2]], np.float32).shape == (1, 2)


def test_numpy_sees_the_memory_itself() -> None:
    array = zeros((2, 3))
    array.numpy()[1] = 5
    assert np.asarray(array).tolist() == [[0, 0, 0], [5, 5, 5]]
    assert np.shares_memory(array.numpy(), np.asarray(array))


def test_views() -> None:
    array = asarray(np.arange(12, dtype=np.float32).reshape(4, 3))
    part = array[1:3]
    assert part.shape == (2, 3) and part.pointer == array.pointer + 12
    assert part.reshape(6).numpy().tolist() == [3, 4, 5, 6, 7, 8]
    assert array[-1:].numpy().tolist() == [[9, 10, 11]] and array[2:2].shape == (0, 3)
    part.numpy()[0, 0] = -1
    assert array.numpy()[1, 0] == -1
    assert len(array) == 4 and array.size == 12 and array.place == CPU
    assert repr(array[:1]) == "Array([[0., 1., 2.]], dtype=float32, place=cpu)"


def test_copies_are_apart() -> None:
    array = asarray(touchy_data(100, 3))
    copy = array.copy()
    assert same_bits(copy, array) and copy.pointer != array.pointer


def test_views_keep_the_memory_alive(own_pool: memory.Pool) -> None:
    for view in (
        lambda a: a[3:5],
        lambda a: a.reshape(50, 20),
        lambda a: a.numpy(),
        lambda a: a.numpy()[2:],
        lambda a: memoryview(a.numpy()),
    ):
        array = zeros((100, 10))
        kept = view(array)
        before = own_pool.statistics.in_use
        del array
        gc.collect()
        assert own_pool.statistics.in_use == before == 4096
        other = empty((100, 10))
        other.numpy()[...] = 9
        assert not np.asarray(kept).any(), "the memory of a view was given away"
        del kept, other
        gc.collect()
        assert own_pool.statistics.in_use == 0


def test_sizes() -> None:
    assert empty(3).shape == (3,) and empty(()).shape == () and zeros([2, 0]).shape == (2, 0)
    assert zeros(5, np.int64).dtype == np.int64
    assert not zeros((7, 5)).numpy().any()


def test_errors_of_arrays() -> None:
    array = zeros((4, 3))
    with pytest.raises(ShapeError, match=r"^empty: shape \(2, -1\); sizes must not be negative$"):
        empty((2, -1))
    with pytest.raises(
        ShapeError, match=r"^reshape: \(4, 3\) has 12 elements; shape \(5, 2\) does not fit$"
    ):
        array.reshape(5, 2)
    with pytest.raises(
        RecipeError, match=r"^place: 'tpu:0' is not available; needs 'cpu' or 'gpu:'"
    ):
        parse_place("tpu:0")
    assert parse_place("cpu") is CPU


def test_errors_are_majel_errors() -> None:
    with pytest.raises(MajelError):
        empty(-1)


def test_arrays_outlive_the_pool_they_came_from(own_pool: memory.Pool) -> None:
    array: Array = asarray(zeros(1000).numpy() + 1)
    held = zeros(1000)
    memory.set_pool(memory.Pool(0))
    held.numpy()[...] = 3
    assert (held.numpy() == 3).all() and (array.numpy() == 1).all()


def test_a_program_may_end_with_arrays_alive() -> None:
    program = "from majelpy.array import zeros; keep = zeros(10); view = keep[2:]"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
