"""Elementwise operations. Bodies: kernels/elementwise.h."""

from __future__ import annotations

from typing import Any

from majelpy.array import Array, checks, empty, operands


def add(a: Any, b: Any) -> Array:
    """Return a + b, elementwise; float32 of one shape."""
    return _binary("add", "mj_add_arrays", a, b)


def multiply(a: Any, b: Any) -> Array:
    """Return a * b, elementwise; float32 of one shape."""
    return _binary("multiply", "mj_multiply_arrays", a, b)


def rectify(x: Any) -> Array:
    """Return the clipped rectifier min(max(x, 0), 20) (Hannun et al. 2014, section 2)."""
    a = operands.floats("rectify", "x", x)
    on, place = operands.kernels("rectify", x=a)
    out = empty(a.shape, device=place)
    on.mj_rectify_array(a.size, a.pointer, out.pointer)
    return out


def rectify_backward(dy: Any, y: Any) -> Array:
    """Return the gradient by the rectifier's input: dy where 0 < y < 20, else +0."""
    return _binary("rectify_backward", "mj_rectify_backward_array", dy, y)


def round_bfloat16(x: Any) -> Array:
    """Return x rounded to bfloat16, to nearest even, as float32; a NaN stays one."""
    a = operands.floats("round_bfloat16", "x", x)
    on, place = operands.kernels("round_bfloat16", x=a)
    out = empty(a.shape, device=place)
    on.mj_round_bfloat16_array(a.size, a.pointer, out.pointer)
    return out


def bias(x: Any, b: Any, *, clipped: bool = False) -> Array:
    """Return x + b for each row, through the clipped rectifier if asked.

    Parameters
    ----------
    x : (rows, columns) float32
    b : (columns,) float32
    """
    a, v = operands.matrix("bias", "x", x), operands.vector("bias", "b", b)
    checks.columns("bias", "b", v, a.shape[1])
    on, place = operands.kernels("bias", x=a, b=v)
    out = empty(a.shape, device=place)
    kernel = on.mj_bias_rectify_rows if clipped else on.mj_bias_rows
    kernel(*a.shape, a.pointer, v.pointer, out.pointer)
    return out


def normalise(x: Any, mean: Any, scale: Any) -> Array:
    """Return (x - mean) * scale for each row; mean and scale are (columns,) float32."""
    a = operands.matrix("normalise", "x", x)
    m, s = operands.vector("normalise", "mean", mean), operands.vector("normalise", "scale", scale)
    checks.columns("normalise", "mean", m, a.shape[1])
    checks.columns("normalise", "scale", s, a.shape[1])
    on, place = operands.kernels("normalise", x=a, mean=m, scale=s)
    out = empty(a.shape, device=place)
    on.mj_normalise_rows(*a.shape, a.pointer, m.pointer, s.pointer, out.pointer)
    return out


def context(x: Any, offsets: Any, frames: int) -> Array:
    """Return each row with the ``frames`` rows before and after it, +0 past an utterance's ends.

    Parameters
    ----------
    x : (rows, features) float32
    offsets : (utterances + 1,) int64
        First row of each utterance, and the number of rows.
    frames : int
        Rows on each side.

    Returns
    -------
    Array of shape (rows, (2 * frames + 1) * features)
    """
    a = operands.matrix("context", "x", x)
    rows = checks.offsets("context", offsets, a.shape[0])
    on, place = operands.kernels("context", x=a)
    out = empty((a.shape[0], (2 * frames + 1) * a.shape[1]), device=place)
    on.mj_context_rows(len(rows) - 1, rows.ctypes.data, a.shape[1], frames, a.pointer, out.pointer)
    return out


def _binary(name: str, kernel: str, x: Any, y: Any) -> Array:
    a, b = operands.floats(name, "the first array", x), operands.floats(name, "the second array", y)
    checks.same_shape(name, a, b)
    on, place = operands.kernels(name, **{"the first array": a, "the second array": b})
    out = empty(a.shape, device=place)
    getattr(on, kernel)(a.size, a.pointer, b.pointer, out.pointer)
    return out
