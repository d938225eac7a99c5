"""Data for tests, and the canonical arithmetic a second time, slowly.

Policy. Data come from integers (SHAKE-256) alone, so they are the same on any machine; NumPy
promises that for none of its random streams. `exact_data` makes every order of a sum exact, so
that a failure is an index error. `touchy_data` makes any other order visible in the bits.
The references follow the text of docs/determinism.md, not the kernels: one output at a time
where NumPy allows it, float32 all through, products and sums fused by `fma`.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

CHUNK = 256
"""Terms of a chunk of the canonical sum."""

U = 2.0**-24
"""Unit roundoff of float32: one rounding changes a value by at most this share of it."""


def words(shape: Any, seed: int) -> np.ndarray:
    """Return random uint32 words of that shape."""
    noise = hashlib.shake_256(f"majelpy {seed}".encode()).digest(4 * math.prod(sizes(shape)))
    return np.frombuffer(noise, "<u4").astype(np.uint32).reshape(sizes(shape))


def sizes(shape: Any) -> tuple[int, ...]:
    """Return a shape as a tuple."""
    return (shape,) if isinstance(shape, int) else tuple(shape)


def exact_data(shape: Any, seed: int) -> np.ndarray:
    """Return quarters of integers in -8..7: 2^15 products of two sum exactly in any order."""
    return ((words(shape, seed) % 16).astype(np.float32) - 8) / 4


def touchy_data(shape: Any, seed: int, *, tiny: bool = False) -> np.ndarray:
    """Return numbers of mixed signs and magnitudes 2^-20 to 2^20, denormals and both zeros.

    With ``tiny`` the magnitudes are 2^-90 to 2^-60: products of two are denormal.
    """
    raw = words((*sizes(shape), 2), seed)
    bits, kind = raw[..., 0], raw[..., 1] % 16
    low, spread = (127 - 90, 31) if tiny else (127 - 20, 41)
    exponent = np.where(kind < 2, 0, low + (bits >> 23 & 0xFF) % spread).astype(np.uint32)
    mantissa = np.where(kind == 0, 0, bits & 0x7FFFFF).astype(np.uint32)
    return np.array(bits & 0x80000000 | exponent << 23 | mantissa).view(np.float32)


def touchy_double(shape: Any, seed: int) -> np.ndarray:
    """Return the like of `touchy_data` in float64, with 52 bits."""
    raw = words((*sizes(shape), 4), seed)
    fraction = np.uint64(raw[..., 0] & 0xFFFFF) << np.uint64(32) | np.uint64(raw[..., 1])
    kind = raw[..., 2] % 16
    exponent = np.where(kind < 2, 0, 1023 - 20 + raw[..., 3] % 41).astype(np.uint64)
    sign = np.uint64(raw[..., 0] >> 31) << np.uint64(63)
    mantissa = np.where(kind == 0, np.uint64(0), fraction)
    return np.array(sign | exponent << np.uint64(52) | mantissa).view(np.float64)


def level_double(shape: Any, seed: int, span: float = 4.0) -> np.ndarray:
    """Return the like of `level_data` in float64; a power of two keeps all 53 bits."""
    raw = words((*sizes(shape), 2), seed)
    whole = np.uint64(raw[..., 0]) << np.uint64(21) | np.uint64(raw[..., 1] >> 11)
    return whole.astype(np.float64) * (span * 2.0**-52) - span


def level_data(shape: Any, seed: int, span: float = 4.0) -> np.ndarray:
    """Return numbers spread evenly in [-span, span); a power of two keeps all 24 bits."""
    return (words(shape, seed) >> 8).astype(np.float32) * np.float32(span * 2.0**-23) - np.float32(
        span
    )


def same_bits(a: Any, b: Any) -> bool:
    """Say whether two arrays have one shape, one type and the same bytes."""
    x, y = np.asarray(a), np.asarray(b)
    return x.shape == y.shape and x.dtype == y.dtype and x.tobytes() == y.tobytes()


def digest(*arrays: Any) -> str:
    """Return the SHA-256 over the bytes of arrays."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(np.ascontiguousarray(np.asarray(array)).tobytes())
    return total.hexdigest()


# --- rounding -------------------------------------------------------------------------------


def round_exact(x: Fraction) -> float:
    """Return the float32 nearest to a rational, ties to even, as a Python float."""
    if x == 0:
        return 0.0
    exponent = abs(x.numerator).bit_length() - x.denominator.bit_length()
    if abs(x) < Fraction(2) ** exponent:
        exponent -= 1
    quantum = Fraction(2) ** (max(exponent, -126) - 23)
    value = round(x / quantum) * quantum  # Python rounds a half to even
    if abs(value) >= 2**128:
        return math.copysign(math.inf, x)
    return math.copysign(float(abs(value)), x)


def fma_exact(a: float, b: float, c: float) -> float:
    """Return a * b + c of finite float32, rounded once: rational arithmetic."""
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        signs = math.copysign(1, a) * math.copysign(1, b), math.copysign(1, c)
        return -0.0 if signs == (-1, -1) else 0.0
    return round_exact(exact)


def fma(a: Any, b: Any, c: Any) -> np.ndarray:
    """Return a * b + c of finite float32 arrays, rounded once; tests hold it to `fma_exact`.

    The product is exact in float64. Its sum with c is rounded to odd there, which leaves the
    rounding to float32 right (Boldo and Melquiond 2008).
    """
    product = np.asarray(a, np.float64) * np.asarray(b, np.float64)
    addend = np.asarray(c, np.float64)
    total = np.asarray(product + addend)
    part = total - product
    error = (product - (total - part)) + (addend - part)
    even = (error != 0) & (total.view(np.int64) & 1 == 0)
    inward = (error > 0) != (total > 0)
    odd = total.view(np.int64) + np.where(even, np.where(inward, -1, 1), 0)
    with np.errstate(over="ignore"):
        return odd.view(np.float64).astype(np.float32)


# --- canonical sums ---------------------------------------------------------------------------


def canonical(count: int, term: Callable[[np.ndarray, int], np.ndarray], like: Any) -> np.ndarray:
    """Return the canonical sum of `count` terms: term(sum so far, index) adds one."""
    zero = np.zeros_like(like, dtype=np.float32)
    total = zero
    for start in range(0, count, CHUNK):
        chunk = zero
        for i in range(start, min(start + CHUNK, count)):
            chunk = term(chunk, i)
        total = chunk if start == 0 else total + chunk
    return total


def gemm(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the canonical product of (m, k) and (k, n)."""
    like = np.zeros((a.shape[0], b.shape[1]))
    return canonical(a.shape[1], lambda s, k: fma(a[:, k, None], b[None, k], s), like)


def sum_rows(x: np.ndarray) -> np.ndarray:
    """Return the canonical sum of each column."""
    return canonical(len(x), lambda s, i: s + x[i], np.zeros(x.shape[1]))


def square_sum(x: np.ndarray) -> np.ndarray:
    """Return the canonical sum of squares of a vector, shape (1,)."""
    return canonical(len(x), lambda s, i: fma(x[i], x[i], s), np.zeros(1))


def tree(values: Sequence[np.ndarray]) -> np.ndarray:
    """Return the sum by the tree's definition: the left child has the largest power of two."""
    if len(values) == 1:
        return values[0]
    left = 1
    while left * 2 < len(values):
        left *= 2
    return tree(values[:left]) + tree(values[left:])


def rectify(x: np.ndarray) -> np.ndarray:
    """Return min(max(x, 0), 20) as the rectifier has it."""
    x = np.where(x < 0, np.float32(0), x)
    return np.where(x > 20, np.float32(20), x)


def gemm_in_parts(a: np.ndarray, b: np.ndarray, parts: int) -> np.ndarray:
    """Return the product whose sum over k is cut in parts at multiples of 16, added by the tree."""
    lines = -(-a.shape[1] // 16)
    at = [min(p * lines // parts * 16, a.shape[1]) for p in range(parts + 1)]
    return tree([gemm(a[:, i:j], b[i:j]) for i, j in itertools.pairwise(at)])


def rectify_backward(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return dy where 0 < y < 20, else +0."""
    return np.where((y <= 0) | (y >= 20), np.float32(0), dy)


def steps(
    offsets: Sequence[int], direction: int, *, backwards: bool = False
) -> Iterator[list[int]]:
    """Yield the rows of each utterance in the order in which a direction visits them."""
    for first, last in itertools.pairwise(offsets):
        rows = list(range(first, last))
        yield rows[::-1] if (direction % 2 == 1) != backwards else rows


def rnn_forward(
    x: np.ndarray,
    offsets: Sequence[int],
    weight: np.ndarray,
    parts: int = 1,
    operand: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> np.ndarray:
    """Return h_t = clip(x_t + W operand(h_{t-1})), utterance after utterance, frame after frame."""
    h = np.zeros_like(x)
    hidden = weight.shape[1]
    for d, w in enumerate(weight):
        columns = slice(d * hidden, (d + 1) * hidden)
        for rows in steps(offsets, d):
            for i, row in enumerate(rows):
                total = x[row, columns]
                if i:
                    before = operand(h[None, rows[i - 1], columns])
                    total = total + gemm_in_parts(before, w.T, parts)[0]
                h[row, columns] = rectify(total)
    return h


def rnn_backward(
    dy: np.ndarray,
    offsets: Sequence[int],
    weight: np.ndarray,
    h: np.ndarray,
    parts: int = 1,
    operand: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> np.ndarray:
    """Return (dy_t + W^T operand(d_{t+1})) where 0 < h_t < 20: by the input of the rectifier."""
    d_x = np.zeros_like(dy)
    hidden = weight.shape[1]
    for d, w in enumerate(weight):
        columns = slice(d * hidden, (d + 1) * hidden)
        for rows in steps(offsets, d, backwards=True):
            for i, row in enumerate(rows):
                total = dy[row, columns]
                if i:
                    after = operand(d_x[None, rows[i - 1], columns])
                    total = total + gemm_in_parts(after, w, parts)[0]
                d_x[row, columns] = rectify_backward(total, h[row, columns])
    return d_x


def philox(key: int, low: int, high: int) -> list[int]:
    """Return a block from the paper's definition (Salmon et al., SC 2011), in Python integers."""
    mask = 0xFFFF_FFFF
    counter = [low & mask, low >> 32, high & mask, high >> 32]
    keys = [key & mask, key >> 32]
    for _ in range(10):
        left, right = counter[0] * 0xD2511F53, counter[2] * 0xCD9E8D57
        counter = [
            (right >> 32) ^ counter[1] ^ keys[0],
            right & mask,
            (left >> 32) ^ counter[3] ^ keys[1],
            left & mask,
        ]
        keys = [(keys[0] + 0x9E3779B9) & mask, (keys[1] + 0xBB67AE85) & mask]
    return counter
