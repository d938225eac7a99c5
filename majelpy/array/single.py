"""A single element of an `Array` as a number of Python.

Policy. float16 and bfloat16 become floats on the way; nothing else converts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from majelpy.errors import DTypeError, ShapeError
from majelpy.memory import dtypes
from majelpy.memory.place import CPU, Place


class Single:
    """What Python may ask of an array with one element."""

    __slots__ = ()

    if TYPE_CHECKING:
        _view: Any
        dtype: np.dtype

        @property
        def shape(self) -> tuple[int, ...]: ...

        @property
        def size(self) -> int: ...

        def to_device(self, device: Place | str, /) -> Self: ...

        def reshape(self) -> Self: ...

        def _moved(self, view: Any, dtype: np.dtype | None = None) -> Self: ...

    def _single(self, operation: str) -> Any:
        """The only element, as a Python number."""
        if self.shape:
            raise ShapeError(f"{operation}: shape {self.shape}; needs an array without axes")
        here = self.to_device(CPU)
        if self.dtype in dtypes.STORAGE:
            here = here._moved(here._view, dtypes.float64)
        return here._view.item()

    def __bool__(self) -> bool:
        return bool(self._single("bool"))

    def __int__(self) -> int:
        return int(self._single("int"))

    def __float__(self) -> float:
        return float(self._single("float"))

    def __complex__(self) -> complex:
        return complex(self._single("complex"))

    def __index__(self) -> int:
        if self.dtype not in dtypes.INTEGERS:
            raise DTypeError(f"index: {dtypes.name_of(self.dtype)}; needs an integer type")
        if self.shape:  # a TypeError, as Python's sequences expect
            raise DTypeError(f"index: shape {self.shape}; needs an array without axes")
        return int(self._single("index"))

    def item(self) -> Any:
        """The only element, of any number of axes, as a Python number."""
        if self.size != 1:
            raise ShapeError(f"item: shape {self.shape} has {self.size} elements; needs one")
        return self.reshape()._single("item")

    def __format__(self, spec: str) -> str:
        return format(self._single("format"), spec) if spec else str(self)
