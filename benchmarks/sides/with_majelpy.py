"""majelpy's side of each case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from workload import ALPHABET, CONTEXT, FEATURES, LEAVES, Minibatch, matrices

from majelpy import __version__, native, ops, tree
from majelpy.array import asarray, zeros
from majelpy.nn.batch import Batch
from majelpy.nn.layer import Training
from majelpy.nn.model import Architecture, Model
from majelpy.nn.networks import deep_speech_1


def set_threads(threads: int) -> None:
    """Use so many threads."""
    native.set_threads(threads)


def verify() -> dict[str, Any]:
    """Say what runs."""
    return {
        "library": f"majelpy {__version__}",
        "kernel": native.isa(),
        "threads": native.threads(),
    }


def gemm(m: int, n: int, k: int) -> Callable[[], object]:
    """One product."""
    a, b = (asarray(x) for x in matrices(m, n, k))
    return lambda: ops.gemm(a, b)


def birnn(utterances: int, frames: int, units: int) -> Callable[[], object]:
    """A recurrent layer with its input product, forward and backward, all gradients."""
    random = np.random.default_rng(2)
    offsets = np.arange(0, utterances * frames + 1, frames)
    rows = utterances * frames
    x = asarray(random.standard_normal((rows, units)).astype(np.float32))
    w_in = asarray((random.standard_normal((2 * units, units)) * 0.02).astype(np.float32))
    w = asarray((random.standard_normal((2, units, units)) * 0.02).astype(np.float32))
    dy = asarray(random.standard_normal((rows, 2 * units)).astype(np.float32))
    leaf = ops.Leaves(np.array([0, rows]), np.zeros(1, np.int32))

    def layer() -> None:
        h = ops.rnn_forward(ops.gemm(x, w_in, transpose_b=True), offsets, w).h
        d = ops.rnn_backward(dy, offsets, w, h).dx
        before = ops.rnn_previous(h, offsets, 2)
        ops.gemm(d, w_in)
        ops.gemm(d, x, transpose_a=True)
        for direction in range(2):
            columns = (direction * units, (direction + 1) * units)
            slots = zeros((1, units * units))
            ops.gemm_leaves(d, before, leaf, slots, 0, a_columns=columns, b_columns=columns)

    return layer


def ctc(utterances: int, frames: int, labels: int) -> Callable[[], object]:
    """CTC of log-probabilities, loss and gradient."""
    random = np.random.default_rng(2)
    logits = random.standard_normal((utterances * frames, ALPHABET)).astype(np.float32)
    log_probs = ops.log_softmax(logits)
    targets = [random.integers(1, ALPHABET, labels).tolist() for _ in range(utterances)]
    offsets = np.arange(0, utterances * frames + 1, frames)
    return lambda: ops.ctc_loss(log_probs, offsets, targets)


def step(utterances: int, frames: tuple[int, int], labels: int, units: int) -> Callable[[], object]:
    """A training step of Deep Speech 1."""
    work = Minibatch(utterances, frames, labels)
    model = Model(
        Architecture(FEATURES, ALPHABET, deep_speech_1(CONTEXT, (units,) * 3, units, units))
    )
    layout = model.layout
    parameters, velocities = layout.initial(1), zeros(layout.size)
    offsets = np.concatenate([[0], np.cumsum(work.lengths)]).astype(np.int64)
    batch = Batch(
        asarray(np.concatenate(work.frames)),
        offsets,
        work.labels,
        [str(n) for n in range(utterances)],
        np.arange(utterances),
        np.arange(0, utterances + 1, utterances // LEAVES, dtype=np.int64),
        np.array(tree.merges(LEAVES, 0, LEAVES), dtype=np.int32),
        np.zeros(utterances, np.int64),
        np.diff(offsets),
    )
    slots = zeros((tree.depth(LEAVES, 0, LEAVES), layout.gradient_size))
    rate = asarray(np.full(1, 1e-5, np.float32))

    def advance() -> None:
        model.train(batch, parameters, slots, 1.0 / utterances, Training(1, 0))
        gradient = slots[0, : layout.size]
        _, factor = ops.factor_of(ops.square_sum(gradient), 10.0)
        ops.nesterov(
            parameters, velocities, gradient, factor=factor, rate=rate, momentum=0.9, decay=0.0
        )

    return advance


CASES = {"gemm": gemm, "birnn": birnn, "ctc": ctc, "step": step}
