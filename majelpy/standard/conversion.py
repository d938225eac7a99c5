"""Conversion between types, and what the namespace says of itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from majelpy.array import kernels
from majelpy.array.array import Array, array_of, on_place
from majelpy.memory import dtypes
from majelpy.memory.place import CPU, Place


def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Place | str | None = None) -> Array:
    """Return the elements in another type; a copy unless ``copy`` is False and none is needed.

    Notes
    -----
    One rounding to nearest even. Floats become integers by cutting towards 0, are held at the
    ends of the range, and NaN becomes 0. Integers wrap around. What is not 0 becomes True.
    """
    a, kind = array_of("astype", x), dtypes.dtype_of("astype", dtype)
    there = a if device is None else a.to_device(device)
    if there.dtype == kind and (there is not a or not copy):
        return there
    return there._moved(there._view, kind)


class Info:
    """What the standard lets a caller ask; see `__array_namespace_info__`."""

    def capabilities(self) -> dict[str, Any]:
        """Return that masks and shapes that depend on data are supported."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Place:
        """Return the CPU."""
        return CPU

    def default_dtypes(self, *, device: Place | str | None = None) -> dict[str, np.dtype]:
        """Return the types that are taken where none is named."""
        on_place(device)
        return {
            "real floating": dtypes.float32,
            "integral": dtypes.int64,
            "indexing": dtypes.int64,
        }

    def dtypes(
        self, *, device: Place | str | None = None, kind: str | tuple[str, ...] | None = None
    ) -> dict[str, np.dtype]:
        """Return the types of a kind that can be calculated with, by name."""
        on_place(device)
        wanted = tuple(k for k in dtypes.KINDS if k != "numeric") if kind is None else kind
        plain = [d for d in dtypes.DTYPES if d not in dtypes.STORAGE]
        return {dtypes.name_of(d): d for d in plain if dtypes.isdtype(d, wanted)}

    def devices(self) -> tuple[Place, ...]:
        """Return the places: the CPU, and the GPUs that CuPy finds."""
        return (CPU, *kernels.gpus())


def __array_namespace_info__() -> Info:
    """Return what can be asked about this namespace."""
    return Info()
