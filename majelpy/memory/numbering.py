"""Which number stands for which function and type where kernels are called.

Policy. The order of names is that of the tables in kernels/cpu/standard*.cpp.
"""

from __future__ import annotations

from majelpy.memory import dtypes

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
    dtypes.float32,
    dtypes.float64,
    dtypes.float16,
    dtypes.bfloat16,
    dtypes.int8,
    dtypes.int16,
    dtypes.int32,
    dtypes.int64,
    dtypes.uint8,
    dtypes.uint16,
    dtypes.uint32,
    dtypes.uint64,
)
