"""Digests of every kernel's output over fixed inputs.

    python tools/make_golden.py                     write tests/golden/kernels.json, and
                                                    every_place.json (tests/helpers/one_case.py)
    python tools/make_golden.py --print [THREADS]   print the digests as JSON, one line for each
                                                    number of threads

The files are the meaning of `majelpy.ARITHMETIC`: write them anew only for new kernels, or with a
change of bits that is wanted, raises that version and stands in CHANGELOG under "Bits". Inputs
come from integers alone (makers.py), so machines that never meet can be held to one file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))

import bodies
import gpu_cases
import one_case
from makers import digest, level_data, level_double, touchy_data, touchy_double, words
from paths import GOLDEN

from majelpy import ARITHMETIC, native, ops, tree
from majelpy.array import asarray, kernels
from majelpy.memory import dtypes
from majelpy.ops.beam import Spelling, Trie

PATH = GOLDEN / "kernels.json"
EVERY_PLACE = PATH.with_name("every_place.json")

OFFSETS = np.array([0, 70, 71, 71, 230, 300, 301, 420], np.int64)
UTTERANCES = len(OFFSETS) - 1
LEAVES = ops.Leaves(OFFSETS, np.array(tree.merges(UTTERANCES, 0, UTTERANCES), np.int32))
FRAMES = 420
MANY = 40_003  # more than two tasks of elements
SOME = 9_001  # the same for the array library
SHAPES = ((3, 2500, 1), (2, 700, 70), (40, 257, 5), (1, 1, 3))  # outer, n, inner


def touchy(*shape: int, seed: int) -> list[np.ndarray]:
    """Return ordinary touchy numbers and tiny ones."""
    return [touchy_data(shape, seed), touchy_data(shape, seed, tiny=True)]


def pairs(kernel: Callable[..., Any], *shapes: tuple[int, ...]) -> list[Any]:
    """Return the kernel's results over touchy operands of these shapes."""
    first = [touchy(*shape, seed=10 + i) for i, shape in enumerate(shapes)]
    return [kernel(*operands) for operands in zip(*first, strict=True)]


def leaf_slots(push: Callable[[np.ndarray], None], size: int) -> np.ndarray:
    slots = np.zeros((tree.depth(UTTERANCES, 0, UTTERANCES), size), np.float32)
    push(slots)
    return slots[0]


def gemm() -> list[Any]:
    found = []
    for m, n, k in ((37, 70, 600), (190, 33, 257), (3, 2100, 40), (1, 1, 1000)):
        for a, b in zip(touchy(m, k, seed=1), touchy(k, n, seed=2), strict=True):
            found.append(ops.gemm(a, b))
            found.append(ops.gemm(a, b.T.copy(), transpose_b=True))
            found.append(ops.gemm(a.T.copy(), b, transpose_a=True))
    return found


def gemm_leaves(rounded: bool = False) -> list[Any]:
    operands = zip(touchy(FRAMES, 35, seed=3), touchy(FRAMES, 50, seed=4), strict=True)
    return [
        leaf_slots(
            lambda s, a=a, b=b: ops.gemm_leaves(a, b, LEAVES, s, 3, rounded=rounded),  # type: ignore[misc]
            1760,
        )
        for a, b in operands
    ]


def sum_leaves(rounded: bool = False) -> list[Any]:
    return [
        leaf_slots(
            lambda s, x=x: ops.sum_leaves(x, LEAVES, s, 1, rounded=rounded),  # type: ignore[misc]
            200,
        )
        for x in touchy(FRAMES, 199, seed=5)
    ]


def tree_sum(rounded: bool = False) -> list[Any]:
    out = np.empty(MANY, np.float32)
    nodes = [touchy_data(MANY, 100 + i) for i in range(6)]
    ops.tree_sum(nodes, tree.merges(6, 0, 6), [out], rounded=rounded)
    return [out]


def rnn(hidden: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return x, weight, dy and the states of two directions."""
    x, dy = level_data((FRAMES, 2 * hidden), 6), level_data((FRAMES, 2 * hidden), 7, 2.0**-10)
    weight = level_data((2, hidden, hidden), 8, 0.125 if hidden > 100 else 0.25)
    return x, weight, dy, ops.rnn_forward(x, OFFSETS, weight).h.numpy()


def rnn_steps(backward: bool) -> list[Any]:
    """Return the states of all steps, each after the sums of a touchy matrix."""
    x, _, dy, h = rnn(29)
    steps, found = ops.Steps.of(OFFSETS), []
    for step in range(int(np.diff(OFFSETS).max())):
        sums = asarray(level_data((2, steps.live(step), 29), 60 + step, 2.0)) if step else None
        out = asarray(touchy_data(x.shape, 61))
        if backward:
            found += [ops.rnn_backward_step(asarray(dy), asarray(h), steps, step, sums, 2, out)]
        else:
            found += [ops.rnn_forward_step(asarray(x), steps, step, sums, 2, out)]
        found.append(out)
    return found


def rnn_backward() -> list[Any]:
    found = []
    for hidden in (29, 270):
        _, weight, dy, h = rnn(hidden)
        found.append(ops.rnn_backward(dy, OFFSETS, weight, h).dx)
    return found


def gated(hidden: int) -> Iterator[tuple[ops.Cell, np.ndarray, np.ndarray, ops.Forward]]:
    """Yield each gated cell with a weight, the gradient by h, and its run."""
    dy = level_data((FRAMES, 2 * hidden), 72, 2.0**-6)
    for cell in (ops.GRU, ops.LSTM):
        x = level_data((FRAMES, cell.gates * 2 * hidden), 70 + cell.number)
        weight = level_data((2, cell.gates * hidden, hidden), 73, 1.0 / hidden**0.5)
        yield cell, weight, dy, ops.rnn_forward(x, OFFSETS, weight, cell=cell)


def gated_forward() -> list[Any]:
    runs = [run for hidden in (29, 270) for *_, run in gated(hidden)]
    return [array for run in runs for array in (run.h, run.kept, run.last)]


def gated_backward() -> list[Any]:
    found = []
    for hidden in (29, 270):
        for cell, weight, dy, run in gated(hidden):
            back = ops.rnn_backward(dy, OFFSETS, weight, run.h, run.kept, cell=cell)
            found += [back.dx, back.ds, back.last]
    return found


def rounded_cells(backward: bool) -> list[Any]:
    """Return what every cell gives in a direction, with states rounded to bfloat16."""
    dy, found = level_data((FRAMES, 2 * 70), 72, 2.0**-6), []
    for cell in (replace(cell, rounded=True) for cell in ops.CELLS.values()):
        x = level_data((FRAMES, cell.gates * 2 * 70), 70 + cell.number)
        weight = level_data((2, cell.gates * 70, 70), 73, 0.125)
        run = ops.rnn_forward(x, OFFSETS, weight, cell=cell)
        if backward:
            back = ops.rnn_backward(dy, OFFSETS, weight, run.h, run.kept, cell=cell)
            found += [back.dx, back.ds, back.last]
        else:
            found += [run.h, *([run.kept] if cell.kept else []), run.last]
    return found


def gated_steps(backward: bool) -> list[Any]:
    """Return the states of all steps of the gated cells, each after the sums of a matrix."""
    steps, found = ops.Steps.of(OFFSETS), []
    for cell, _, dy, run in gated(29):
        wide = level_data((FRAMES, cell.gates * 58), 80)
        x, outs = asarray(wide), [asarray(level_data(wide.shape, 81)) for _ in range(2)]
        own = asarray(touchy_data((2, UTTERANCES, 29), 82))
        h, kept = asarray(np.asarray(run.h).copy()), asarray(np.asarray(run.kept).copy())
        for step in range(int(np.diff(OFFSETS).max())):
            shape = (2, steps.live(step), cell.gates * 29)
            sums = asarray(level_data(shape, 83 + step, 2.0)) if step else None
            going: dict[str, Any] = {"cell": cell, "own": own}
            if backward:
                going["ds"] = outs[1] if cell.apart else None
                arguments = (asarray(dy), kept, steps, step, sums, 2, outs[0])
                found.append(ops.rnn_backward_step(*arguments, **going))
            else:
                found.append(ops.rnn_forward_step(x, steps, step, sums, 2, h, kept=kept, **going))
        found += [own, *(outs if backward else (h, kept))]
    return found


def ctc() -> list[Any]:
    found: list[Any] = []
    for alphabet, span in ((29, 4.0), (5, 16.0)):
        lp = ops.log_softmax(level_data((FRAMES, alphabet), alphabet, span))
        counts = [3 * int(n) // 8 for n in np.diff(OFFSETS)]
        labels = [[1 + (7 * i + n) // 2 % (alphabet - 1) for i in range(n)] for n in counts]
        keep = np.delete(OFFSETS, 3)  # an utterance has at least one frame
        found += ops.ctc_loss(
            lp, keep, [s for n, s in enumerate(labels) if n != 2], scale=0.0078125
        )
    long = [1 + i % 2 for i in range(600)]
    lp = ops.log_softmax(level_data((FRAMES * 2, 3), 9))
    return [*found, *ops.ctc_loss(lp, [0, 2 * FRAMES], [long])]


def nesterov() -> list[Any]:
    found = []
    for p, v, g in zip(*(touchy(MANY, seed=s) for s in (20, 21, 22)), strict=True):
        parameters, velocities = asarray(p.copy()), asarray(v.copy())
        one = {"factor": asarray(np.float32([0.3])), "rate": asarray(np.float32([0.01]))}
        ops.nesterov(parameters, velocities, g, **one, momentum=0.9, decay=1e-4)
        found += [parameters, velocities]
    return found


def adam() -> list[Any]:
    found = []
    for numbers in zip(*(touchy(MANY, seed=s) for s in (70, 71, 72, 73)), strict=True):
        p, m, v, g = (asarray(x.copy()) for x in (*numbers[:2], abs(numbers[2]), numbers[3]))
        one = {"factor": asarray(np.float32([0.3])), "rate": asarray(np.float32([0.01]))}
        one |= {"weights": ops.moment_weights(5, beta1=0.9, beta2=0.99)}
        ops.adam(p, m, v, g, **one, beta1=0.9, beta2=0.99, epsilon=1e-8, decay=1e-3)
        found += [p, m, v]
    return found


def adagrad() -> list[Any]:
    found = []
    for numbers in zip(*(touchy(MANY, seed=s) for s in (74, 75, 76)), strict=True):
        p, s, g = (asarray(x.copy()) for x in (numbers[0], abs(numbers[1]), numbers[2]))
        one = {"factor": asarray(np.float32([0.3])), "rate": asarray(np.float32([0.01]))}
        ops.adagrad(p, s, g, **one, epsilon=1e-8, decay=1e-4)
        found += [p, s]
    return found


def shares() -> list[Any]:
    steps = (1, 2, 3, 10, 1000, 123_456, (1 << 31) - 1)
    betas = {"beta1": 0.9, "beta2": 0.999}, {"beta1": 0.0, "beta2": 0.25}
    return [ops.moment_weights(step, **both) for step in steps for both in betas]


def noise() -> list[Any]:
    wanted = {"seed": -3, "stream": (1 << 55) + 9}
    return [
        ops.noisy(asarray(x), 0.075, **wanted, step=step, first=first)
        for x in touchy(MANY, seed=77)
        for step, first in ((1, 0), (70_000, 5), (2, (1 << 33) + 2))
    ]


def dropout() -> list[Any]:
    masks = ops.Dropout(0.3, 5, 2, OFFSETS, np.arange(UTTERANCES) * 3)
    return [masks.apply(touchy_data((FRAMES, 45), 23), layer) for layer in (0, 3)]


def rates() -> list[Any]:
    return [
        ops.learning_rate(0.1, anneal=0.95, epoch=epoch, hold=3, step=step, warmup=7)
        for epoch in range(9)
        for step in (0, 3, 6, 7, 100)
    ]


def sigmoid_and_tanh() -> list[Any]:
    x = np.concatenate([level_data(MANY, 26, 32.0), touchy_data(MANY, 27)])
    return [bodies.math_function(name, x) for name in ("sigmoid", "tanh")]


def pcm() -> np.ndarray:
    """Return 16-bit samples, all of them."""
    return np.arange(-(1 << 15), 1 << 15).astype(np.int16)


def exp_and_log() -> list[Any]:
    x = np.concatenate([level_data(MANY, 24, 128.0), touchy_data(MANY, 25)])
    return [bodies.math_function("exp", x), bodies.math_function("log", np.abs(x))]


# --- the array library: each function in float32 and in float64 ---------------------------------

TOUCHY = {dtypes.float32: touchy_data, dtypes.float64: touchy_double}
LEVEL = {dtypes.float32: level_data, dtypes.float64: level_double}


SIGNS = ("negative", "abs", "sign"), ("copysign", "nextafter")
"""Names of `kernels.UNARY` and `kernels.BINARY` that have digests of their own."""


def unary() -> list[Any]:
    found = []
    for kind in dtypes.FLOATS:
        x = np.concatenate([TOUCHY[kind](SOME, 40), LEVEL[kind](SOME, 41, 64.0)])
        within = LEVEL[kind](SOME, 42, 1.0)
        domains = dict.fromkeys(kernels.UNARY, x)
        domains |= dict.fromkeys(("acos", "asin", "atanh"), within)
        domains |= dict.fromkeys(("log", "log2", "log10", "sqrt"), np.abs(x))
        domains |= {"acosh": 1 + np.abs(x), "log1p": np.concatenate([within, np.abs(x)])}
        for name in (n for n in kernels.UNARY if n not in SIGNS[0]):
            found.append(np.empty_like(domains[name]))
            kernels.unary(name, asarray(domains[name]), asarray(found[-1]))
    return found


def binary() -> list[Any]:
    found = []
    for kind in dtypes.FLOATS:
        x, y = (TOUCHY[kind](SOME, seed) for seed in (43, 44))
        near, level = LEVEL[kind](SOME, 45, 16.0), LEVEL[kind](SOME, 46, 8.0)
        for name in (n for n in kernels.BINARY if n not in SIGNS[1]):
            for a, b in ((x, y), (near, level), (near[:1], level), (x, level[:1])):
                if name in ("divide", "floor_divide", "remainder"):
                    b = np.where(b == 0, b.dtype.type(1), b)
                found.append(np.empty(max(a.size, b.size), kind))
                left = np.abs(a) if name == "pow" else a
                kernels.binary(name, *(asarray(v) for v in (left, b, found[-1])))
    return found


def signs() -> list[Any]:
    found = []
    for kind in dtypes.FLOATS:
        x, y = (TOUCHY[kind](SOME, seed) for seed in (60, 61))
        for name in SIGNS[0]:
            found.append(np.empty_like(x))
            kernels.unary(name, asarray(x), asarray(found[-1]))
        for name in SIGNS[1]:
            for a, b in ((x, y), (x[:1], y), (x, y[:1])):
                found.append(np.empty_like(x))
                kernels.binary(name, *(asarray(v) for v in (a, b, found[-1])))
    return found


def compare() -> list[Any]:
    found = []
    for kind in dtypes.FLOATS:
        x, y = np.round(LEVEL[kind](SOME, 62, 2.0)), np.round(LEVEL[kind](SOME, 63, 2.0))
        x[::100] = np.nan
        for name in kernels.COMPARISONS:
            for a, b in ((x, y), (x[1:2], y), (x, y[1:2])):
                found.append(np.empty(SOME, np.bool_))
                kernels.compare(name, *(asarray(v) for v in (a, b, found[-1])))
    return found


def unusual(kind: np.dtype) -> np.ndarray:
    """Return touchy numbers, infinities and NaN of either sign."""
    x = TOUCHY[kind](SOME, 64)
    x[1::50], x[2::50] = np.copysign(kind.type(np.inf), x[1::50]), np.nan
    x[3::50] = -x[2::50][: len(x[3::50])]
    return x


def classify() -> list[Any]:
    found = []
    for kind in dtypes.FLOATS:
        for name in kernels.CLASSES:
            found.append(np.empty(SOME, np.bool_))
            kernels.classify(name, asarray(unusual(kind)), asarray(found[-1]))
    return found


def order_key() -> list[Any]:
    found = []
    for kind in dtypes.FLOATS:
        found.append(np.empty(SOME, f"u{kind.itemsize}"))
        kernels.order_key(asarray(unusual(kind)), asarray(found[-1]))
    return found


def any_of(kind: np.dtype) -> np.ndarray:
    """Return numbers of all sizes of a type, none of them NaN."""
    if kind in dtypes.FLOATS:
        x = TOUCHY[kind](SOME, 47)
        return np.concatenate([x, x * x.dtype.type(2.0**44)])
    raw = np.uint64(words((SOME, 2), 48)) @ np.array([1 << 32, 1], np.uint64)
    if kind in dtypes.STORAGE:
        bits = raw.astype(np.uint16)
        top = 0x7C00 if kind == dtypes.float16 else 0x7F80
        return np.where(bits & top == top, bits ^ 0x4000, bits).astype(np.uint16).view(kind)
    return (raw >> np.arange(SOME, dtype=np.uint64) % np.uint64(64)).astype(kind)


def cast() -> list[Any]:
    found = []
    for source in kernels.TYPES:
        x = any_of(source)
        for target in kernels.TYPES:
            out = np.empty(x.shape, target)
            kernels.cast(asarray(x), asarray(out))
            found.append(out.view(np.uint16) if target == dtypes.bfloat16 else out)
    return found


def factors(kind: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Return numbers of either sign near 1, whose long products neither overflow nor vanish."""
    near = 1 + LEVEL[kind](shape, 49, 2.0**-6)
    return np.asarray(np.copysign(near, LEVEL[kind](shape, 50)))


def along(kernel: Callable[..., None], names: tuple[str, ...], *, whole: bool) -> list[Any]:
    """Return results of a kernel along the middle axis of arrays of shape (outer, n, inner)."""
    found = []
    for kind in dtypes.FLOATS:
        for shape in SHAPES:
            for name in names:
                x = factors(kind, shape) if name == "prod" else TOUCHY[kind](shape, 51)
                found.append(np.empty(shape if whole else (shape[0], shape[2]), kind))
                kernel(name, asarray(x), asarray(found[-1]))
    return found


def reduce_squares() -> list[Any]:
    found = []
    for kind in dtypes.FLOATS:
        for outer, n, inner in SHAPES:
            means = TOUCHY[kind]((outer, inner), 52)
            found.append(np.empty((outer, inner), kind))
            x = TOUCHY[kind]((outer, n, inner), 53)
            kernels.reduce_squares(*(asarray(v) for v in (x, means, found[-1])))
    return found


def gemm_double() -> list[Any]:
    found = []
    for m, n, k in ((37, 70, 600), (190, 33, 257), (3, 210, 40), (1, 1, 1000)):
        found.append(np.empty((m, n)))
        a, b = touchy_double((m, k), 54), touchy_double((k, n), 55)
        kernels.matmul(*(asarray(v) for v in (a, b, found[-1])))
    return found


def dot_rows() -> list[Any]:
    found = []
    for kind in dtypes.FLOATS:
        for shape in ((37, 700), (9001, 3), (1, 5000)):
            found.append(np.empty(shape[0], kind))
            a, b = TOUCHY[kind](shape, 56), TOUCHY[kind](shape, 57)
            kernels.dot_rows(*(asarray(v) for v in (a, b, found[-1])))
    return found


def by_key(entry: Callable[..., None], kind: Any, *rest: Any) -> list[Any]:
    """Return random numbers of two keys, of odd and even counts."""
    found = []
    for key, stream, count in ((3, 5, SOME), (2**64 - 1, 2**63, SOME + 1)):
        found.append(np.empty(count, kind))
        entry(key, stream, *rest, asarray(found[-1]))
    return found


def uniform_by_key() -> list[Any]:
    return [
        array
        for kind in dtypes.FLOATS
        for low, high in ((0.0, 1.0), (-7.25, 0.1))
        for array in by_key(kernels.random_uniform, kind, asarray(np.array([low, high], kind)))
    ]


def integers_by_key() -> list[Any]:
    return [
        array
        for low, span in ((0, 6), (-(2**40), 2**41 + 1), (-(2**63), 2**64), (5, 2**63 + 1))
        for array in by_key(kernels.random_integers, np.int64, low, span)
    ]


def spoken() -> tuple[np.ndarray, list[int]]:
    """Log-probabilities of 6 labels over four utterances, one of them without frames."""
    return ops.log_softmax(level_data((300, 6), 91, 16.0)).numpy(), [0, 120, 120, 121, 300]


def beam_search() -> list[np.ndarray]:
    """Words 'b' and 'bc' between spaces 'a', one of them likelier after the other."""
    trie = Trie(
        first=np.array([1, 5, 5, 5, 5, 6, 6], dtype=np.int64),
        token=np.array([-1, 0, 1, 2, 3, 2], dtype=np.int32),
        suffix=np.array([0, 0, 0, 0, 0, 3], dtype=np.int32),
        after=np.array([0, 1, 2, 3, 4, 3], dtype=np.int32),
        log10_prob=np.array([0, -0.7, -2.5, -0.3, -0.6, -0.1], dtype=np.float32),
        backoff=np.array([0, 0, 0, -0.2, -0.4, 0], dtype=np.float32),
        start=0,
        unknown=1,
        end=0,
    )
    offsets, labels = np.array([0, 1, 3], dtype=np.int64), np.array([2, 2, 3], dtype=np.int32)
    spelling = Spelling(1, None, offsets, labels, np.array([2, 3], dtype=np.int32))
    weights = {"alpha": 0.7, "beta": 0.9, "unknown": -2.5}
    limits = {"beam": 20, "most": 5, "share": 0.99, "best": 4}
    found = ops.beam_search(*spoken(), spelling, trie, **weights, **limits)
    texts = [one for utterance in found for one in utterance]
    said = [label for one in texts for label in (*one.labels, 0)]
    return [np.array(said, dtype=np.int32), np.array([one.score for one in texts])]


def alignment() -> list[np.ndarray]:
    frames = ops.align(spoken()[0], [0, 121], [120, 300], [[1, 2, 2, 5] * 10, [3, 4] * 45])
    return [part for both in frames for part in both]


ITEMS = ops.Items(OFFSETS, np.array([0, 0, 1, 1, 2, 2, 3]))
LISTED = ops.Items(OFFSETS, ITEMS.leaves, np.argsort(words(FRAMES, 70)).astype(np.int64))


def over_items(sums: Callable[..., Any], *leaf_rows: int) -> list[Any]:
    """Return sums of two matrices over items, with so many matrices of a row a leaf."""
    leaves = [touchy_data((4, 133), seed) for seed in leaf_rows]
    operands = zip(touchy(FRAMES, 133, seed=71), touchy(FRAMES, 133, seed=72), strict=True)
    return [sums(a, b, *leaves, items) for a, b in operands for items in (ITEMS, LISTED)]


def batch_norm(backward: bool) -> list[Any]:
    mean, rstd = touchy_data((UTTERANCES, 133), 75), touchy_data((UTTERANCES, 133), 76)
    gain, bias = touchy_data(133, 77), touchy_data(133, 78)
    means = touchy_data((UTTERANCES, 266), 79)
    found = []
    for x, dy in zip(touchy(FRAMES, 133, seed=80), touchy(FRAMES, 133, seed=81), strict=True):
        if backward:
            found.append(ops.batch_norm_backward(dy, x, OFFSETS, mean, rstd, gain, means))
        else:
            found.append(ops.batch_norm(x, OFFSETS, mean, rstd, gain, bias))
            found.append(ops.batch_norm(x, OFFSETS, mean, rstd, gain, bias, clipped=True))
    return found


def running() -> list[Any]:
    found = touchy(MANY, seed=82)
    for statistic, sums in zip(found, touchy(MANY, seed=83), strict=True):
        ops.running(statistic, sums, 7, 0.1)
    return found


def layer_norm(backward: bool) -> list[Any]:
    found: list[Any] = []
    for rows, columns in ((300, 133), (37, 700)):
        x, gain, bias = level_data((rows, columns), 84), *touchy(columns, seed=85)
        y, mean, rstd = ops.layer_norm(x, gain, bias)
        if backward:
            dy = touchy_data((rows, columns), 86)
            found += ops.layer_norm_backward(dy, x, mean, rstd, gain)
        else:
            found += [y, mean, rstd]
    return found


CONVOLUTIONS = (  # features, channels, outputs, taps, width, strides of time and frequency
    *((13, 3, 34, 5, 5, 2, 2), (20, 9, 8, 3, 7, 1, 2), (41, 1, 5, 11, 21, 3, 1)),
)


def convolution(kind: str) -> list[Any]:
    """Return outputs and gradients by the input, or by the weight, over frames listed and not."""
    found = []
    lengths = np.diff(OFFSETS)
    for features, channels, outputs, taps, width, *strides in CONVOLUTIONS:
        options: dict[str, Any] = {"features": features, "stride": tuple(strides)}
        of = ops.Extent.whole(lengths)
        to = ops.Extent.whole(ops.conv_reach(taps, strides[0]).out_lengths(lengths))
        rows, columns = int(to.offsets[-1]), -(-features // strides[1]) * outputs
        frames = touchy(FRAMES, features * channels, seed=87)
        for x, dy in zip(frames, touchy(rows, columns, seed=88), strict=True):
            weight = touchy_data((outputs, taps, width, channels), 89)
            if kind == "rows":
                found.append(ops.conv_frames(x, of, to, weight, **options))
                found.append(ops.conv_frames_input_gradient(dy, to, of, weight, **options))
                continue
            for order in (None, np.arange(rows)[::-1].copy()):
                items = ops.Items(to.offsets, ITEMS.leaves, order)
                kernel = {"kernel": (taps, width), **options}
                found.append(ops.conv_frames_weight_gradient(dy, x, of, to, items, **kernel))
    return found


def row_convolution(kind: str) -> list[Any]:
    found = []
    extent = ops.Extent.whole(np.diff(OFFSETS))
    for x, dy in zip(touchy(FRAMES, 133, seed=92), touchy(FRAMES, 133, seed=93), strict=True):
        weight = touchy_data((20, 133), 94)
        if kind == "rows":
            found.append(ops.row_conv(x, extent, extent, weight))
            found.append(ops.row_conv_input_gradient(dy, extent, extent, weight))
        else:
            for items in (ITEMS, LISTED):
                found.append(ops.row_conv_weight_gradient(dy, x, extent, extent, items, taps=20))
    return found


CASES: dict[str, Callable[[], list[Any]]] = {
    "mj_add_arrays": lambda: pairs(ops.add, (MANY,), (MANY,)),
    "mj_multiply_arrays": lambda: pairs(ops.multiply, (MANY,), (MANY,)),
    "mj_rectify_array": lambda: [ops.rectify(x) for x in touchy(MANY, seed=30)],
    "mj_round_bfloat16_array": lambda: [ops.round_bfloat16(x) for x in touchy(MANY, seed=30)],
    "mj_rectify_backward_array": lambda: [
        ops.rectify_backward(dy, ops.rectify(level_data(MANY, 31, 32.0)))
        for dy in touchy(MANY, seed=32)
    ],
    "mj_bias_rows": lambda: pairs(ops.bias, (300, 133), (133,)),
    "mj_bias_rectify_rows": lambda: pairs(
        lambda x, b: ops.bias(x, b, clipped=True), (300, 133), (133,)
    ),
    "mj_normalise_rows": lambda: pairs(ops.normalise, (300, 133), (133,), (133,)),
    "mj_uniform_array": lambda: [ops.uniform(1003, gain=2.0, fan_in=77, seed=-3, stream=1 << 50)],
    "mj_philox_words": lambda: [ops.words(1003, seed=9, stream=10)],
    "mj_dropout_rows": dropout,
    "mj_context_rows": lambda: [ops.context(touchy_data((FRAMES, 13), 33), OFFSETS, 3)],
    "mj_gemm": gemm,
    "mj_gemm_leaves": gemm_leaves,
    "mj_sum_leaves": sum_leaves,
    "mj_tree_sum": tree_sum,
    "mj_gemm_leaves in bfloat16": lambda: gemm_leaves(rounded=True),
    "mj_sum_leaves in bfloat16": lambda: sum_leaves(rounded=True),
    "mj_tree_sum in bfloat16": lambda: tree_sum(rounded=True),
    "mj_sum_rows": lambda: pairs(ops.sum_rows, (700, 200)),
    "mj_sum_deviations": lambda: pairs(ops.sum_deviations, (700, 200), (200,)),
    "mj_sum_square_deviations": lambda: pairs(
        lambda x, c: ops.sum_deviations(x, c, squared=True), (700, 200), (200,)
    ),
    "mj_square_sum": lambda: [ops.square_sum(x) for x in touchy(256 * 300 + 77, seed=34)],
    "mj_mean_of": lambda: pairs(lambda c, s: ops.mean_of(c, s, 12345), (300,), (300,)),
    "mj_scale_of": lambda: pairs(lambda s, q: ops.scale_of(s, np.abs(q), 12345), (300,), (300,)),
    "mj_rnn_forward_rows": lambda: [rnn(hidden)[3] for hidden in (29, 270)],
    "mj_rnn_backward_rows": rnn_backward,
    "mj_rnn_forward_step": lambda: rnn_steps(False),
    "mj_rnn_backward_step": lambda: rnn_steps(True),
    "mj_rnn_forward_rows of gated cells": gated_forward,
    "mj_rnn_backward_rows of gated cells": gated_backward,
    "mj_rnn_forward_step of gated cells": lambda: gated_steps(False),
    "mj_rnn_backward_step of gated cells": lambda: gated_steps(True),
    "mj_rnn_forward_rows in bfloat16": lambda: rounded_cells(False),
    "mj_rnn_backward_rows in bfloat16": lambda: rounded_cells(True),
    "mj_sum_directions": lambda: pairs(lambda h: ops.sum_directions(h, 2), (FRAMES, 130)),
    "mj_repeat_directions": lambda: pairs(lambda h: ops.repeat_directions(h, 2), (FRAMES, 65)),
    "mj_rnn_previous_rows": lambda: pairs(lambda h: ops.rnn_previous(h, OFFSETS, 2), (FRAMES, 130)),
    "mj_log_softmax_rows": lambda: [
        ops.log_softmax(level_data((700, v), v, 16.0)) for v in (2, 29, 300)
    ],
    "mj_ctc": ctc,
    "mj_sum_items": lambda: over_items(lambda a, _, items: ops.sum_items(a, items)),
    "mj_square_items": lambda: over_items(
        lambda x, _, mean, items: ops.deviation_items(x, mean, items), 73
    ),
    "mj_norm_dot_items": lambda: over_items(ops.gradient_items, 73, 74),
    "mj_leaf_means": lambda: [
        ops.leaf_means(x, np.diff(OFFSETS)) for x in touchy(UTTERANCES, 133, seed=73)
    ],
    "mj_rstd_array": lambda: [ops.rstd(np.abs(x)) for x in touchy(MANY, seed=74)],
    "mj_norm_rows": lambda: batch_norm(False),
    "mj_norm_backward_rows": lambda: batch_norm(True),
    "mj_running_array": running,
    "mj_layer_norm_rows": lambda: layer_norm(False),
    "mj_layer_norm_backward_rows": lambda: layer_norm(True),
    "mj_conv_rows": lambda: convolution("rows"),
    "mj_conv_weight_items": lambda: convolution("weight"),
    "mj_row_conv_rows": lambda: row_convolution("rows"),
    "mj_row_conv_weight_items": lambda: row_convolution("weight"),
    "mj_beam_search": beam_search,
    "mj_ctc_align": alignment,
    "mj_spectrogram": lambda: [
        ops.spectrogram(level_data(9000, window, 1.0), window, window // 2)
        for window in (160, 320, 220, 77)
    ],
    "mj_samples_of": lambda: [ops.samples(pcm())],
    "mj_pcm_of": lambda: [ops.pcm(level_data(SOME, 70, 2.0)), ops.pcm(touchy_data(SOME, 71))],
    "mj_change_speed": lambda: [
        ops.change_speed(level_data(1003, 72, 2.0), Fraction(speed))
        for speed in ("9/10", "11/10", "1", "2", "1/2", "37/31")
    ],
    "mj_change_level": lambda: [
        ops.change_level(level_data(SOME, 73, 2.0), -20.0, 10.0, int(bits)) for bits in words(5, 74)
    ],
    "mj_add_noise": lambda: [
        ops.add_noise(level_data(SOME, 75, 2.0), level_data(length, 76), 7, 0.0, 30.0, int(bits))
        for length, bits in zip((8, 777, SOME + 50), words(3, 77), strict=True)
    ],
    "mj_norm_and_factor": lambda: [
        part for x in touchy(5000, seed=35) for part in ops.factor_of(ops.square_sum(x), 1e-20)
    ],
    "mj_nesterov_array": nesterov,
    "mj_learning_rate_at": rates,
    "mj_moment_weights": shares,
    "mj_adam_array": adam,
    "mj_adagrad_array": adagrad,
    "mj_noise_array": noise,
    "mj_argmax_rows": lambda: [ops.argmax(touchy_data((700, 29), 36))],
    "mj_math_array": exp_and_log,
    "mj_math_array of gates": sigmoid_and_tanh,
    "mj_fma_array": lambda: pairs(bodies.fma, (MANY,), (MANY,), (MANY,)),
    "mj_unary": unary,
    "mj_binary": binary,
    "mj_unary signs": signs,
    "mj_compare": compare,
    "mj_classify": classify,
    "mj_order_key": order_key,
    "mj_cast": cast,
    "mj_reduce": lambda: along(kernels.reduce, kernels.REDUCTIONS, whole=False),
    "mj_cumulate": lambda: along(kernels.cumulate, ("sum", "prod"), whole=True),
    "mj_reduce_squares": reduce_squares,
    "mj_gemm_double": gemm_double,
    "mj_dot_rows": dot_rows,
    "mj_random_keys": lambda: [
        kernels.random_keys(40, key, stream, first)
        for key, stream, first in ((0, 0, 0), (2**64 - 1, 77, 2**64 - 50))
    ],
    "mj_random_bits": lambda: by_key(kernels.random_bits, np.uint64),
    "mj_random_uniform": uniform_by_key,
    "mj_random_normal": lambda: [
        array for kind in dtypes.FLOATS for array in by_key(kernels.random_normal, kind)
    ],
    "mj_random_integers": integers_by_key,
    "mj_random_coins": lambda: by_key(kernels.random_coins, np.bool_, 3 << 50),
}


def outputs(kernel: str) -> list[np.ndarray]:
    """Return what that kernel gives over its inputs."""
    return [np.asarray(array) for array in CASES[kernel]()]


def digests() -> dict[str, str]:
    """Return the digest of each kernel."""
    return {kernel: digest(*outputs(kernel)) for kernel in CASES}


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--print"]:
        for count in [int(text) for text in arguments[1:]] or [1]:
            native.set_threads(count)
            print(json.dumps(digests()))
        return
    content = {"arithmetic": ARITHMETIC, "digests": digests()}
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(json.dumps(content, indent=2) + "\n")
    every = {case.name: digest(*one_case.on_cpu(case)) for case in gpu_cases.all_cases()}
    EVERY_PLACE.write_text(json.dumps(every, indent=1) + "\n")
    print(PATH, EVERY_PLACE)


if __name__ == "__main__":
    main(sys.argv[1:])
