"""majelpy: deterministic arrays and a data- and model-parallel BiRNN-CTC trainer.

One recipe, one answer: the bits of every loss, gradient and weight are a function of
the recipe, the corpus and the arithmetic version. Importing majelpy starts neither
MPI nor CUDA.

The functions of the Python Array API standard are here under their names (`majelpy.zeros`,
`majelpy.matmul`, ...); the first use of one loads the array library. docs/array.md lists them.
"""

from importlib import import_module
from typing import Any

ARITHMETIC = 1
"""Version of the canonical arithmetic; raised by any change of bits."""

__version__ = "0.1.0"

_ARRAY_NAMES = frozenset(
    """
    Array Device __array_api_version__ __array_namespace_info__ abs acos acosh add all any
    arange argmax argmin argsort asarray asin asinh astype atan atan2 atanh bfloat16 bitwise_and
    bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor bool
    broadcast_arrays broadcast_shapes broadcast_to can_cast ceil clip concat copysign cos cosh
    count_nonzero cumulative_prod cumulative_sum diff divide e empty empty_like equal exp
    expand_dims expm1 eye finfo flip float16 float32 float64 floor floor_divide from_dlpack full
    full_like greater greater_equal hypot iinfo inf int16 int32 int64 int8 isdtype isfinite isin
    isinf isnan less less_equal linspace log log10 log1p log2 logaddexp logical_and logical_not
    logical_or logical_xor matmul matrix_transpose max maximum mean meshgrid min minimum
    moveaxis multiply nan negative newaxis nextafter nonzero not_equal ones ones_like
    permute_dims pi positive pow prod reciprocal remainder repeat reshape result_type roll round
    searchsorted sign signbit sin sinh sort sqrt square squeeze stack std subtract sum take
    take_along_axis tan tanh tensordot tile tril triu trunc uint16 uint32 uint64 uint8
    unique_all unique_counts unique_inverse unique_values unstack var vecdot where zeros
    zeros_like
    """.split()  # noqa: SIM905
)


def __getattr__(name: str) -> Any:
    if name not in _ARRAY_NAMES:
        raise AttributeError(f"module 'majelpy' has no attribute {name!r}")
    value = getattr(import_module("majelpy.array.namespace"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ARRAY_NAMES})
