"""Random numbers by key: ``mj.random.key(seed)``, children of it, and numbers of a key.

Policy. There is no state: a number is a function of its key and of its place in the array, so it
has the same bits again, in a longer array, on any place, processor and number of threads. Who needs
new numbers takes a new key (`split`, `fold_in`). Bodies: kernels/standard_random.h; the order is in
docs/determinism.md.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

from majelpy.array import Array, empty, kernels
from majelpy.array.array import array_of, number, on_place
from majelpy.array.checks import axis_of, needs_kind
from majelpy.array.operands import converted
from majelpy.errors import CopyError, DTypeError, RangeError, ShapeError
from majelpy.memory import dtypes
from majelpy.memory.place import Place
from majelpy.standard.indexing import take
from majelpy.standard.searching import argsort

Shape = int | Sequence[int]
Device = Place | str | None


class Key(NamedTuple):
    """What random numbers are a function of: 128 bits, as two words. Make one with `key`."""

    philox: int
    stream: int


def key(seed: int) -> Key:
    """Return the key of a seed, 0 to 2^64 - 1; no two seeds have the same one."""
    return fold_in(Key(0, 0), seed)


def fold_in(key: Key, child: int) -> Key:
    """Return child number ``child`` of a key, 0 to 2^64 - 1: of an epoch, a layer, an utterance.

    Notes
    -----
    Children of one key all differ, and their numbers are none of the key's own.
    """
    return _children("fold_in", key, 1, child)[0]


def split(key: Key, count: int = 2) -> tuple[Key, ...]:
    """Return the children 0 to ``count`` - 1 of a key."""
    if count < 0:
        raise RangeError(f"split: {count} keys; needs 0 or more")
    return _children("split", key, count, 0)


def _children(operation: str, key: Key, count: int, first: int) -> tuple[Key, ...]:
    found = _integer(operation, first)
    if not 0 <= found < 1 << 64:
        raise RangeError(f"{operation}: {found}; needs 0 to 2^64 - 1")
    words = kernels.random_keys(count, *_checked(operation, key), found)
    return tuple(Key(philox, stream) for philox, stream in words.tolist())


def _checked(operation: str, key: Key) -> Key:
    if not isinstance(key, Key):
        raise DTypeError(f"{operation}: {type(key).__name__} found; needs a key (random.key)")
    return key


def _integer(operation: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise DTypeError(f"{operation}: {value!r}; needs an integer") from None


def _floating(operation: str, shape: Shape, dtype: Any, device: Device) -> Array:
    kind = dtypes.float32 if dtype is None else dtypes.dtype_of(operation, dtype)
    needs_kind(operation, kind, dtypes.FLOATS)
    return empty(shape, kind, device)


def uniform(
    key: Key,
    shape: Shape = (),
    *,
    low: float = 0.0,
    high: float = 1.0,
    dtype: Any = None,
    device: Device = None,
) -> Array:
    """Return numbers of equal probability in [low, high); float32 if not said otherwise.

    Raises
    ------
    RangeError
        If the ends, in that type, do not ascend, or if they lie an infinity apart.

    Notes
    -----
    A number is low + u (high - low), each operation rounded, where u is a multiple of 2^-24 (of
    float64, 2^-53). Where that would be ``high`` it is the number before it.
    """
    out = _floating("uniform", shape, dtype, device)
    ends = empty(2, out.dtype)
    for i, end in enumerate((low, high)):
        ends._view[i] = number("uniform", end, out.dtype)._view
    first, last = ends._view.tolist()
    limit = dtypes.finfo(out.dtype).max
    if not first < last or not last - first <= limit:
        raise RangeError(
            f"uniform: from {low} to {high} in {out.dtype}; needs ascending ends, less than "
            f"{limit:.2e} apart"
        )
    kernels.random_uniform(*_checked("uniform", key), ends.to_device(out.place), out)
    return out


def normal(key: Key, shape: Shape = (), *, dtype: Any = None, device: Device = None) -> Array:
    """Return normal numbers of mean 0 and deviation 1; float32 if not said otherwise.

    Notes
    -----
    By Box and Muller 1958; the largest magnitude is 5.77, of float64 8.57.
    """
    out = _floating("normal", shape, dtype, device)
    kernels.random_normal(*_checked("normal", key), out)
    return out


def integers(
    key: Key,
    shape: Shape = (),
    *,
    low: int = 0,
    high: int,
    dtype: Any = None,
    device: Device = None,
) -> Array:
    """Return integers of equal probability from ``low`` to ``high`` - 1; int64 by default.

    Raises
    ------
    RangeError
        If there is no such integer, or if the type does not hold them all.

    Notes
    -----
    Of the 2^128 values of a block of Philox each integer has equally many, but for one.
    """
    kind = dtypes.int64 if dtype is None else dtypes.dtype_of("integers", dtype)
    needs_kind("integers", kind, dtypes.INTEGERS)
    first, end = _integer("integers", low), _integer("integers", high)
    if not first < end:
        raise RangeError(f"integers: from {first} to below {end}; needs one or more")
    for least_or_most in (first, end - 1):
        dtypes.check_number("integers", least_or_most, kind)
    out = empty(shape, dtypes.int64, device)
    kernels.random_integers(*_checked("integers", key), first, end - first, out)
    if kind == dtypes.uint64:
        return Array(out._view.view(kind), out._owner, out.place, kind)
    return converted(out, kind)


def bernoulli(
    key: Key, probability: float = 0.5, shape: Shape = (), *, device: Device = None
) -> Array:
    """Return booleans that are True with a probability, rounded up to a multiple of 2^-53."""
    dtypes.check_number("bernoulli", probability, dtypes.float64)
    if not 0 <= probability <= 1:
        raise RangeError(f"bernoulli: probability {probability}; needs 0 to 1")
    out = empty(shape, dtypes.bool, device)
    heads = math.ceil(math.ldexp(probability, 53))
    kernels.random_coins(*_checked("bernoulli", key), heads, out)
    return out


def permutation(key: Key, x: int | Any, /, *, axis: int = 0, device: Device = None) -> Array:
    """Return the integers below ``x``, or the parts of an array along an axis, in random order.

    Parameters
    ----------
    x : int or array
    axis : int
        Of an array.
    device : optional
        Of the integers; an array stays where it is.

    Notes
    -----
    Order: ascending by a word of 64 bits for each; equal words as they stood.
    """
    if isinstance(x, int):
        if x < 0:
            raise ShapeError(f"permutation: {x} integers; needs 0 or more")
        return _order(key, x, on_place(device))
    a = array_of("permutation", x)
    at = axis_of("permutation", axis, a.ndim)
    if device is not None and on_place(device) != a.place:
        raise CopyError(f"permutation: device {device}; the array lies on {a.place} and stays")
    return take(a, _order(key, a.shape[at], a.place), axis=at)


def _order(key: Key, count: int, place: Place) -> Array:
    words = empty(count, dtypes.uint64, place)
    kernels.random_bits(*_checked("permutation", key), words)
    return argsort(words)
