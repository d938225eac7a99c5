"""Reading and writing of elements: integers, slices, None, Ellipsis, arrays of integers, masks.

Policy. An index moves bytes, so NumPy does it, and CuPy on a GPU, where arrays in a key must lie on
the array's place. A mask stands alone or last in its key, as NumPy allows; integer arrays may be
mixed with the rest. Brackets of `Array` call `select` and `put`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from majelpy.array import kernels
from majelpy.array.checks import numpy_errors, one_place
from majelpy.errors import DTypeError, RangeError
from majelpy.memory import dtypes
from majelpy.memory.place import CPU

if TYPE_CHECKING:
    from majelpy.array.array import Array


def _plain(x: Array, part: Any) -> Any:
    """A part of a key of x as NumPy or CuPy takes it."""
    kind = type(x)
    if isinstance(part, kind | np.ndarray | np.generic):
        found = part if isinstance(part, kind) else kind(np.asarray(part), part)
        if found.dtype not in (*dtypes.INTEGERS, dtypes.bool):
            raise DTypeError(
                f"index: array of {dtypes.name_of(found.dtype)}; needs integers or bool"
            )
        if found.ndim == 0:
            return found.to_device(CPU)._view.item()
        one_place("index", x, found)
        return found._view
    if isinstance(part, slice):
        return slice(
            *(None if v is None else _integer(v) for v in (part.start, part.stop, part.step))
        )
    if isinstance(part, list):
        raise DTypeError("index: list found; needs an array (asarray makes one)")
    return part if part is None or part is Ellipsis or isinstance(part, bool) else _integer(part)


def _integer(value: Any) -> int:
    try:
        return int(value.__index__())
    except AttributeError:
        raise DTypeError(f"index: {value!r} ({type(value).__name__}); needs an integer") from None


def _key(x: Array, key: Any) -> tuple[tuple[Any, ...], bool, bool]:
    """The key of x for NumPy or CuPy, whether it has arrays, and whether some are of integers."""
    parts = tuple(_plain(x, part) for part in (key if isinstance(key, tuple) else (key,)))
    found = [part for part in parts if hasattr(part, "dtype")]
    integers = any(part.dtype != dtypes.bool for part in found)
    arrays = bool(found) or any(isinstance(part, bool) for part in parts)
    return (parts if x.place == CPU else _bounded(x, parts)), arrays, integers


def _bounded(x: Array, parts: tuple[Any, ...]) -> tuple[Any, ...]:
    """A key for CuPy, which wraps indices around: masks as indices, and each index in its axis."""
    taken = [
        0
        if part is None or part is Ellipsis or isinstance(part, bool)
        else part.ndim
        if hasattr(part, "dtype") and part.dtype == dtypes.bool
        else 1
        for part in parts
    ]
    if sum(taken) > x.ndim:
        raise RangeError(f"index: {sum(taken)} indices of an array of shape {x.shape}")
    on, axis, plain = kernels.mover(x.place), 0, list[Any]()
    for part, count in zip(parts, taken, strict=True):
        if not hasattr(part, "dtype"):
            plain.append(part)
        elif part.dtype != dtypes.bool:
            needs_range("index", part, x.shape[axis])
            plain.append(part)
        elif tuple(part.shape) != x.shape[axis : axis + count]:
            raise RangeError(f"index: mask of shape {tuple(part.shape)} of an array {x.shape}")
        else:
            plain += on.nonzero(part)
        axis += x.ndim - sum(taken) if part is Ellipsis else count
    return tuple(plain)


def select(x: Array, key: Any) -> tuple[Any, bool]:
    """Return the elements that ``key`` selects, and whether they are a view of those of x.

    Raises
    ------
    RangeError
        If an index is out of range or if there are more of them than axes.
    DTypeError
        If a part of the key is none of the above.
    """
    parts, arrays, _ = _key(x, key)
    if not arrays and Ellipsis not in parts:
        parts = (*parts, Ellipsis)  # so that NumPy gives a view even of a single element
    with numpy_errors("index", x):
        return x._view[parts], not arrays


def put(x: Array, key: Any, source: Any) -> None:
    """Let the elements that ``key`` selects become those of ``source``, broadcast.

    Where integer arrays name an element twice, the last value stays.
    """
    parts, _, integers = _key(x, key)
    with numpy_errors("setitem", x):
        if x.place == CPU or not integers or source.size == 1:
            x._view[parts] = source
        else:
            _put_last(x, parts, source)


def _put_last(x: Array, parts: tuple[Any, ...], source: Any) -> None:
    """Put on a GPU, where of two values for one element any may win: only the last is put."""
    on = kernels.mover(x.place)
    selected = on.arange(x.size).reshape(x.shape)[parts]
    kept = source.reshape(source.shape[max(0, source.ndim - selected.ndim) :])
    values = on.broadcast_to(kept, selected.shape).reshape(-1)
    at = selected.reshape(-1)
    order = on.argsort(at, kind="stable")
    last = on.ones(at.size, dtypes.bool)
    last[:-1] = at[order[1:]] != at[order[:-1]]
    chosen = order[last]
    x._view.reshape(-1)[at[chosen]] = values[chosen]


def needs_range(operation: str, indices: Any, size: int) -> None:
    """Refuse indices out of range, which CuPy would wrap around."""
    if indices.size:
        least, most = int(indices.min()), int(indices.max())
        if least < -size or most >= size:
            found = least if least < -size else most
            raise RangeError(
                f"{operation}: index {found} is out of bounds of an axis of size {size}"
            )
