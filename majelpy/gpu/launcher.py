"""What launches speak to: a launcher of kernels on some device.

Policy. A launch's arguments are those of kernels/entry_points.h: float pointers are addresses on
the device; integer pointers are host memory, read and written by the launch, so callers pass the
same offsets and labels on every place. The array library's entry points (`standard`) have data of
every type: all their pointers are addresses on the device, those to integers, bools and sort keys
too. Grids and blocks never change a bit.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

THREADS = 256
"""Threads of a block where nothing else is asked for."""

MOST_BLOCKS = 65535
"""Largest y and z extent of a grid."""


class Buffer(Protocol):
    """Memory on the device that lives as long as somebody holds it."""

    pointer: int


class Launcher(Protocol):
    """A device with a stream: launches and copies happen in the order of the calls.

    Attributes
    ----------
    multiprocessors : int
    shared_bytes : int
        Most shared memory of a block.
    """

    multiprocessors: int
    shared_bytes: int

    def scratch(self, nbytes: int) -> Buffer:
        """Return uninitialised memory, aligned to 256 bytes."""

    def upload(self, array: np.ndarray) -> Buffer:
        """Return a copy of a host array."""

    def download(self, pointer: int, out: np.ndarray) -> None:
        """Copy to a host array, when all before is done."""

    def resident(self, kernel: str, threads: int, shared: int) -> int:
        """Return how many blocks of a kernel are surely on the device together; 0 if unknown."""

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
        """Launch a kernel; int and Buffer are 64-bit arguments, np.float32 a float.

        ``shared`` counts bytes; with ``together`` all blocks are resident at once.
        """


def host(pointer: int, count: int, dtype: Any) -> np.ndarray:
    """View ``count`` numbers at a host address."""
    kind = np.dtype(dtype)
    if count == 0:
        return np.empty(0, kind)
    raw = (ctypes.c_byte * (count * kind.itemsize)).from_address(pointer)
    return np.frombuffer(raw, kind)


def ceil_div(a: int, b: int) -> int:
    """Return a / b rounded up."""
    return -(-a // b)


def elements(on: Launcher, kernel: str, count: int, arguments: Sequence[Any]) -> None:
    """Launch over ``count`` elements; no launch for none."""
    if count > 0:
        blocks = min(ceil_div(count, THREADS), 32 * on.multiprocessors)
        on.launch(kernel, (blocks,), (THREADS,), arguments)


def matrix(
    on: Launcher, kernel: str, rows: int, columns: int, arguments: Sequence[Any], layers: int = 1
) -> None:
    """Launch over a matrix: x columns, y rows, z layers."""
    if rows > 0 and columns > 0:
        grid = (ceil_div(columns, 32), min(ceil_div(rows, 8), MOST_BLOCKS), layers)
        on.launch(kernel, grid, (32, 8), arguments)


def utterance_rows(
    on: Launcher, kernel: str, offsets: np.ndarray, columns: int, arguments: Sequence[Any]
) -> None:
    """Launch over the rows of utterances: x rows of an utterance, y utterances."""
    if len(offsets) > 1 and offsets[-1] > 0 and columns > 0:
        longest = int(np.diff(offsets).max())
        grid = (ceil_div(longest, 8), min(len(offsets) - 1, MOST_BLOCKS))
        on.launch(kernel, grid, (32, 8), arguments)
