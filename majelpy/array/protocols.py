"""How other libraries see an `Array`: NumPy's, CUDA's and DLPack's protocols, and the standard's.

Policy. Memory is handed out, never copied unasked. What needs another place is refused.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from majelpy.array import dlpack, kernels
from majelpy.errors import CopyError, ShapeError
from majelpy.memory import dtypes
from majelpy.memory.place import CPU, Place
from majelpy.namespace import namespace

VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12", "2025.12")
"""Of the standard that the namespace serves."""


class Protocols:
    """What `Array` offers to other libraries."""

    __slots__ = ()
    __array_ufunc__ = None  # NumPy must not calculate with these arrays unasked

    if TYPE_CHECKING:
        _view: Any
        dtype: np.dtype
        place: Place

        @property
        def shape(self) -> tuple[int, ...]: ...

        @property
        def pointer(self) -> int: ...

    @property
    def __array_interface__(self) -> dict[str, Any]:
        if self.place != CPU:
            raise AttributeError(f"__array_interface__: the array lies on {self.place}")
        return dict(self._view.__array_interface__)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self.place == CPU:
            raise AttributeError("__cuda_array_interface__: the array lies on cpu")
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),
            "version": 3,
            "stream": kernels.device(self.place).stream or 1,  # 1 means the default stream
        }

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        # NumPy asks this only of arrays without __array_interface__.
        raise CopyError(f"numpy: the array lies on {self.place}; needs to_device('cpu') first")

    def __array_namespace__(self, *, api_version: str | None = None) -> ModuleType:
        """Return the module with the functions of the standard."""
        if api_version not in (None, *VERSIONS):
            raise ShapeError(f"array: version {api_version!r} of the standard is not known")
        return namespace()

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Return a DLPack capsule over this memory, or over a copy if asked."""
        asked: dict[str, Any] = {"max_version": max_version, "dl_device": dl_device, "copy": copy}
        whole = np.asarray(self) if self.place == CPU else self._view
        if self.place != CPU:
            asked["stream"] = stream
        brain = self.dtype == dtypes.bfloat16  # which NumPy and CuPy cannot name
        whole = whole.view(dtypes.word_of(self.dtype) if brain else self.dtype)
        capsule = whole.__dlpack__(**{k: v for k, v in asked.items() if v is not None})
        if brain:
            dlpack.retyped(capsule, dlpack.UNSIGNED, dlpack.BFLOAT)
        return capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        kind, number = self._view.__dlpack_device__()
        return int(kind), int(number)
