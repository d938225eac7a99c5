"""Log-softmax, the CTC loss and the best alignment. Bodies: kernels/ctc.h."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from majelpy import native
from majelpy.array import Array, checks, empty, operands
from majelpy.errors import ShapeError
from majelpy.wording import counted


def log_softmax(x: Any) -> Array:
    """Return the logarithm of the softmax of each row of x, (rows, columns) float32.

    Notes
    -----
    Order: canonical sum over the columns of exp(x - max).
    """
    a = operands.matrix("log_softmax", "x", x)
    on, place = operands.kernels("log_softmax", x=a)
    out = empty(a.shape, device=place)
    if a.shape[1]:
        on.mj_log_softmax_rows(*a.shape, a.pointer, out.pointer)
    return out


def _repeats(labels: Sequence[int]) -> int:
    return sum(a == b for a, b in itertools.pairwise(labels))


def frames_needed(labels: Sequence[int]) -> int:
    """Fewest frames that can carry these labels: one each, and a blank between equal ones."""
    return max(1, len(labels) + _repeats(labels))


def ctc_loss(
    log_probs: Any,
    offsets: Any,
    labels: Sequence[Sequence[int]],
    *,
    scale: float = 1.0,
    names: Sequence[str] | None = None,
) -> tuple[Array, Array]:
    """Return the loss of each utterance and the gradient by the logits.

    Parameters
    ----------
    log_probs : (rows, V) float32
        Log-softmax of the logits; column 0 is the blank. Utterances one after another.
    offsets : (utterances + 1,) int64
        First row of each utterance, and the number of rows.
    labels : one sequence of int an utterance
        Each in 1 .. V-1; may be empty.
    scale : float
        Multiplies the gradient (not the losses).
    names : sequence of str, optional
        For error messages.

    Returns
    -------
    losses : (utterances,) float32
        Negative logarithm (natural) of the likelihood.
    gradient : (rows, V) float32
        By the logits, not by the log-probabilities.

    Raises
    ------
    ShapeError
        If an utterance has too few frames for its labels, or a label is out of range.

    Notes
    -----
    Order: see kernels/ctc.h; posteriors of a label and of a frame are canonical sums over states.

    References
    ----------
    Graves et al. 2006, Connectionist Temporal Classification, equations 6 to 16.
    """
    lp = operands.matrix("ctc_loss", "log_probs", log_probs)
    rows = checks.offsets("ctc_loss", offsets, lp.shape[0])
    if len(labels) != len(rows) - 1:
        raise ShapeError(f"ctc_loss: {len(labels)} label sequences for {len(rows) - 1} utterances")
    for n, sequence in enumerate(labels):
        name = repr(names[n]) if names else str(n)
        frames, need = int(rows[n + 1] - rows[n]), frames_needed(sequence)
        if frames < need:
            repeats = _repeats(sequence)
            raise ShapeError(
                f"ctc_loss: utterance {name} has {frames} frames for {len(sequence)} labels with "
                f"{counted(repeats, 'repeat')}; needs at least {need}"
            )
        bad = [v for v in sequence if not 1 <= v < lp.shape[1]]
        if bad:
            raise ShapeError(
                f"ctc_loss: utterance {name} has label {bad[0]}; needs 1..{lp.shape[1] - 1}"
            )
    flat = np.array([v for sequence in labels for v in sequence], dtype=np.int32)
    label_offsets = np.cumsum([0, *(len(s) for s in labels)], dtype=np.int64)
    on, place = operands.kernels("ctc_loss", log_probs=lp)
    losses, gradient = empty(len(labels), device=place), empty(lp.shape, device=place)
    on.mj_ctc(
        len(labels),
        rows.ctypes.data,
        lp.shape[1],
        lp.pointer,
        label_offsets.ctypes.data,
        flat.ctypes.data,
        scale,
        losses.pointer,
        gradient.pointer,
    )
    return losses, gradient


def argmax(x: Any) -> np.ndarray:
    """Return the index of the first largest value of each row, int32 (rows,), on the host."""
    a = operands.matrix("argmax", "x", x)
    out = np.zeros(a.shape[0], dtype=np.int32)
    if a.shape[1]:
        on, _ = operands.kernels("argmax", x=a)
        on.mj_argmax_rows(*a.shape, a.pointer, out.ctypes.data)
    return out


def align(
    log_probs: Any, starts: Sequence[int], stops: Sequence[int], labels: Sequence[Sequence[int]]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the first and the last frame of each label on the best path of each text.

    Parameters
    ----------
    log_probs : (rows, V) float32
        As in `beam_search`.
    starts, stops : sequence of int
        Rows ``starts[n]..stops[n]`` belong to text n; texts may share rows.
    labels : one sequence of int a text
        Each in 1 .. V-1.

    Raises
    ------
    ShapeError
        If a text does not fit its frames.

    Notes
    -----
    Order: along the path; of equal paths the one that stays in a state longest.
    """
    lp = operands.matrix("align", "log_probs", log_probs)
    checks.on_cpu("align", log_probs=lp)
    for n, (start, stop, text) in enumerate(zip(starts, stops, labels, strict=True)):
        if not 0 <= start <= stop <= lp.shape[0]:
            raise ShapeError(f"align: text {n} has rows {start}..{stop} of {lp.shape[0]}")
        if text and stop - start < frames_needed(text):
            raise ShapeError(
                f"align: text {n} has {stop - start} frames; needs {frames_needed(text)}"
            )
        if any(not 1 <= v < lp.shape[1] for v in text):
            raise ShapeError(f"align: text {n} has a label outside 1..{lp.shape[1] - 1}")
    flat = np.array([v for text in labels for v in text], dtype=np.int32)
    offsets = np.cumsum([0, *(len(text) for text in labels)], dtype=np.int64)
    first, last = np.full_like(flat, -1), np.full_like(flat, -1)
    begin, end = np.array(starts, dtype=np.int64), np.array(stops, dtype=np.int64)
    native.library().mj_ctc_align(
        len(labels),
        begin.ctypes.data,
        end.ctypes.data,
        lp.shape[1],
        lp.pointer,
        offsets.ctypes.data,
        flat.ctypes.data,
        first.ctypes.data,
        last.ctypes.data,
    )
    return [(first[a:b], last[a:b]) for a, b in itertools.pairwise(offsets)]
