"""Calls of training's entry points that the CPU and a GPU must answer with the same bits.

Policy. Sizes are at and beside tile edges, and sums run over several chunks. The emulation runs
these cases without a GPU, and a test marked gpu runs them on one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import array_cases
import numpy as np
from makers import level_data, touchy_data, words
from one_case import Case, HostOut, Out

from majelpy import tree
from majelpy.gpu import gemm, launches, standard
from majelpy.ops import CELLS, GRU, LSTM, Cell


def offsets_of(lengths: list[int]) -> np.ndarray:
    """Return row offsets of utterances or leaves."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def program(leaves: int) -> np.ndarray:
    """Return the merges of the last leaves of a tree that has two more."""
    return np.array(tree.merges(leaves + 2, 2, leaves + 2), dtype=np.int32)


def open_slots(merges: np.ndarray) -> int:
    """Return how many entries the program leaves on the stack; slots above them are scratch."""
    return len(merges) - int(merges.sum())


LENGTHS = [5, 1, 17, 0, 17, 33, 2]
"""Frames of utterances: equal ones, a single frame, none."""


def elementwise() -> Iterator[Case]:
    for n in (*range(10), 300, 70_000):
        a, b, c = (touchy_data(n, seed) for seed in (1, 2, 3))
        level = level_data(n, 4, 32.0)
        yield Case(f"add {n}", "mj_add_arrays", (n, a, b, Out((n,))))
        yield Case(f"multiply {n}", "mj_multiply_arrays", (n, a, b, Out((n,))))
        yield Case(f"rectify {n}", "mj_rectify_array", (n, level, Out((n,))))
        yield Case(f"round to bfloat16 {n}", "mj_round_bfloat16_array", (n, a, Out((n,))))
        yield Case(f"rectify backward {n}", "mj_rectify_backward_array", (n, a, level, Out((n,))))
        yield Case(f"fma {n}", "mj_fma_array", (n, a, b, c, Out((n,))))
        yield Case(f"exp {n}", "mj_math_array", (0, n, level_data(n, 5, 128.0), Out((n,))))
        yield Case(f"log {n}", "mj_math_array", (1, n, abs(a), Out((n,))))
        yield Case(f"sigmoid {n}", "mj_math_array", (2, n, level, Out((n,))))
        yield Case(f"tanh {n}", "mj_math_array", (3, n, level, Out((n,))))
        yield Case(f"uniform {n}", "mj_uniform_array", (n, 7, 3, 2.0, 19.0, Out((n,))))
        yield Case(
            f"nesterov {n}",
            "mj_nesterov_array",
            (
                *(n, Out((n,), a), Out((n,), b), c, level_data(1, 1), level_data(1, 2)),
                *(0.99, 0.0005),
            ),
        )
        numbers = level_data(1, 1), abs(level_data(1, 2))
        states = Out((n,), a), Out((n,), b), Out((n,), abs(a))
        arguments = (n, *states, c, *numbers, np.array([0.1, 0.001], np.float32))
        yield Case(f"adam {n}", "mj_adam_array", (*arguments, 0.9, 0.999, 1e-8, 0.01))
        arguments = (n, Out((n,), a), Out((n,), abs(b)), c, *numbers, 1e-8, 0.0005)
        yield Case(f"adagrad {n}", "mj_adagrad_array", arguments)
        for first in (0, 6, (1 << 33) + 3):
            arguments = (n, first, -3, (1 << 55) + 1, 7, 0.075, a, Out((n,)))
            yield Case(f"noise {n} from {first}", "mj_noise_array", arguments)
    for step in (1, 2, 1000, (1 << 31) - 1):
        yield Case(f"moment weights {step}", "mj_moment_weights", (step, 0.9, 0.999, Out((2,))))
    for rows, columns in ((1, 1), (7, 33), (40, 256), (3, 1000), (0, 5)):
        x = touchy_data((rows, columns), 1)
        bias, scale = touchy_data(columns, 2), touchy_data(columns, 3)
        out = Out((rows, columns))
        shape = f"{rows}x{columns}"
        yield Case(f"bias {shape}", "mj_bias_rows", (rows, columns, x, bias, out))
        yield Case(f"bias rectify {shape}", "mj_bias_rectify_rows", (rows, columns, x, bias, out))
        arguments: tuple[Any, ...] = (rows, columns, x, bias, scale, out)
        yield Case(f"normalise {shape}", "mj_normalise_rows", arguments)
        yield Case(
            f"argmax {shape}", "mj_argmax_rows", (rows, columns, x, HostOut((rows,), np.int32))
        )
        softmax = (rows, columns, level_data((rows, columns), 9, 64.0), out)
        yield Case(f"log softmax {shape}", "mj_log_softmax_rows", softmax)
    ties = np.repeat(words((9, 5), 1) % 3, 3, axis=1).astype(np.float32)
    yield Case("argmax ties", "mj_argmax_rows", (9, 15, ties, HostOut((9,), np.int32)))
    yield Case("philox", "mj_philox_words", (300, -5, 9, HostOut((1200,), np.uint32)))
    for square_sum in (0.0, 4.0, 1e30):
        one = np.array([square_sum], np.float32)
        arguments = (one, 3.0, Out((1,)), Out((1,)))
        yield Case(f"norm {square_sum}", "mj_norm_and_factor", arguments)
    for step in (0, 3, 100):
        arguments = (0.01, 0.9, 7, 2, step, 10, Out((1,)))
        yield Case(f"rate {step}", "mj_learning_rate_at", arguments)
    sums, squares = level_data(40, 1), abs(level_data(40, 2)) * np.float32(50)
    arguments = (40, level_data(40, 3), sums, 37.0, Out((40,)))
    yield Case("mean", "mj_mean_of", arguments)
    yield Case("scale", "mj_scale_of", (40, sums, squares, 37.0, Out((40,))))


def batches() -> Iterator[Case]:
    offsets = offsets_of(LENGTHS)
    rows, n = int(offsets[-1]), len(LENGTHS)
    ids = (words(n, 1) % 1000).astype(np.int64)
    for features, context in ((1, 0), (5, 3), (161, 9)):
        x = touchy_data((rows, features), 1)
        out = Out((rows, (2 * context + 1) * features))
        arguments: tuple[Any, ...] = (n, offsets, features, context, x, out)
        yield Case(f"context {features} {context}", "mj_context_rows", arguments)
    for columns in (1, 16, 100):
        x = touchy_data((rows, columns), 2)
        rest = (columns, -3, 2, 5, 26, x, Out((rows, columns)))
        arguments = (n, offsets, np.zeros(n, np.int64), ids, 0, *rest)
        yield Case(f"dropout {columns}", "mj_dropout_rows", arguments)
        arguments = (n, offsets, np.arange(n) * 3, ids, 32, *rest)
        yield Case(f"dropout of later frames {columns}", "mj_dropout_rows", arguments)
    for directions, hidden in ((1, 5), (2, 40), (3, 33)):
        h = touchy_data((rows, directions * hidden), 3)
        dy = touchy_data((rows, hidden), 4)
        shape = f"{directions}x{hidden}"
        arguments = (rows, directions, hidden, h, Out((rows, hidden)))
        yield Case(f"sum directions {shape}", "mj_sum_directions", arguments)
        out = Out((rows, directions * hidden))
        arguments = (rows, directions, hidden, dy, out)
        yield Case(f"repeat directions {shape}", "mj_repeat_directions", arguments)
        arguments = (0, directions, n, offsets, hidden, h, None, None, 0, out)
        yield Case(f"previous {shape}", "mj_rnn_previous_rows", arguments)
        initial = touchy_data((directions, n, hidden), 5)
        arguments = (1, directions, n, offsets, hidden, h, ids % 2, initial, hidden, out)
        yield Case(f"previous carried {shape}", "mj_rnn_previous_rows", arguments)
        wide = touchy_data((directions, n, 2 * hidden), 6)
        arguments = (0, directions, n, offsets, hidden, h, ids % 2, wide, 2 * hidden, out)
        yield Case(f"previous carried h and c {shape}", "mj_rnn_previous_rows", arguments)


def sums() -> Iterator[Case]:
    for rows, columns in ((0, 3), (1, 1), (256, 40), (257, 33), (1000, 7)):
        x, center = touchy_data((rows, columns), 1), touchy_data(columns, 2)
        shape, out = f"{rows}x{columns}", Out((columns,))
        yield Case(f"sum rows {shape}", "mj_sum_rows", (rows, columns, x, out))
        yield Case(f"deviations {shape}", "mj_sum_deviations", (rows, columns, x, center, out))
        arguments: tuple[Any, ...] = (rows, columns, x, center, out)
        yield Case(f"square deviations {shape}", "mj_sum_square_deviations", arguments)
    for n in (0, 1, 255, 256, 257, 40_000, 66_000):
        yield Case(f"square sum {n}", "mj_square_sum", (n, touchy_data(n, 3), Out((1,))))
    for lengths in ([300], [5, 0, 600, 1], [20] * 7, [256, 512, 3, 9, 257]):
        leaves, rows, columns = len(lengths), sum(lengths), 37
        merges = program(leaves)
        x = touchy_data((rows, columns + 3), 4)
        slots = Out(
            (leaves, columns + 5), touchy_data((leaves, columns + 5), 5), open_slots(merges)
        )
        arguments = (leaves, offsets_of(lengths), merges, columns, x, columns + 3, slots)
        yield Case(f"sum leaves {lengths}", "mj_sum_leaves", (*arguments, columns + 5, 0))
        rounded = (*arguments, columns + 5, 1)
        yield Case(f"sum leaves {lengths} in bfloat16", "mj_sum_leaves", rounded)


def products() -> Iterator[Case]:
    sizes = [(1, 1, 1), (3, 5, 0), (32, 64, 8), (33, 65, 257), (7, 130, 700), (70, 9, 513)]
    sizes += [(128, 256, 9), (200, 300, 530), (129, 400, 256)]
    for m, n, k in sizes:
        for a_columns in (False, True):
            for b_columns in (False, True):
                a, b = touchy_data((m, k), 1), touchy_data((k, n), 2)
                a, a_strides = (a.T.copy(), (1, m)) if a_columns else (a, (k, 1))
                b, b_strides = (b.T.copy(), (1, k)) if b_columns else (b, (n, 1))
                c = Out((m, n + 2), touchy_data((m, n + 2), 3))
                yield Case(
                    f"gemm {m}x{n}x{k} {a_columns:d}{b_columns:d}",
                    "mj_gemm",
                    (m, n, k, 1, a, *a_strides, b, *b_strides, c, n + 2),
                )
    tiny = touchy_data((40, 300), 5, tiny=True), touchy_data((300, 70), 6, tiny=True)
    yield Case(
        "gemm of denormals",
        "mj_gemm",
        (40, 70, 300, 1, tiny[0], 300, 1, tiny[1], 70, 1, Out((40, 70)), 70),
    )
    wide = touchy_data((20, 3 * 50), 7), touchy_data((50, 40), 8)
    yield Case(
        "gemm strided",
        "mj_gemm",
        (20, 40, 50, 1, wide[0], 150, 3, wide[1], 40, 1, Out((20, 40)), 40),
    )
    for parts, k in ((2, 32), (3, 100), (4, 700), (7, 513)):
        a, b = touchy_data((30, k), 9), touchy_data((k, 40), 10)
        arguments: tuple[Any, ...] = (30, 40, k, parts, a, k, 1, b, 40, 1, Out((30, 40)), 40)
        yield Case(f"gemm {k} in {parts} parts", "mj_gemm", arguments)
    for lengths, m, n in (([300], 33, 20), ([5, 0, 600, 1], 40, 70), ([20] * 7, 130, 140)):
        leaves, rows = len(lengths), sum(lengths)
        merges = program(leaves)
        a, b = touchy_data((rows, m + 1), 1), touchy_data((rows, n + 2), 2)
        slots = Out((leaves, m * n + 3), touchy_data((leaves, m * n + 3), 3), open_slots(merges))
        arguments = (leaves, offsets_of(lengths), merges, m, n, a, m + 1, b, n + 2, slots)
        yield Case(f"gemm leaves {lengths}", "mj_gemm_leaves", (*arguments, m * n + 3, 0))
        rounded = (*arguments, m * n + 3, 1)
        yield Case(f"gemm leaves {lengths} in bfloat16", "mj_gemm_leaves", rounded)


def recurrences() -> Iterator[Case]:
    for directions, lengths, hidden in (
        *((1, [1], 1), (2, LENGTHS, 7), (2, LENGTHS, 33), (1, [3, 4], 300), (3, [2, 3, 1], 64)),
        *((2, [3, 1, 4] * 14, 20), (2, [4, 2, 3], 520), (1, [0, 0], 5)),
    ):
        offsets = offsets_of(lengths)
        shape = (int(offsets[-1]), directions * hidden)
        x = touchy_data(shape, 1) * np.float32(2.0**-18)
        weight = level_data((directions, hidden, hidden), 2, 0.5)
        dy, h = level_data(shape, 3), level_data(shape, 4, 32.0)
        name = f"{directions} {len(lengths)} {hidden}"
        common = (0, 0, directions, len(lengths), offsets, hidden, 1, 0)
        last = Out((directions, len(lengths), hidden), rows=0)  # other cases look at it
        whole = (None, None, Out(shape), None, last)
        yield Case(f"rnn forward {name}", "mj_rnn_forward_rows", (*common, x, weight, *whole))
        arguments = (*common, dy, weight, h, *whole)
        yield Case(f"rnn backward {name}", "mj_rnn_backward_rows", arguments)
    for first, directions, hidden, parts in (
        *((1, 1, 33, 1), (0, 2, 64, 3), (1, 2, 100, 4)),
        *((0, 1, 520, 2), (0, 1, 600, 2)),
    ):
        offsets, n = offsets_of(LENGTHS[:5]), 5
        shape = (int(offsets[-1]), directions * hidden)
        x = level_data(shape, 5)
        weight = level_data((directions, hidden, hidden), 6, 2.0 / hidden**0.5)
        dy, h = level_data(shape, 7), level_data(shape, 8, 32.0)
        initial = level_data((directions, n, hidden), 9, 16.0)
        common = (0, first, directions, n, offsets, hidden, parts, 0)
        last = Out((directions, n, hidden), rows=0)
        carried = (np.array([1, 0, 1, 1, 0]), initial, Out(shape), None, last)
        name = f"carried {first} {directions} {hidden} in {parts}"
        yield Case(f"rnn forward {name}", "mj_rnn_forward_rows", (*common, x, weight, *carried))
        arguments = (*common, dy, weight, h, *carried)
        yield Case(f"rnn backward {name}", "mj_rnn_backward_rows", arguments)


def cells() -> Iterator[Case]:
    """All cells, with the states that go on, whole and carried on, in parts."""
    for cell in CELLS.values():
        for first, directions, lengths, hidden, parts, goes_on in (
            *((0, 1, [1], 1, 1, False), (0, 2, [4, 0, 3, 1, 3], 7, 1, False)),
            *((1, 2, [5, 1, 3, 0, 2], 33, 1, True), (0, 3, [2, 3, 1], 64, 3, True)),
            *((1, 1, [3, 1, 4] * 14, 20, 1, True), (0, 2, [3, 0, 2], 270, 2, True)),
        ):
            offsets, n = offsets_of(lengths), len(lengths)
            rows, units = int(offsets[-1]), directions * hidden
            x = level_data((rows, cell.gates * units), 11)
            weight = level_data((directions, cell.gates * hidden, hidden), 12, 2.0 / hidden**0.5)
            dy = level_data((rows, units), 13)
            kept = kept_data(cell, rows, units, 14)
            which = words(n, 15).astype(np.int64) % 2 if goes_on else None
            sizes = (cell.number, first, directions, n, offsets, hidden, parts)
            forward, backward = (
                (directions, n, columns * hidden)
                for columns in (cell.forward_columns, cell.backward_columns)
            )
            initial = level_data(forward, 16, 1.0) if goes_on else None
            after = level_data(backward, 17, 1.0) if goes_on else None
            outs = (Out(dy.shape), Out(kept.shape) if cell.kept else None, Out(forward))
            gradients = (Out(x.shape), Out(x.shape) if cell.apart else None, Out(backward))
            for rounded, suffix in ((0, ""), (1, " in bfloat16")):
                common = (*sizes, rounded)
                name = f"{n} {directions} {hidden} in {parts}{suffix}"
                arguments = (*common, x, weight, which, initial, *outs)
                yield Case(f"{cell.name} forward {name}", "mj_rnn_forward_rows", arguments)
                arguments = (*common, dy, weight, kept, which, after, *gradients)
                yield Case(f"{cell.name} backward {name}", "mj_rnn_backward_rows", arguments)


def kept_data(cell: Cell, rows: int, units: int, seed: int) -> np.ndarray:
    """What a cell might keep: gates within their ranges, vanilla states that are clipped or not."""
    if not cell.kept:
        return level_data((rows, units), seed, 32.0)
    return (level_data((rows, cell.kept * units), seed, 1.0) + np.float32(1)) / np.float32(2)


def steps() -> Iterator[Case]:
    offsets = offsets_of(LENGTHS)
    order = np.argsort(-np.diff(offsets), kind="stable").astype(np.int64)
    for hidden, step in ((5, 0), (40, 2), (33, 1)):
        live = int((np.diff(offsets) > step).sum())
        rows, n = int(offsets[-1]), len(LENGTHS)
        shape, states = (rows, 2 * hidden), (2, live, hidden)
        x, sums = level_data(shape, 1), level_data(states, 2, 4.0)
        dy, h = level_data(shape, 3), level_data(shape, 4, 32.0)
        start = touchy_data(shape, 5)
        common = (0, 2, n, offsets, order, hidden, step, live, 0)
        outs = (sums, None, Out(states), Out(shape, start), None)
        name = f"{hidden} step {step}"
        yield Case(f"rnn forward {name}", "mj_rnn_forward_step", (*common, x, *outs))
        yield Case(f"rnn backward {name}", "mj_rnn_backward_step", (*common, dy, h, *outs))
        for cell in (GRU, LSTM):
            gates, kept = (rows, cell.gates * 2 * hidden), (rows, cell.kept * 2 * hidden)
            sums = level_data((2, live, cell.gates * hidden), 6)
            own = Out((2, n, hidden), level_data((2, n, hidden), 7, 1.0))
            by = [Out(shape, touchy_data(shape, seed)) for shape, seed in ((kept, 8), (gates, 9))]
            inputs = (level_data(gates, 10), sums, own, Out(states), outs[3], by[0])
            outputs = (own, Out(sums.shape), by[1], by[1] if cell.apart else None)
            gradients = (dy, kept_data(cell, rows, 2 * hidden, 11), sums, *outputs)
            for rounded, suffix in ((0, ""), (1, " in bfloat16")):
                common = (cell.number, *common[1:-1], rounded)
                arguments = (*common, *inputs)
                yield Case(f"{cell.name} forward {name}{suffix}", "mj_rnn_forward_step", arguments)
                arguments = (*common, *gradients)
                yield Case(
                    f"{cell.name} backward {name}{suffix}", "mj_rnn_backward_step", arguments
                )


def log_probs_of(rows: int, alphabet: int, seed: int) -> np.ndarray:
    """Return rows that are nearly normalised, with certain and hopeless entries."""
    x = level_data((rows, alphabet), seed, 8.0).astype(np.float64)
    x[::3] *= 8
    return np.asarray(x - np.log(np.exp(x).sum(axis=1, keepdims=True)), dtype=np.float32)


def alignments() -> Iterator[Case]:
    long = (words(300, 8) % 4 + 1).tolist()
    for alphabet, frames, labels in (
        (2, [1], [[]]),
        (3, [1, 2], [[2], [1, 2]]),
        (5, [7, 1, 40, 33], [[1, 1, 2], [], [4] * 20, [1, 2, 3, 4, 4, 3]]),
        (29, [100, 50], [(words(30, 1) % 28 + 1).tolist(), (words(9, 2) % 28 + 1).tolist()]),
        (5, [700], [long]),
        (300, [12], [[299, 1, 150]]),
    ):
        offsets = offsets_of(frames)
        label_offsets = offsets_of([len(s) for s in labels])
        flat = np.array([v for s in labels for v in s], dtype=np.int32)
        rows = int(offsets[-1])
        arguments = (
            *(len(frames), offsets, alphabet, log_probs_of(rows, alphabet, 3)),
            *(label_offsets, flat, 0.125, Out((len(frames),)), Out((rows, alphabet))),
        )
        yield Case(f"ctc {alphabet} {frames}", "mj_ctc", arguments)


def spectra() -> Iterator[Case]:
    for window, hop, frames in ((2, 1, 3), (320, 160, 5), (7, 3, 4), (441, 220, 2), (30, 10, 3)):
        samples = level_data((frames - 1) * hop + window, 1, 1.0)
        arguments = (frames, window, hop, samples, Out((frames, window // 2 + 1)))
        yield Case(f"spectrogram {window}", "mj_spectrogram", arguments)


def norms() -> Iterator[Case]:
    for lengths, columns in (([300, 0, 5], 1), ([1, 600, 256, 3], 37), ([20] * 3, 130), ([0], 3)):
        items, rows, offsets = len(lengths), sum(lengths), offsets_of(lengths)
        leaves = np.arange(items) // 2
        count = int(leaves[-1]) + 1
        x, dy = touchy_data((rows, columns), 1), touchy_data((rows, columns), 2)
        mean, rstd = touchy_data((count, columns), 3), touchy_data((count, columns), 4)
        out = Out((items, columns))
        for order in (None, np.argsort(words(rows, 5)).astype(np.int64)):
            head: tuple[Any, ...] = (items, offsets, order)
            name = f"{lengths}x{columns}{'' if order is None else ' listed'}"
            yield Case(f"sum items {name}", "mj_sum_items", (*head, columns, x, out))
            arguments = (*head, leaves, columns, x, mean, out)
            yield Case(f"square items {name}", "mj_square_items", arguments)
            arguments = (*head, leaves, columns, dy, x, mean, rstd, Out((items, 2 * columns)))
            yield Case(f"norm dot items {name}", "mj_norm_dot_items", arguments)
        mean, rstd = touchy_data((items, columns), 6), touchy_data((items, columns), 7)
        gain, bias = touchy_data(columns, 8), touchy_data(columns, 9)
        means = touchy_data((items, 2 * columns), 10)
        name, out = f"{lengths}x{columns}", Out((rows, columns))
        head = (items, offsets, columns)
        for clipped in (0, 1):
            arguments = (*head, x, mean, rstd, gain, bias, clipped, out)
            yield Case(f"norm rows {name} {clipped}", "mj_norm_rows", arguments)
        arguments = (*head, dy, x, mean, rstd, gain, means, out)
        yield Case(f"norm backward {name}", "mj_norm_backward_rows", arguments)
        arguments = (items, np.array(lengths), columns, mean, Out((items, columns)))
        yield Case(f"leaf means {name}", "mj_leaf_means", arguments)
    for n in (1, 1000):
        variance, sums = abs(touchy_data(n, 11)), touchy_data(n, 12)
        yield Case(f"rstd {n}", "mj_rstd_array", (n, variance, Out((n,))))
        running = Out((n,), touchy_data(n, 13))
        yield Case(f"running {n}", "mj_running_array", (n, sums, 7.0, 0.1, running))
    for rows, columns in ((1, 1), (70, 33), (65, 256), (3, 700), (0, 4)):
        x, dy = level_data((rows, columns), 14), touchy_data((rows, columns), 15)
        gain, bias = touchy_data(columns, 16), touchy_data(columns, 17)
        mean, rstd = level_data(rows, 18), level_data(rows, 19)
        out, of_row, name = Out((rows, columns)), Out((rows,)), f"{rows}x{columns}"
        arguments = (rows, columns, x, gain, bias, out, of_row, of_row)
        yield Case(f"layer norm {name}", "mj_layer_norm_rows", arguments)
        arguments = (rows, columns, dy, x, mean, rstd, gain, out, out)
        yield Case(f"layer norm backward {name}", "mj_layer_norm_backward_rows", arguments)


def places_of(lengths: list[int], stride: int, before: int) -> np.ndarray:
    """Return the list of a convolution's outputs over whole utterances: row, first, low, high."""
    offsets, found = offsets_of(lengths).tolist(), []
    for low, high in itertools.pairwise(offsets):
        for first in range(low - before, high - before, stride):
            found.append((len(found), first, low, high))
    return np.array(found, dtype=np.int64)


def convolutions() -> Iterator[Case]:
    # Features, channels, outputs, taps, width, strides of time and frequency.
    for features, channels, outputs, taps, width, time, step in (
        *((9, 3, 4, 5, 5, 2, 2), (20, 20, 40, 3, 7, 1, 2), (5, 1, 17, 11, 41, 2, 1)),
        (3, 2, 3, 0, 2, 1, 1),
    ):
        listed = places_of(LENGTHS, time, (taps - 1) // 2)
        rows, places, before = len(listed), -(-features // step), (width - 1) // 2
        x = touchy_data((sum(LENGTHS), features * channels), 1)
        weight = touchy_data((outputs, taps, width, channels), 2)
        dy = touchy_data((rows, places * outputs), 3)
        head = (taps, width, features, channels, places, step, before, x, outputs)
        strides = (taps * width * channels, width * channels, channels, 1)
        name = f"{taps}x{width} {features}x{channels}x{outputs}"
        out = Out((rows, places * outputs))
        arguments: tuple[Any, ...] = (rows, listed, *head, weight, *strides, out)
        arguments = (*arguments, places * outputs, outputs)
        yield Case(f"conv rows {name}", "mj_conv_rows", arguments)
        offsets = np.array([0, rows // 2, rows // 2, rows])
        turned, size = listed[::-1].copy(), taps * width * channels * outputs
        arguments = (3, offsets, turned, *head, dy, Out((3, size)))
        yield Case(f"conv weight items {name}", "mj_conv_weight_items", arguments)
    # Every second row and place, the kernel turned: what a gradient by the input asks for.
    listed = places_of([4, 9], 1, 2)
    listed[:, 0] = 2 * listed[:, 0] + 1
    x, weight = touchy_data((13, 7 * 5), 4), touchy_data((5, 3, 4, 2), 5)
    out = Out((27, 15 * 2), touchy_data((27, 30), 6))
    last = weight.reshape(5, 3, 8)[:, ::-1].reshape(5, 3, 4, 2)[:, :, ::-1].copy()
    arguments = (13, listed, 3, 4, 7, 5, 7, 1, 2, x, 2, last, 1, 8, 2, 24, out, 30, 4)
    yield Case("conv rows apart", "mj_conv_rows", arguments)
    for taps, columns in ((1, 1), (4, 40), (300, 3)):
        lengths = [5, 1, 310]
        offsets = offsets_of(lengths)
        rows = int(offsets[-1])
        x, dy = touchy_data((rows, columns), 7), touchy_data((rows, columns), 8)
        weight, out = touchy_data((taps, columns), 9), Out((rows, columns))
        row, end = np.arange(rows), np.repeat(offsets[1:], lengths)
        terms = np.minimum(taps, end - row)
        name = f"{taps}x{columns}"
        listed = np.stack([row, terms], axis=1)
        arguments = (rows, listed, 1, columns, x, weight, out)
        yield Case(f"row conv {name}", "mj_row_conv_rows", arguments)
        back = np.minimum(taps, row - np.repeat(offsets[:-1], lengths) + 1)
        arguments = (rows, np.stack([row, back], axis=1), -1, columns, dy, weight, out)
        yield Case(f"row conv back {name}", "mj_row_conv_rows", arguments)
        listed = np.stack([row, row, terms], axis=1)[::-1].copy()
        arguments = (3, offsets, listed, taps, columns, dy, x, Out((3, taps * columns)))
        yield Case(f"row conv weight items {name}", "mj_row_conv_weight_items", arguments)


def tree_sums() -> Iterator[tuple[int, int]]:
    """Yield leaves and length of vectors; addresses are no data, so tests build the call."""
    yield from ((1, 5), (5, 300), (8, 1000), (13, 77))


IN_PLACE = {
    *launches.QUADS,
    *(
        "mj_unary",
        "mj_binary",
        "mj_noise_array",
        "mj_dropout_rows",
        "mj_norm_rows",
        "mj_norm_backward_rows",
    ),
}
"""Entry points whose output may be an input's memory."""


def elsewhere() -> Iterator[tuple[Case, dict[str, Any]]]:
    """Small maps whose arrays miss an aligned address or share memory (`one_case.on_device`)."""
    functions = (
        case for case in array_cases.elementwise() if case.name.split()[0] in standard.QUADS
    )
    for case in (*elementwise(), *batches(), *norms(), *functions):
        arrays = {
            i: argument.shape
            for i, argument in enumerate(case.arguments)
            if isinstance(argument, Out) or getattr(argument, "dtype", None) == np.float32
        }
        if any(np.prod(shape, dtype=int) > 5000 for shape in arrays.values()):
            continue
        for behind in {(*arrays,), *((i,) for i in arrays)}:
            yield case, {"behind": behind}
        outs = [a for a in case.arguments if isinstance(a, Out)]
        if case.entry in IN_PLACE and len(outs) == 1 and outs[0].start is None:
            inputs = [i for i in arrays if case.arguments[i] is not outs[0]]
            for over in (i for i in inputs if arrays[i] == outs[0].shape):
                yield case, {"over": over, "behind": ()}
                yield case, {"over": over, "behind": (over,)}


def all_cases() -> list[Case]:
    """Return every case, those of the array library too."""
    families = (
        *(elementwise, batches, sums, products, recurrences, cells, steps, alignments, spectra),
        *(norms, convolutions),
    )
    return [case for family in (*families, *array_cases.FAMILIES) for case in family()]


def only(way: gemm.Way) -> Any:
    """Return a `gemm.choose` that takes one way wherever it can be taken."""
    whole = gemm.Way(way.tile, by_chunks=False)
    return lambda *sizes: way if way in sizes[-1] else whole
