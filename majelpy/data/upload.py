"""Memory on a place that a reading thread fills while the place computes.

Policy. Whoever launches kernels makes the memory and notes the point from which on it is free;
another thread may then fill it. On a CPU the reader writes there at once; on a GPU it reads into
memory of the host, which is then moved.
"""

from __future__ import annotations

from majelpy.array import Array, empty, kernels
from majelpy.memory import CPU, Place


class Upload:
    """Memory for one array on a place.

    Parameters
    ----------
    shape : tuple of int
    place : Place
    """

    def __init__(self, shape: tuple[int, ...], place: Place):
        self._there = empty(shape, device=place)
        self._free = None if place == CPU else kernels.device(place).point()

    def host(self) -> Array:
        """Return the array of the CPU that is to be read into; for any thread."""
        return self._there if self._there.place == CPU else empty(self._there.shape)

    def fill(self, host: Array) -> Array:
        """Return what `host` gave on the place, when it is there; for any thread."""
        if self._there.place == CPU:
            return host
        on = kernels.device(self._there.place)
        on.copy_in_beside(host.numpy(), self._there.pointer, self._free)
        return self._there
