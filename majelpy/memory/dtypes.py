"""Types of elements: the objects, their kinds, promotion, and what can be said of them.

Policy. A dtype is NumPy's object, so it compares equal to NumPy's. bfloat16, which NumPy has not,
is a record of one uint16: NumPy moves it and cannot calculate with it. float16 and bfloat16 are
for storage: they convert and move, and every calculation refuses them. Promotion follows the
standard: within a kind, and never between kinds.
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from typing import Any

import numpy as np

from majelpy.errors import DTypeError, RangeError

bool = np.dtype(np.bool_)
int8, int16 = np.dtype(np.int8), np.dtype(np.int16)
int32, int64 = np.dtype(np.int32), np.dtype(np.int64)
uint8, uint16 = np.dtype(np.uint8), np.dtype(np.uint16)
uint32, uint64 = np.dtype(np.uint32), np.dtype(np.uint64)
float16, float32, float64 = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)
bfloat16 = np.dtype([("bfloat16", np.uint16)])

SIGNED = (int8, int16, int32, int64)
UNSIGNED = (uint8, uint16, uint32, uint64)
INTEGERS = SIGNED + UNSIGNED
FLOATS = (float32, float64)
STORAGE = (float16, bfloat16)
DTYPES = (bool, *INTEGERS, *FLOATS, *STORAGE)
_KNOWN = frozenset(DTYPES)

KINDS: dict[str, tuple[np.dtype, ...]] = {
    "bool": (bool,),
    "signed integer": SIGNED,
    "unsigned integer": UNSIGNED,
    "integral": INTEGERS,
    "real floating": FLOATS,
    "complex floating": (),
    "numeric": INTEGERS + FLOATS,
}
"""The standard's kinds; storage types belong to none."""


def word_of(dtype: np.dtype) -> np.dtype:
    """Return the unsigned integer of that size."""
    return np.dtype(f"u{dtype.itemsize}")


def moved_as(dtype: np.dtype) -> np.dtype:
    """Return the type as which CuPy moves such elements: no float."""
    return word_of(dtype) if dtype in FLOATS + STORAGE else dtype


def name_of(dtype: np.dtype) -> str:
    """Return ``float32``, ``bool``, ``bfloat16`` and so on."""
    return "bfloat16" if dtype == bfloat16 else dtype.name


def dtype_of(operation: str, dtype: Any) -> np.dtype:
    """Return the element type that ``dtype`` means.

    Raises
    ------
    DTypeError
        If arrays have no such elements.
    """
    if isinstance(dtype, np.dtype) and dtype in _KNOWN:
        return dtype
    try:
        found = bfloat16 if isinstance(dtype, str) and dtype == "bfloat16" else np.dtype(dtype)
    except TypeError:
        raise DTypeError(f"{operation}: {dtype!r} is no element type") from None
    if found not in DTYPES or not found.isnative:
        names = ", ".join(name_of(d) for d in DTYPES)
        raise DTypeError(f"{operation}: elements of type {found} are not supported; needs {names}")
    return found


def type_of(operation: str, x: Any) -> np.dtype:
    """Return the element type of an array, or the one that ``x`` itself means."""
    plain = isinstance(x, np.dtype | type | str) or not hasattr(x, "dtype")
    return dtype_of(operation, x if plain else x.dtype)


def promote(operation: str, *dtypes: np.dtype) -> np.dtype:
    """Return the type that operands of these types have together.

    Raises
    ------
    DTypeError
        If they are of several kinds, or if none of the integer types holds them all.
    """
    joint, *rest = dtypes
    for other in rest:
        if joint == other:
            continue
        kind = next((k for k in (INTEGERS, FLOATS) if joint in k and other in k), ())
        both = np.promote_types(joint, other) if kind else joint
        if both not in kind:
            raise DTypeError(
                f"{operation}: {name_of(joint)} and {name_of(other)} have no common type; "
                "convert one with astype"
            )
        joint = both
    return joint


def result_type(*arrays_and_dtypes: Any) -> np.dtype:
    """Return the type that a calculation with these arrays, types and Python numbers has."""
    numbers = [x for x in arrays_and_dtypes if type(x) in (builtins.bool, int, float)]
    found = [
        type_of("result_type", x)
        for x in arrays_and_dtypes
        if type(x) not in (builtins.bool, int, float)
    ]
    if not found:
        raise DTypeError("result_type: needs at least one array or type")
    joint = promote("result_type", *found)
    for number in numbers:
        check_number("result_type", number, joint)
    return joint


def check_number(operation: str, number: Any, dtype: np.dtype) -> None:
    """Refuse a Python number that does not go with elements of that type."""
    fits = (
        dtype == bool
        if isinstance(number, builtins.bool)
        else dtype in INTEGERS + FLOATS
        if isinstance(number, int)
        else isinstance(number, float) and dtype in FLOATS
    )
    if not fits:
        raise DTypeError(
            f"{operation}: {number!r} ({type(number).__name__}) does not go with {name_of(dtype)}"
        )
    if dtype in INTEGERS and not np.iinfo(dtype).min <= number <= np.iinfo(dtype).max:
        raise RangeError(f"{operation}: {number} is out of the range of {name_of(dtype)}")


def can_cast(from_: Any, to: Any, /) -> builtins.bool:
    """Say whether promotion leads from one type (or array) to the other."""
    source = type_of("can_cast", from_)
    target = dtype_of("can_cast", to)
    try:
        return promote("can_cast", source, target) == target
    except DTypeError:
        return False


def isdtype(dtype: Any, kind: Any) -> builtins.bool:
    """Say whether ``dtype`` is of a kind: a type, a name of the standard, or a tuple of these.

    Raises
    ------
    DTypeError
        If there is no such kind.
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, part) for part in kind)
    found = dtype_of("isdtype", dtype)
    if isinstance(kind, str):
        if kind not in KINDS:
            raise DTypeError(f"isdtype: {kind!r} is no kind; needs one of {', '.join(KINDS)}")
        return found in KINDS[kind]
    return found == dtype_of("isdtype", kind)


@dataclass(frozen=True)
class FloatInfo:
    """Limits of a floating type, as Python floats; see `finfo`."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: np.dtype


@dataclass(frozen=True)
class IntegerInfo:
    """Limits of an integer type; see `iinfo`."""

    bits: int
    max: int
    min: int
    dtype: np.dtype


def finfo(type: Any, /) -> FloatInfo:
    """Return the limits of a floating type or of an array's."""
    dtype = type_of("finfo", type)
    if dtype == bfloat16:
        largest = float(2 - 2**-7) * 2.0**127
        return FloatInfo(16, 2.0**-7, largest, -largest, 2.0**-126, bfloat16)
    if dtype not in (*FLOATS, float16):
        raise DTypeError(f"finfo: {name_of(dtype)} is no floating type")
    info = np.finfo(dtype)
    return FloatInfo(
        info.bits,
        float(info.eps),
        float(info.max),
        float(info.min),
        float(info.smallest_normal),
        dtype,
    )


def iinfo(type: Any, /) -> IntegerInfo:
    """Return the limits of an integer type or of an array's."""
    dtype = type_of("iinfo", type)
    if dtype not in INTEGERS:
        raise DTypeError(f"iinfo: {name_of(dtype)} is no integer type")
    info = np.iinfo(dtype)
    return IntegerInfo(info.bits, int(info.max), int(info.min), dtype)
