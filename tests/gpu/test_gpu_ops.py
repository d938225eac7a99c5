"""Operations on a GPU place, shown on the emulation: the CPU's bits, and one place at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import bodies
import numpy as np
import pytest
from gpu_place import GPU, emulated_gpu
from makers import level_data, same_bits, touchy_data

from majelpy import ops
from majelpy.array import asarray
from majelpy.errors import CopyError
from majelpy.memory import CPU

OFFSETS = np.array([0, 7, 7, 12], dtype=np.int64)
LEAVES = ops.Leaves(OFFSETS, np.array([0, 1, 1], dtype=np.int32))
DROPOUT = ops.Dropout(0.5, 1, 2, OFFSETS, np.array([4, 5, 6]))

X, Y, SQUARE = touchy_data((12, 6), 1), touchy_data((12, 6), 2), level_data((2, 3, 3), 3, 0.5)
ROW, OTHER = touchy_data(6, 4), touchy_data(6, 5)
POSITIVE = np.abs(ROW) + np.float32(1)
SAMPLES = level_data(200, 6, 1.0)
ITEMS = ops.Items(OFFSETS, np.array([0, 0, 1]), np.arange(12)[::-1].copy())
FRAMES = ops.Extent.whole(np.diff(OFFSETS))
KERNEL = touchy_data((3, 3, 5, 2), 10)
TWO, MEANS = touchy_data((2, 6), 11), touchy_data((3, 12), 12)
THREE, LINE = touchy_data((3, 6), 13), touchy_data(12, 14)
DY = touchy_data((12, 9), 15)


def pushed(push: Callable[[Any], None], like: Any) -> Any:
    """The sum that an operation leaves in slots of zeros on the place of an operand."""
    slots = asarray(np.zeros((2, 40), np.float32)).to_device(like.place)
    push(slots)
    return slots[:1]  # what is above it is scratch


def nesterov(p: Any, v: Any, g: Any, one: Any) -> list[Any]:
    p, v = p.copy(), v.copy()
    ops.nesterov(p, v, g, factor=one, rate=one, momentum=0.5, decay=0.25)
    return [p, v]


def running(statistic: Any, sums: Any) -> Any:
    moved = statistic.copy()
    ops.running(moved, sums, 2, 0.5)
    return moved


def adam(p: Any, m: Any, v: Any, g: Any, one: Any) -> list[Any]:
    p, m, v = p.copy(), m.copy(), v.copy()
    betas = {"beta1": 0.5, "beta2": 0.75}
    shares = ops.moment_weights(3, **betas, device=p.place)
    ops.adam(p, m, v, g, factor=one, rate=one, weights=shares, **betas, epsilon=0.5, decay=0.25)
    return [p, m, v]


def adagrad(p: Any, s: Any, g: Any, one: Any) -> list[Any]:
    p, s = p.copy(), s.copy()
    ops.adagrad(p, s, g, factor=one, rate=one, epsilon=0.5, decay=0.25)
    return [p, s]


# Name: the operation, and its array operands.
CASES: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "add": (ops.add, (X, Y)),
    "multiply": (ops.multiply, (X, Y)),
    "rectify": (ops.rectify, (X,)),
    "rectify_backward": (ops.rectify_backward, (X, Y)),
    "round_bfloat16": (ops.round_bfloat16, (X,)),
    "bias": (ops.bias, (X, ROW)),
    "bias clipped": (lambda x, b: ops.bias(x, b, clipped=True), (X, ROW)),
    "normalise": (ops.normalise, (X, ROW, OTHER)),
    "context": (lambda x: ops.context(x, OFFSETS, 2), (X,)),
    "exp": (lambda x: bodies.math_function("exp", x), (X,)),
    "fma": (bodies.fma, (X, Y, X)),
    "gemm": (lambda a, b: ops.gemm(a, b, transpose_b=True), (X, Y)),
    "gemm_leaves": (
        lambda a, b: pushed(lambda s: ops.gemm_leaves(a, b, LEAVES, s, 3), a), (X, Y)
    ),
    "sum_leaves": (lambda a: pushed(lambda s: ops.sum_leaves(a, LEAVES, s, 30), a), (X,)),
    "sum_rows": (ops.sum_rows, (X,)),
    "sum_deviations": (ops.sum_deviations, (X, ROW)),
    "square deviations": (lambda x, c: ops.sum_deviations(x, c, squared=True), (X, ROW)),
    "mean_of": (lambda c, s: ops.mean_of(c, s, 7), (ROW, OTHER)),
    "scale_of": (lambda s, q: ops.scale_of(s, q, 7), (ROW, POSITIVE)),
    "square_sum": (ops.square_sum, (ROW,)),
    "factor_of": (lambda g: list(ops.factor_of(ops.square_sum(g), 2.0)), (ROW,)),
    "nesterov": (nesterov, (ROW, OTHER, POSITIVE, touchy_data(1, 7))),
    "adam": (adam, (ROW, OTHER, POSITIVE, OTHER, touchy_data(1, 7))),
    "adagrad": (adagrad, (ROW, POSITIVE, OTHER, touchy_data(1, 7))),
    "noisy": (lambda w: ops.noisy(w, 0.5, seed=1, stream=2, step=3, first=5), (ROW,)),
    "dropout": (lambda x: DROPOUT.apply(x, 1), (X,)),
    "rnn_forward": (lambda x, w: ops.rnn_forward(x, OFFSETS, w).h, (X, SQUARE)),
    "rnn_backward": (lambda d, w, h: ops.rnn_backward(d, OFFSETS, w, h).dx, (X, SQUARE, Y)),
    "rnn_previous": (lambda h: ops.rnn_previous(h, OFFSETS, 2), (X,)),
    "sum_directions": (lambda h: ops.sum_directions(h, 2), (X,)),
    "repeat_directions": (lambda d: ops.repeat_directions(d, 2), (X,)),
    "log_softmax": (ops.log_softmax, (level_data((12, 6), 8, 4.0),)),
    "argmax": (ops.argmax, (X,)),
    "ctc_loss": (
        lambda p: list(ops.ctc_loss(p, OFFSETS[[0, 1, 3]], [[1, 1], [2]], scale=0.5)),
        (level_data((12, 6), 9, 4.0),),
    ),
    "spectrogram": (lambda s: ops.spectrogram(s, 20, 10), (SAMPLES,)),
    "sum_items": (lambda x: ops.sum_items(x, ITEMS), (X,)),
    "merge_items": (lambda x: ops.merge_items(x, ITEMS), (X[:3],)),
    "deviation_items": (lambda x, m: ops.deviation_items(x, m, ITEMS), (X, TWO)),
    "gradient_items": (
        lambda d, x, m, r: ops.gradient_items(d, x, m, r, ITEMS), (X, Y, TWO, TWO)
    ),
    "leaf_means": (lambda s: ops.leaf_means(s, [7, 0]), (TWO,)),
    "rstd": (ops.rstd, (POSITIVE,)),
    "running": (running, (ROW, OTHER)),
    "batch_norm": (
        lambda x, m, r, g, b: ops.batch_norm(x, OFFSETS, m, r, g, b, clipped=True),
        (X, THREE, THREE, ROW, OTHER),
    ),
    "batch_norm_backward": (
        lambda d, x, m, r, g, e: ops.batch_norm_backward(d, x, OFFSETS, m, r, g, e),
        (X, Y, THREE, THREE, ROW, MEANS),
    ),
    "layer_norm": (lambda x, g, b: list(ops.layer_norm(x, g, b)), (X, ROW, OTHER)),
    "layer_norm_backward": (
        lambda d, x, m, r, g: list(ops.layer_norm_backward(d, x, m, r, g)),
        (X, Y, LINE, LINE, ROW),
    ),
    "conv_frames": (
        lambda x, w: ops.conv_frames(x, FRAMES, FRAMES, w, features=3), (X, KERNEL)
    ),
    "conv_frames_input_gradient": (
        lambda d, w: ops.conv_frames_input_gradient(d, FRAMES, FRAMES, w, features=3),
        (DY, KERNEL),
    ),
    "conv_frames_weight_gradient": (
        lambda d, x: ops.conv_frames_weight_gradient(
            d, x, FRAMES, FRAMES, ITEMS, features=3, kernel=(3, 5)
        ),
        (DY, X),
    ),
    "row_conv": (lambda x, w: ops.row_conv(x, FRAMES, FRAMES, w), (X, TWO)),
    "row_conv_input_gradient": (
        lambda d, w: ops.row_conv_input_gradient(d, FRAMES, FRAMES, w), (X, TWO)
    ),
    "row_conv_weight_gradient": (
        lambda d, x: ops.row_conv_weight_gradient(d, x, FRAMES, FRAMES, ITEMS, taps=2), (X, Y)
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _place() -> Iterator[None]:
    with emulated_gpu():
        yield


def listed(found: Any) -> list[np.ndarray]:
    """What an operation gives, on the host."""
    several = found if isinstance(found, list) else [found]
    return [
        one if isinstance(one, np.ndarray) else one.to_device(CPU).numpy().copy() for one in several
    ]


@pytest.mark.parametrize("name", CASES)
def test_equal_bits(name: str) -> None:
    operation, hosts = CASES[name]
    expected = operation(*(asarray(host) for host in hosts))
    found = operation(*(asarray(host).to_device(GPU) for host in hosts))
    for one in found if isinstance(found, list) else [found]:
        assert isinstance(one, np.ndarray) or one.place == GPU
    pairs = zip(listed(found), listed(expected), strict=True)
    assert all(same_bits(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", [n for n, (_, hosts) in CASES.items() if len(hosts) > 1])
def test_places_are_not_mixed(name: str) -> None:
    operation, hosts = CASES[name]
    for odd in range(len(hosts)):
        mixed = [asarray(h).to_device(GPU if i == odd else CPU) for i, h in enumerate(hosts)]
        with pytest.raises(CopyError, match=r"lies on (cpu|gpu:0) and .* on (cpu|gpu:0); needs"):
            operation(*mixed)


def test_the_message_names_the_operands() -> None:
    a, b = asarray(X).to_device(GPU), asarray(X)
    message = r"^gemm: a lies on gpu:0 and b on cpu; needs one place \(to_device moves an array\)$"
    with pytest.raises(CopyError, match=message):
        ops.gemm(a, b, transpose_b=True)
    with pytest.raises(CopyError, match=r"^sum_leaves: x lies on gpu:0 and slots on cpu"):
        ops.sum_leaves(a, LEAVES, np.zeros((2, 40), np.float32), 0)
