"""Device memory in schedules and messages.

Policy. A NumPy array over addresses of a GPU stands for memory there: it is cut, and handed to MPI
and to kernels, and nobody reads or writes through it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from majelpy.array import Array, empty, kernels, zeros
from majelpy.comm.bucket import FLOAT_BYTES
from majelpy.comm.shared_memory import SharedMemory
from majelpy.memory import CPU, Place, dtypes


@dataclass(frozen=True)
class _Span:
    """Bytes on a GPU, alive as long as their owner."""

    pointer: int
    nbytes: int
    owner: Any

    @property
    def __array_interface__(self) -> dict[str, Any]:
        about = {"shape": (self.nbytes // FLOAT_BYTES,), "typestr": "<f4", "version": 3}
        return {**about, "data": (self.pointer, False)}


def addresses(array: Array) -> np.ndarray:
    """Return the flat NumPy array over the addresses of floats on a GPU; it keeps them alive."""
    return np.asarray(_Span(array.pointer, array.size * FLOAT_BYTES, array))


def array_at(there: np.ndarray, place: Place) -> Array:
    """Return the array on a GPU that a NumPy array stands for; it keeps the memory alive."""
    span = _Span(there.ctypes.data, there.nbytes, there)
    view = kernels.device(place).view(span, there.shape, dtypes.moved_as(dtypes.float32))
    return Array(view, there, place, dtypes.float32)


def row(size: int, place: Place) -> np.ndarray:
    """Return so many floats for messages, uninitialised, on the CPU or the addresses of a GPU's."""
    return np.empty(size, np.float32) if place == CPU else addresses(empty(size, device=place))


class DeviceMemory(SharedMemory):
    """A segment of zeros on a GPU, of one rank that shares it with none.

    Attributes
    ----------
    segments
        A NumPy array of floats that stands for it.
    """

    def __init__(self, place: Place, nbytes: int) -> None:
        self._comm = None
        self.segments = [addresses(zeros(nbytes // FLOAT_BYTES, device=place)).data]
