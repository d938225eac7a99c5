"""majelpy: deterministic arrays and a data- and model-parallel BiRNN-CTC trainer.

One recipe, one answer: the bits of every loss, gradient and weight are a function of
the recipe, the corpus and the arithmetic version. Importing majelpy starts neither
MPI nor CUDA.

The functions of the Python Array API standard are here under their names (`majelpy.zeros`,
`majelpy.matmul`, ...); the first use of one loads its module. docs/array.md lists
them.
"""

from importlib import import_module
from math import e, inf, nan, pi
from typing import Any

from majelpy.version import ARITHMETIC as ARITHMETIC
from majelpy.version import __version__ as __version__

__array_api_version__ = "2025.12"
newaxis = None

_NAMES = {
    "array.arithmetic": (
        "abs add atan2 clip conj copysign divide floor_divide hypot logaddexp maximum minimum "
        "multiply negative nextafter positive pow real remainder sign subtract"
    ),
    "array.array": ("Array empty zeros"),
    "array.conversion": ("__array_namespace_info__ astype"),
    "array.creation": (
        "arange asarray empty_like eye from_dlpack full full_like linspace meshgrid ones "
        "ones_like tril triu zeros_like"
    ),
    "memory.dtypes": (
        "bfloat16 bool can_cast finfo float16 float32 float64 iinfo int16 int32 int64 "
        "int8 isdtype result_type uint16 uint32 uint64 uint8"
    ),
    "array.elementary": (
        "acos acosh asin asinh atan atanh ceil cos cosh exp expm1 floor log log10 log1p "
        "log2 reciprocal round sin sinh sqrt square tan tanh trunc"
    ),
    "array.indexing": ("take take_along_axis"),
    "array.linalg": ("matmul tensordot vecdot"),
    "array.logic": (
        "bitwise_and bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift "
        "bitwise_xor equal greater greater_equal isfinite isinf isnan less less_equal "
        "logical_and logical_not logical_or logical_xor not_equal signbit"
    ),
    "array.manipulation": (
        "broadcast_arrays broadcast_shapes broadcast_to concat expand_dims flip "
        "matrix_transpose moveaxis permute_dims repeat reshape roll squeeze stack tile "
        "unstack"
    ),
    "array.searching": (
        "argmax argmin argsort isin nonzero searchsorted sort unique_all unique_counts "
        "unique_inverse unique_values where"
    ),
    "array.statistics": (
        "all any count_nonzero cumulative_prod cumulative_sum diff max mean min prod std sum var"
    ),
}
"""Names of the standard, by the module of majelpy that has them."""

_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'majelpy' has no attribute {name!r}")
    found = getattr(import_module(f"majelpy.{_HOME[name]}"), name)
    globals()[name] = found  # so that this function is asked once for each name
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


__all__ = [*_HOME, "__array_api_version__", "e", "inf", "nan", "newaxis", "pi"]
