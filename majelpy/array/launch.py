"""Kernels of the array library: which number stands for which function and type.

Policy. The order of names is that of the tables in kernels/cpu/standard*.cpp. Operands and results
are contiguous NumPy views; this module is the only one of the array library that passes
addresses on. Bodies: kernels/standard*.h.
"""

from __future__ import annotations

import numpy as np

from majelpy.array import dtypes
from majelpy.native import library

UNARY = (
    *("acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "exp"),
    *("expm1", "floor", "log", "log1p", "log2", "log10", "round", "sin", "sinh", "tan"),
    *("tanh", "trunc", "sqrt", "square", "reciprocal", "negative", "abs", "sign"),
)
BINARY = (
    *("add", "subtract", "multiply", "divide", "floor_divide", "remainder", "maximum", "minimum"),
    *("atan2", "hypot", "logaddexp", "pow", "copysign", "nextafter"),
)
COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
CLASSES = ("isnan", "isinf", "isfinite", "signbit")
REDUCTIONS = ("sum", "prod", "max", "min")
TYPES = (
    *(dtypes.float32, dtypes.float64, dtypes.float16, dtypes.bfloat16),
    *(dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64),
    *(dtypes.uint8, dtypes.uint16, dtypes.uint32, dtypes.uint64),
)


def _address(x: np.ndarray) -> int:
    return int(x.ctypes.data)


def unary(name: str, x: np.ndarray, out: np.ndarray) -> None:
    """Let out = name(x)."""
    kernel = library().mj_unary
    kernel(UNARY.index(name), TYPES.index(x.dtype), x.size, _address(x), _address(out))


def binary(name: str, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Let out = name(a, b); a and b have as many elements as out, or one."""
    function, kind = BINARY.index(name), TYPES.index(out.dtype)
    a_step, b_step = int(a.size == out.size), int(b.size == out.size)
    library().mj_binary(
        function, kind, out.size, _address(a), a_step, _address(b), b_step, _address(out)
    )


def compare(name: str, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Let out = name(a, b), of bool; a and b have as many elements as out, or one."""
    function, kind = COMPARISONS.index(name), TYPES.index(a.dtype)
    a_step, b_step = int(a.size == out.size), int(b.size == out.size)
    library().mj_compare(
        function, kind, out.size, _address(a), a_step, _address(b), b_step, _address(out)
    )


def classify(name: str, x: np.ndarray, out: np.ndarray) -> None:
    """Let out = name(x), of bool."""
    function, kind = CLASSES.index(name), TYPES.index(x.dtype)
    library().mj_classify(function, kind, x.size, _address(x), _address(out))


def order_key(x: np.ndarray, out: np.ndarray) -> None:
    """Let out = unsigned integers in whose order the elements of x are sorted, NaN last."""
    library().mj_order_key(TYPES.index(x.dtype), x.size, _address(x), _address(out))


def cast(x: np.ndarray, out: np.ndarray) -> None:
    """Let out = x in the other type; neither is bool."""
    source, target = TYPES.index(x.dtype), TYPES.index(out.dtype)
    library().mj_cast(source, target, x.size, _address(x), _address(out))


def reduce(name: str, x: np.ndarray, out: np.ndarray) -> None:
    """Reduce the middle axis of x, (outer, n, inner), to out, (outer, inner)."""
    function, kind = REDUCTIONS.index(name), TYPES.index(x.dtype)
    library().mj_reduce(function, kind, *x.shape, _address(x), _address(out))


def reduce_squares(x: np.ndarray, means: np.ndarray, out: np.ndarray) -> None:
    """Sum the squares of x - means over the middle axis of x."""
    kind = TYPES.index(x.dtype)
    library().mj_reduce_squares(kind, *x.shape, _address(x), _address(means), _address(out))


def cumulate(name: str, x: np.ndarray, out: np.ndarray) -> None:
    """Let out = running sum or product along the middle axis of x, (outer, n, inner)."""
    function, kind = REDUCTIONS.index(name), TYPES.index(x.dtype)
    library().mj_cumulate(function, kind, *x.shape, _address(x), _address(out))


def matmul(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Let out = a b for matrices of one floating type."""
    (m, k), n = a.shape, b.shape[1]
    if out.dtype == dtypes.float32:
        library().mj_gemm(m, n, k, _address(a), k, 1, _address(b), n, 1, _address(out), n)
    else:
        library().mj_gemm_double(m, n, k, _address(a), _address(b), _address(out))


def dot_rows(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Let out_i = the sum over j of a_ij b_ij."""
    kind = TYPES.index(a.dtype)
    library().mj_dot_rows(kind, *a.shape, _address(a), _address(b), _address(out))
