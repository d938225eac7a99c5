"""Arrays on a GPU place, shown on the emulation; a machine with a GPU runs them there too."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from gpu_place import GPU, emulated_gpu
from makers import same_bits, touchy_data

import majelpy as mj
from majelpy.array import asarray
from majelpy.errors import CopyError
from majelpy.memory import CPU


@pytest.fixture(autouse=True)
def _place() -> Iterator[None]:
    with emulated_gpu():
        yield


def test_there_and_back() -> None:
    host = touchy_data((5, 7), 1)
    there = asarray(host).to_device("gpu:0")
    assert there.place == GPU and there.dtype == np.float32 and there.shape == (5, 7)
    assert same_bits(there.to_device(CPU), host)
    assert repr(there[:1, :1]) == repr(asarray(host[:1, :1])).replace("place=cpu", "place=gpu:0")


def test_numpy_does_not_see_it() -> None:
    there = mj.zeros((2, 2), device="gpu:0")
    for way in (there.numpy, lambda: np.asarray(there)):
        with pytest.raises(CopyError, match="gpu:0; needs to_device"):
            way()
    assert there.__cuda_array_interface__["data"] == (there.pointer, False)
