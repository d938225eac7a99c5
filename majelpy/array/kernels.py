"""Kernels of the array library, and what runs and moves on a place.

Policy. Operands and results are arrays on one place; kernels get their addresses, and the numbers
of functions and types (majelpy.memory.numbering). Bodies: kernels/standard*.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from majelpy import native
from majelpy.memory import dtypes
from majelpy.memory.numbering import BINARY, CLASSES, COMPARISONS, REDUCTIONS, TYPES, UNARY
from majelpy.memory.place import CPU, Place

if TYPE_CHECKING:
    from majelpy.array.array import Array


def device(place: Place) -> Any:
    """Return the launcher of a GPU (majelpy.gpu.device.Device), started at the first call."""
    from majelpy.gpu import device as gpu

    return gpu.device(place)


def library(place: Place) -> Any:
    """Return the entry points of a place: kernels/entry_points.h."""
    if place == CPU:
        return native.library()
    from majelpy.gpu import device as gpu

    return gpu.library(place)


def mover(place: Place) -> Any:
    """Return the module that moves elements on a place: NumPy, or a GPU's CuPy."""
    return np if place == CPU else device(place).mover


def gpus() -> tuple[Place, ...]:
    """Return the GPUs of this machine; none where CuPy is missing or finds none."""
    from majelpy.gpu import device as gpu

    return gpu.places()


def unary(name: str, x: Array, out: Array) -> None:
    """Let out = name(x)."""
    kernel = library(out.place).mj_unary
    kernel(UNARY.index(name), TYPES.index(x.dtype), x.size, x.pointer, out.pointer)


def binary(name: str, a: Array, b: Array, out: Array) -> None:
    """Let out = name(a, b); a and b have as many elements as out, or one."""
    function, kind = BINARY.index(name), TYPES.index(out.dtype)
    a_step, b_step = int(a.size == out.size), int(b.size == out.size)
    library(out.place).mj_binary(
        function, kind, out.size, a.pointer, a_step, b.pointer, b_step, out.pointer
    )


def compare(name: str, a: Array, b: Array, out: Array) -> None:
    """Let out = name(a, b), of bool; a and b have as many elements as out, or one."""
    function, kind = COMPARISONS.index(name), TYPES.index(a.dtype)
    a_step, b_step = int(a.size == out.size), int(b.size == out.size)
    library(out.place).mj_compare(
        function, kind, out.size, a.pointer, a_step, b.pointer, b_step, out.pointer
    )


def classify(name: str, x: Array, out: Array) -> None:
    """Let out = name(x), of bool."""
    function, kind = CLASSES.index(name), TYPES.index(x.dtype)
    library(out.place).mj_classify(function, kind, x.size, x.pointer, out.pointer)


def order_key(x: Array, out: Array) -> None:
    """Let out = unsigned integers in whose order the elements of x are sorted, NaN last."""
    library(out.place).mj_order_key(TYPES.index(x.dtype), x.size, x.pointer, out.pointer)


def cast(x: Array, out: Array) -> None:
    """Let out = x in the other type; neither is bool."""
    source, target = TYPES.index(x.dtype), TYPES.index(out.dtype)
    library(out.place).mj_cast(source, target, x.size, x.pointer, out.pointer)


def reduce(name: str, x: Array, out: Array) -> None:
    """Reduce the middle axis of x, (outer, n, inner), to out, (outer, inner)."""
    function, kind = REDUCTIONS.index(name), TYPES.index(x.dtype)
    library(out.place).mj_reduce(function, kind, *x.shape, x.pointer, out.pointer)


def reduce_squares(x: Array, means: Array, out: Array) -> None:
    """Sum the squares of x - means over the middle axis of x."""
    kind = TYPES.index(x.dtype)
    kernel = library(out.place).mj_reduce_squares
    kernel(kind, *x.shape, x.pointer, means.pointer, out.pointer)


def cumulate(name: str, x: Array, out: Array) -> None:
    """Let out = running sum or product along the middle axis of x, (outer, n, inner)."""
    function, kind = REDUCTIONS.index(name), TYPES.index(x.dtype)
    library(out.place).mj_cumulate(function, kind, *x.shape, x.pointer, out.pointer)


def matmul(a: Array, b: Array, out: Array) -> None:
    """Let out = a b for matrices of one floating type."""
    (m, k), n = a.shape, b.shape[1]
    on = library(out.place)
    if out.dtype == dtypes.float32:
        on.mj_gemm(m, n, k, 1, a.pointer, k, 1, b.pointer, n, 1, out.pointer, n)
    else:
        on.mj_gemm_double(m, n, k, a.pointer, b.pointer, out.pointer)


def dot_rows(a: Array, b: Array, out: Array) -> None:
    """Let out_i = the sum over j of a_ij b_ij."""
    kind = TYPES.index(a.dtype)
    library(out.place).mj_dot_rows(kind, *a.shape, a.pointer, b.pointer, out.pointer)


def random_keys(count: int, key: int, stream: int, first: int) -> np.ndarray:
    """Return the children of a key from number ``first`` on, (count, 2) words of 64 bits."""
    out = np.empty((count, 2), np.uint64)
    on = native.library()
    on.mj_random_keys(count, signed(key), signed(stream), signed(first), out.ctypes.data)
    return out


def random_bits(key: int, stream: int, out: Array) -> None:
    """Let out = random words, of uint64."""
    library(out.place).mj_random_bits(out.size, signed(key), signed(stream), out.pointer)


def random_uniform(key: int, stream: int, ends: Array, out: Array) -> None:
    """Let out = random numbers from ends[0] on, below ends[1]."""
    kind, keys = TYPES.index(out.dtype), (signed(key), signed(stream))
    library(out.place).mj_random_uniform(kind, out.size, *keys, ends.pointer, out.pointer)


def random_normal(key: int, stream: int, out: Array) -> None:
    """Let out = standard normal numbers."""
    kind, keys = TYPES.index(out.dtype), (signed(key), signed(stream))
    library(out.place).mj_random_normal(kind, out.size, *keys, out.pointer)


def random_integers(key: int, stream: int, low: int, span: int, out: Array) -> None:
    """Let out, of int64, = random integers from ``low`` on, ``span`` of them; modulo 2^64."""
    arguments = (signed(key), signed(stream), signed(low), signed(span))
    library(out.place).mj_random_integers(out.size, *arguments, out.pointer)


def random_coins(key: int, stream: int, heads: int, out: Array) -> None:
    """Let out, of bool, = True with probability heads / 2^53."""
    library(out.place).mj_random_coins(out.size, signed(key), signed(stream), heads, out.pointer)


def signed(word: int) -> int:
    """Return the integer modulo 2^64 as the signed one that a kernel's argument is."""
    low = word & 0xFFFF_FFFF_FFFF_FFFF
    return low - (1 << 64) if low >> 63 else low
