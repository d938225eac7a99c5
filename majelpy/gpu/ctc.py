"""Launches of CTC and of the log-softmax (kernels/gpu/ctc.cu)."""

from __future__ import annotations

import numpy as np

from majelpy.gpu import build
from majelpy.gpu.launcher import Launcher, ceil_div, elements, host

LATTICE_THREADS = build.constant("MJ_LATTICE_THREADS")
"""Most threads of a block of the lattice."""


def mj_log_softmax_rows(on: Launcher, rows: int, columns: int, x: int, out: int) -> None:
    if rows > 0 and columns > 0:
        grid, shared = (ceil_div(rows, 32),), 4 * 34 * 33
        on.launch("mj_log_softmax_rows_kernel", grid, (32,), (rows, columns, x, out), shared=shared)


def mj_argmax_rows(on: Launcher, rows: int, columns: int, x: int, out: int) -> None:
    found = on.scratch(4 * rows)
    elements(on, "mj_argmax_rows_kernel", rows, (rows, columns, x, found))
    on.download(found.pointer, host(out, rows, np.int32))


def mj_ctc(
    on: Launcher,
    utterances: int,
    offsets: int,
    alphabet: int,
    log_probs: int,
    label_offsets: int,
    labels: int,
    scale: float,
    losses: int,
    gradient: int,
) -> None:
    if utterances == 0:
        return
    rows = host(offsets, utterances + 1, np.int64)
    label_rows = host(label_offsets, utterances + 1, np.int64)
    frames, states = np.diff(rows), np.diff(label_rows) + 1
    lattices = np.concatenate([[0], np.cumsum(4 * frames * states)]).astype(np.int64)
    memory = on.scratch(4 * int(lattices[-1]))
    common = (
        on.upload(rows),
        alphabet,
        log_probs,
        on.upload(label_rows),
        on.upload(host(labels, int(label_rows[-1]), np.int32)),
        on.upload(lattices),
        memory,
    )
    threads = min(LATTICE_THREADS, max(32, 1 << int(states.max() - 1).bit_length()))
    shared = 4 * threads
    on.launch(
        "mj_ctc_lattice_kernel",
        (utterances,),
        (threads,),
        (*common, losses),
        shared=shared,
    )
    grid = (min(int(frames.max()), 1024), utterances)
    arguments = (*common, np.float32(scale), gradient)
    on.launch("mj_ctc_gradient_kernel", grid, (128,), arguments, shared=4 * 128)
