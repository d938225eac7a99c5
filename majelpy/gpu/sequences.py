"""Plans of the recurrent layer, CTC, softmax and spectrogram.

Each function has the name and the arguments of its entry point, after the launcher.
"""

from __future__ import annotations

import numpy as np

from majelpy.comm import tree
from majelpy.gpu.dense import product
from majelpy.gpu.launch import (
    THREADS,
    Buffer,
    Launcher,
    ceil_div,
    elements,
    host,
    matrix,
    utterance_rows,
)
from majelpy.gpu.sums import CHUNK

PASS, PERSISTENT_THREADS, FEWEST_COLUMNS = 32, 512, 8
"""Of the persistent kernel: utterances of a pass, threads, fewest columns of a block."""


def persistent_shape(
    multiprocessors: int,
    shared_bytes: int,
    directions: int,
    utterances: int,
    hidden: int,
    parts: int,
) -> tuple[int, int, int] | None:
    """Return columns of a block, groups of utterances, and directions of a launch.

    All directions run side by side if the weights fit on the chip, else one after another; None
    if not even one fits. Blocks left over go to groups of utterances.
    """
    for side_by_side in (directions, 1):
        blocks = multiprocessors // side_by_side
        if blocks == 0:
            continue
        columns = min(hidden, max(ceil_div(hidden, blocks), FEWEST_COLUMNS))
        if _persistent_bytes(hidden, parts, columns) <= shared_bytes:
            groups = max(1, min(blocks // ceil_div(hidden, columns), utterances))
            return columns, groups, side_by_side
    return None


def _persistent_bytes(hidden: int, parts: int, columns: int) -> int:
    """Shared memory of a block: the weights of its columns, and the list and sums of chunks."""
    chunks = _chunks(hidden, parts)
    return 4 * columns * (ceil_div(hidden, 4) * 4 + chunks * PASS) + 16 * chunks


def _chunks(hidden: int, parts: int) -> int:
    """Chunks of a sum over the hidden units."""
    return sum(ceil_div(last - first, CHUNK) for first, last in tree.parts(hidden, parts))


def _recurrent(
    on: Launcher,
    name: str,
    first: int,
    directions: int,
    utterances: int,
    offsets: int,
    hidden: int,
    parts: int,
    operands: tuple[int, int, int],
    carried: int | None,
    initial: int | None,
    out: int,
    backward: bool,
) -> None:
    """Run all steps; operands are x, weight and, backward, h (else x again)."""
    rows = host(offsets, utterances + 1, np.int64)
    lengths = np.diff(rows)
    if utterances == 0 or hidden == 0 or directions == 0 or rows[-1] == 0:
        return
    order = np.argsort(-lengths, kind="stable").astype(np.int64)
    shape = persistent_shape(
        on.multiprocessors, on.shared_bytes, directions, utterances, hidden, parts
    )
    where, places = on.upload(rows), on.upload(order)
    goes_on = on.upload(host(carried, utterances, np.int64)) if carried else None
    x, weight, h = operands
    read = (x, weight, h) if backward else (x, weight)
    state_row = ceil_div(hidden, 4) * 4
    if shape is not None:
        columns, groups, at_once = shape
        state = on.scratch(4 * 2 * at_once * utterances * state_row)
        for start in range(0, directions, at_once):
            if goes_on:
                from_here = (initial or 0) + 4 * start * utterances * hidden
                _carry(on, at_once, utterances, places, hidden, goes_on, from_here, state)
            arrived = on.upload(np.zeros(at_once * groups, dtype=np.uint32))
            on.launch(
                f"mj_rnn_{name}_persistent_kernel",
                (ceil_div(hidden, columns), groups, at_once),
                (PERSISTENT_THREADS,),
                (
                    *(first, directions, start, utterances, where, places, hidden, parts),
                    *(_chunks(hidden, parts), columns),
                    *(*read, goes_on or 0, state, arrived, out),
                ),
                shared=_persistent_bytes(hidden, parts, columns),
                together=True,
            )
        return
    state = on.scratch(4 * directions * utterances * state_row)
    if goes_on:
        _carry(on, directions, utterances, places, hidden, goes_on, initial or 0, state)
    depth = tree.depth(parts, 0, parts)
    sums = on.scratch(4 * depth * directions * utterances * hidden)
    bounds = [start for start, _ in tree.parts(hidden, parts)]
    terms = on.upload(np.array([*bounds, hidden], dtype=np.int64))
    merges = on.upload(np.array(tree.merges(parts, 0, parts), dtype=np.int32))
    for step in range(int(lengths.max())):
        live = int((lengths > step).sum())
        for d in range(directions if step or goes_on else 0):
            left = (state.pointer + 4 * d * utterances * state_row, state_row, 1)
            matrix_of_d = weight + 4 * d * hidden * hidden
            right = (matrix_of_d, 1, hidden) if backward else (matrix_of_d, hidden, 1)
            to = (sums.pointer + 4 * d * live * hidden, hidden, directions * live * hidden)
            product(on, terms, merges, parts, live, hidden, left, right, to, 0)
        matrix(
            on,
            f"mj_rnn_{name}_step_kernel",
            live,
            hidden,
            (
                *(first, directions, utterances, where, places, hidden, goes_on or 0, step, live),
                *(utterances, state_row),
                *((x, h) if backward else (x,)),
                *(sums, state, out),
            ),
            layers=directions,
        )


def _carry(
    on: Launcher,
    directions: int,
    utterances: int,
    places: Buffer,
    hidden: int,
    carried: Buffer,
    initial: int,
    state: Buffer,
) -> None:
    """Put the states that utterances are carried on from where the first step reads them."""
    arguments = (utterances, places, hidden, carried, initial, state)
    matrix(on, "mj_rnn_carried_kernel", utterances, hidden, arguments, layers=directions)


def mj_rnn_forward_rows(
    on: Launcher,
    first: int,
    directions: int,
    utterances: int,
    offsets: int,
    hidden: int,
    parts: int,
    x: int,
    weight: int,
    carried: int | None,
    initial: int | None,
    h: int,
) -> None:
    sizes = (first, directions, utterances, offsets, hidden, parts)
    _recurrent(on, "forward", *sizes, (x, weight, x), carried, initial, h, False)


def mj_rnn_backward_rows(
    on: Launcher,
    first: int,
    directions: int,
    utterances: int,
    offsets: int,
    hidden: int,
    parts: int,
    dy: int,
    weight: int,
    h: int,
    carried: int | None,
    initial: int | None,
    dx: int,
) -> None:
    sizes = (first, directions, utterances, offsets, hidden, parts)
    _recurrent(on, "backward", *sizes, (dy, weight, h), carried, initial, dx, True)


def _one_step(
    on: Launcher,
    name: str,
    directions: int,
    utterances: int,
    offsets: int,
    order: int,
    hidden: int,
    step: int,
    live: int,
    operands: tuple[int, ...],
    sums: int,
    state: int,
    out: int,
) -> None:
    where = on.upload(host(offsets, utterances + 1, np.int64))
    places = on.upload(host(order, utterances, np.int64))
    sizes = (0, directions, utterances, where, places, hidden, 0, step, live, live, hidden)
    arguments = (*sizes, *operands, sums or 0, state, out)
    matrix(on, f"mj_rnn_{name}_step_kernel", live, hidden, arguments, layers=directions)


def mj_rnn_forward_step(
    on: Launcher,
    directions: int,
    utterances: int,
    offsets: int,
    order: int,
    hidden: int,
    step: int,
    live: int,
    x: int,
    sums: int,
    state: int,
    h: int,
) -> None:
    sizes = (directions, utterances, offsets, order, hidden, step, live)
    _one_step(on, "forward", *sizes, (x,), sums, state, h)


def mj_rnn_backward_step(
    on: Launcher,
    directions: int,
    utterances: int,
    offsets: int,
    order: int,
    hidden: int,
    step: int,
    live: int,
    dy: int,
    h: int,
    sums: int,
    state: int,
    dx: int,
) -> None:
    sizes = (directions, utterances, offsets, order, hidden, step, live)
    _one_step(on, "backward", *sizes, (dy, h), sums, state, dx)


def mj_rnn_previous_rows(
    on: Launcher,
    first: int,
    directions: int,
    utterances: int,
    offsets: int,
    hidden: int,
    h: int,
    carried: int | None,
    initial: int | None,
    out: int,
) -> None:
    rows = host(offsets, utterances + 1, np.int64)
    goes_on = on.upload(host(carried, utterances, np.int64)) if carried else None
    states = (h, goes_on or 0, initial or 0)
    arguments = (first, directions, utterances, on.upload(rows), hidden, *states, out)
    utterance_rows(on, "mj_rnn_previous_rows_kernel", rows, directions * hidden, arguments)


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
        *(on.upload(rows), alphabet, log_probs, on.upload(label_rows)),
        on.upload(host(labels, int(label_rows[-1]), np.int32)),
        *(on.upload(lattices), memory),
    )
    threads = min(1024, max(32, 1 << int(states.max() - 1).bit_length()))
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


def mj_spectrogram(
    on: Launcher, frames: int, window: int, hop: int, samples: int, out: int
) -> None:
    tables = on.scratch(4 * 3 * window)
    elements(on, "mj_spectrogram_tables_kernel", window, (window, tables))
    needed = 4 * 4 * window
    fits = needed <= on.shared_bytes
    blocks = frames if fits else min(frames, on.multiprocessors)
    work = on.scratch(0 if fits else blocks * needed)
    arguments = (frames, window, hop, samples, tables, 0 if fits else work, out)
    shared = needed if fits else 0
    on.launch("mj_spectrogram_kernel", (blocks,), (THREADS,), arguments, shared=shared)
