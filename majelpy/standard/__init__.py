"""The functions of the Python Array API standard that stand above `Array`, and `einsum`.

Policy. Importing this package loads none of its modules: `majelpy` finds a function by `NAMES`, and
the first use of one loads its module.
"""

NAMES = {
    "arithmetic": (
        "abs add atan2 clip conj copysign divide floor_divide hypot logaddexp maximum minimum "
        "multiply negative nextafter positive pow real remainder sign subtract"
    ),
    "conversion": "__array_namespace_info__ astype",
    "creation": (
        "arange empty_like eye full full_like linspace meshgrid ones ones_like tril triu zeros_like"
    ),
    "einsum": "einsum",
    "elementary": (
        "acos acosh asin asinh atan atanh ceil cos cosh exp expm1 floor log log10 log1p "
        "log2 reciprocal round sin sinh sqrt square tan tanh trunc"
    ),
    "indexing": "take take_along_axis",
    "linalg": "matmul tensordot vecdot",
    "logic": (
        "bitwise_and bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift "
        "bitwise_xor equal greater greater_equal isfinite isinf isnan less less_equal "
        "logical_and logical_not logical_or logical_xor not_equal signbit"
    ),
    "manipulation": (
        "broadcast_arrays broadcast_shapes broadcast_to concat expand_dims flip "
        "matrix_transpose moveaxis permute_dims repeat reshape roll squeeze stack tile "
        "unstack"
    ),
    "searching": (
        "argmax argmin argsort isin nonzero searchsorted sort unique_all unique_counts "
        "unique_inverse unique_values where"
    ),
    "statistics": (
        "all any count_nonzero cumulative_prod cumulative_sum diff max mean min prod std sum var"
    ),
}
"""The functions of each module."""
