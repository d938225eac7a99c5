"""Calls of the array library's entry points that the CPU and a GPU must answer with the same bits.

Policy. Every function on every type, over ordinary numbers and `edges`: zeros, denormals, the ends
of the range, infinities and NaN of either sign. Lengths are at and beside the edges of chunks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from makers import level_data, level_double, touchy_data, touchy_double, words
from one_case import Case, Out

from majelpy.array import kernels
from majelpy.memory import dtypes

SOME = 300
TOUCHY: dict[Any, Callable[..., np.ndarray]] = {
    dtypes.float32: touchy_data,
    dtypes.float64: touchy_double,
}
LEVEL: dict[Any, Callable[..., np.ndarray]] = {
    dtypes.float32: level_data,
    dtypes.float64: level_double,
}


def edges(kind: np.dtype) -> np.ndarray:
    """Return the numbers at the edges of a floating type, of either sign."""
    info = np.finfo(kind)
    least, most = info.smallest_subnormal, info.max
    largest_denormal = np.nextafter(info.smallest_normal, kind.type(0))
    small = [0, least, largest_denormal, info.smallest_normal, info.eps]
    positive = np.array([*small, 0.5, 1, 1.5, 2, 1e9, most, np.inf, np.nan], kind)
    return np.concatenate([positive, np.copysign(positive, kind.type(-1))])


def numbers(kind: np.dtype, seed: int) -> np.ndarray:
    """Return touchy, level and near numbers, and the edges."""
    touchy, level = TOUCHY[kind](SOME, seed), LEVEL[kind](SOME, seed + 1, 64.0)
    return np.concatenate([touchy, level, LEVEL[kind](SOME, seed + 2, 1.0), edges(kind)])


def pairs(kind: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Return two operands: ordinary numbers, equal ones, and every pair of edges."""
    a, b = numbers(kind, 61), numbers(kind, 71)
    edge = edges(kind)
    left, right = np.repeat(edge, len(edge)), np.tile(edge, len(edge))
    return np.concatenate([a, a[:9], left]), np.concatenate([b, a[:9], right])


def elementwise() -> Iterator[Case]:
    for number, kind in enumerate(dtypes.FLOATS):
        unsigned = np.dtype(f"u{kind.itemsize}")
        x = numbers(kind, 61)
        for size in (0, 1, len(x)):
            for f, name in enumerate(kernels.UNARY):
                arguments: tuple[Any, ...] = (f, number, size, x[:size], Out((size,), dtype=kind))
                if size == len(x) or name in ("exp", "abs"):
                    yield Case(f"{name} {kind} {size}", "mj_unary", arguments)
            for f, name in enumerate(kernels.CLASSES):
                arguments = (f, number, size, x[:size], Out((size,), dtype=np.uint8))
                yield Case(f"{name} {kind} {size}", "mj_classify", arguments)
            arguments = (number, size, x[:size], Out((size,), dtype=unsigned))
            yield Case(f"order key {kind} {size}", "mj_order_key", arguments)
        a, b = pairs(kind)
        for entry, names, result in (
            ("mj_binary", kernels.BINARY, kind),
            ("mj_compare", kernels.COMPARISONS, np.uint8),
        ):
            for f, name in enumerate(names):
                for a_step, b_step in ((1, 1), (0, 1), (1, 0)):
                    left, right = (v if step else v[:1] for v, step in ((a, a_step), (b, b_step)))
                    size = len(a) if a_step and b_step else SOME
                    operands = (left[:size], a_step, right[:size], b_step)
                    arguments = (f, number, size, *operands, Out((size,), dtype=result))
                    yield Case(f"{name} {kind} {a_step}{b_step}", entry, arguments)


def in_memory(kind: np.dtype) -> np.dtype:
    """Return the type itself, or uint16 for bfloat16, which NumPy has not."""
    return np.dtype(np.uint16) if kind == dtypes.bfloat16 else kind


def values(kind: np.dtype) -> np.ndarray:
    """Return numbers of all sizes of a type; NaN is positive, for its sign may be lost on a GPU."""
    if kind in dtypes.INTEGERS:
        info = np.iinfo(kind)
        raw = np.uint64(words((SOME, 2), 81)) @ np.array([1 << 32, 1], np.uint64)
        spread = (raw >> np.arange(SOME, dtype=np.uint64) % np.uint64(64)).astype(kind)
        return np.concatenate([spread, np.array([info.min, info.max, 0, 1], kind)])
    if kind in dtypes.FLOATS:
        x = TOUCHY[kind](SOME, 82)
        powers = np.array([2.0**e for e in (7, 8, 15, 16, 31, 32, 63, 64)], kind)
        near = np.concatenate([powers, np.nextafter(powers, kind.type(0)), powers - kind.type(0.5)])
        found = np.concatenate([x, x * x.dtype.type(2.0**44), near, -near, edges(kind)])
        return np.where(np.isnan(found), kind.type(np.nan), found)
    bits = words(SOME, 83).astype(np.uint16)
    infinity = 0x7C00 if kind == dtypes.float16 else 0x7F80
    bits[:6] = 0, 0x8000, 1, infinity, 0x8000 | infinity, infinity | 0x40 | 0x200
    return np.where(bits & 0x7FFF > infinity, bits[5], bits).astype(np.uint16)


def conversions() -> Iterator[Case]:
    for (i, source), (j, target) in itertools.product(enumerate(kernels.TYPES), repeat=2):
        x = values(source)
        arguments = (i, j, len(x), x, Out((len(x),), dtype=in_memory(target)))
        name = f"cast {dtypes.name_of(source)} {dtypes.name_of(target)}"
        yield Case(name, "mj_cast", arguments)
    yield Case("cast nothing", "mj_cast", (0, 1, 0, values(dtypes.float32)[:0], Out((0,))))


SHAPES = (
    *((0, 5, 3), (3, 0, 2), (2, 3, 0), (1, 1, 1), (70, 3, 1), (5, 31, 1), (65, 32, 1)),
    *((2, 255, 1), (2, 256, 1), (3, 257, 1), (2, 300, 5), (1, 520, 33), (2, 8200, 1)),
)
"""Outer, n, inner: short and long rows, one chunk and several, a block of chunks and more."""

LONG = (1, 66_000, 1)
"""More chunks than a block has threads."""


def factors(kind: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Return numbers of either sign near 1."""
    near = 1 + LEVEL[kind](shape, 84, 2.0**-6)
    return np.asarray(np.copysign(near, LEVEL[kind](shape, 85)))


def reductions() -> Iterator[Case]:
    for number, kind in enumerate(dtypes.FLOATS):
        for outer, n, inner in (*SHAPES, LONG):
            shape, label = (outer, n, inner), f"{kind} {outer}x{n}x{inner}"
            x, z = TOUCHY[kind](shape, 86), factors(kind, shape)
            out = Out((outer, inner), dtype=kind)
            for f, name in enumerate(kernels.REDUCTIONS):
                arguments: tuple[Any, ...] = (f, number, *shape, z if name == "prod" else x, out)
                if shape != LONG or name == "sum":
                    yield Case(f"{name} {label}", "mj_reduce", arguments)
            for f, name in enumerate(("sum", "prod")):
                arguments = (f, number, *shape, z if f else x, Out(shape, dtype=kind))
                yield Case(f"cumulative {name} {label}", "mj_cumulate", arguments)
            if shape != LONG:
                arguments = (number, *shape, x, TOUCHY[kind]((outer, inner), 87), out)
                yield Case(f"squares {label}", "mj_reduce_squares", arguments)
            if shape != LONG and inner == 1:
                arguments = (number, outer, n, x, z, Out((outer,), dtype=kind))
                yield Case(f"dot rows {label}", "mj_dot_rows", arguments)
        edge = edges(kind)
        for label, some in (("edges", edge), ("edges but NaN", edge[~np.isnan(edge)])):
            for f, name in enumerate(kernels.REDUCTIONS):
                x = np.tile(some, 12)
                arguments = (f, number, 1, len(x), 1, x, Out((1,), dtype=kind))
                yield Case(f"{name} of {label} {kind}", "mj_reduce", arguments)


def products() -> Iterator[Case]:
    for m, n, k in ((1, 1, 1), (3, 5, 0), (0, 3, 2), (64, 64, 16), (65, 63, 257), (7, 130, 530)):
        a, b = touchy_double((m, k), 88), touchy_double((k, n), 89)
        arguments = (m, n, k, a, b, Out((m, n), dtype=np.float64))
        yield Case(f"gemm double {m}x{n}x{k}", "mj_gemm_double", arguments)
    tiny = touchy_double((9, 300), 90) * 2.0**-530, touchy_double((300, 8), 91) * 2.0**-530
    arguments = (9, 8, 300, *tiny, Out((9, 8), dtype=np.float64))
    yield Case("gemm double of denormals", "mj_gemm_double", arguments)


def random() -> Iterator[Case]:
    top = 1 << 63
    for n, key, stream in ((0, 1, 2), (1, 7, -1), (3, -top, 5), (300, 11, top - 1), (2053, -1, 0)):
        keys = (n, key, stream)
        arguments: tuple[Any, ...] = (*keys, Out((n,), dtype=np.uint64))
        yield Case(f"random bits {n}", "mj_random_bits", arguments)
        for number, kind in enumerate(dtypes.FLOATS):
            one = kind.type(1)
            for low, high in ((-1.5, 2.25), (one, np.nextafter(one, kind.type(2)))):
                arguments = (number, *keys, np.array([low, high], kind), Out((n,), dtype=kind))
                yield Case(f"uniform {kind} {n} from {low}", "mj_random_uniform", arguments)
            arguments = (number, *keys, Out((n,), dtype=kind))
            yield Case(f"normal {kind} {n}", "mj_random_normal", arguments)
        for low, span in ((0, 1), (-5, 6), (3, (1 << 32) + 1), (-top, -top), (-top, 0), (0, -1)):
            arguments = (*keys, low, span, Out((n,), dtype=np.int64))
            yield Case(f"integers {n} {low} {span}", "mj_random_integers", arguments)
        for heads in (0, 1 << 51, (1 << 53) - 1, 1 << 53):
            arguments = (*keys, heads, Out((n,), dtype=np.uint8))
            yield Case(f"coins {n} {heads}", "mj_random_coins", arguments)


FAMILIES = (elementwise, conversions, reductions, products, random)
