"""Convolutions over packed frames: values, order, and frames split among ranks."""

from __future__ import annotations

from functools import cache
from typing import Any

import needs
import numpy as np
import pytest
from makers import U, canonical, fma, gemm, level_data, same_bits, touchy_data

from majelpy import native, ops
from majelpy.errors import ShapeError

LENGTHS = np.array([7, 1, 0, 12, 3])

# Features, channels, outputs, taps, width, strides of time and frequency.
SHAPES = [
    (9, 3, 4, 5, 5, 2, 2),
    (33, 2, 40, 5, 11, 1, 2),
    (7, 1, 8, 11, 4, 3, 2),
    (6, 2, 3, 2, 2, 3, 3),
    (5, 2, 3, 1, 1, 2, 3),
    (40, 5, 2, 11, 21, 2, 1),
    (2, 1, 1, 3, 7, 1, 1),
]


class Problem:
    """Operands of a convolution over whole utterances."""

    def __init__(self, shape: tuple[int, ...], data: Any = touchy_data):
        self.features, channels, outputs, taps, width, *strides = shape
        self.kernel, self.stride = (taps, width), (strides[0], strides[1])
        self.reach = ops.conv_reach(taps, strides[0])
        self.of = ops.Extent.whole(LENGTHS)
        self.to = ops.Extent.whole(self.reach.out_lengths(LENGTHS))
        self.places = -(-self.features // strides[1])
        self.x = data((int(LENGTHS.sum()), self.features * channels), 1)
        self.weight = data((outputs, taps, width, channels), 2)
        self.dy = data((int(self.to.offsets[-1]), self.places * outputs), 3)

    @property
    def options(self) -> dict[str, Any]:
        return {"features": self.features, "stride": self.stride}

    def patches(self) -> np.ndarray:
        """Return what each output looks at, (rows, places, taps * width * C)."""
        channels = self.weight.shape[3]
        found = np.zeros((len(self.dy), self.places, *self.kernel, channels), np.float32)
        x = self.x.reshape(len(self.x), self.features, channels)
        for row, (u, t) in enumerate(zip(*self.to.frames(), strict=True)):
            for place, tap, side in np.ndindex(self.places, *self.kernel):
                frame = t * self.stride[0] + tap - (self.kernel[0] - 1) // 2
                feature = place * self.stride[1] + side - (self.kernel[1] - 1) // 2
                if 0 <= frame < LENGTHS[u] and 0 <= feature < self.features:
                    found[row, place, tap, side] = x[self.of.offsets[u] + frame, feature]
        return found.reshape(len(self.dy), self.places, -1)

    def forward(self, x: Any, of: ops.Extent, to: ops.Extent) -> Any:
        return ops.conv_frames(x, of, to, self.weight, **self.options)

    def back(self, dy: Any, of: ops.Extent, to: ops.Extent) -> Any:
        return ops.conv_frames_input_gradient(dy, of, to, self.weight, **self.options)

    def by_weight(self, dy: Any, x: Any, of: ops.Extent, to: ops.Extent, items: ops.Items) -> Any:
        options = {**self.options, "kernel": self.kernel}
        return ops.conv_frames_weight_gradient(dy, x, of, to, items, **options)


@cache
def outputs(shape: tuple[int, ...]) -> np.ndarray:
    case = Problem(shape)
    patches, weight = case.patches(), case.weight.reshape(len(case.weight), -1)
    return gemm(patches.reshape(-1, patches.shape[2]), weight.T).reshape(case.dy.shape)


@cache
def input_gradients(shape: tuple[int, ...]) -> np.ndarray:
    """Return (M, features, C); inputs that the same taps see are one product."""
    case = Problem(shape)
    (taps, width), (time, across) = case.kernel, case.stride
    dy = case.dy.reshape(len(case.dy), case.places, -1)
    found = np.zeros((len(case.x), case.features, case.weight.shape[3]), np.float32)
    nothing = np.zeros(dy.shape[2], np.float32)
    for late, odd in np.ndindex(time, across):
        seen = [
            (tap, side)
            for tap in range(taps - 1, -1, -1)
            for side in range(width - 1, -1, -1)
            if (late + tap) % time == 0 and (odd + side) % across == 0
        ]
        inputs = [
            (row, u, t, feature)
            for row, (u, t) in enumerate(zip(*case.of.frames(), strict=True))
            for feature in range(case.features)
            if (t + (taps - 1) // 2 + late) % time == 0
            and (feature + (width - 1) // 2 + odd) % across == 0
        ]
        if not seen or not inputs:
            continue
        left = []
        for _, u, t, feature in inputs:
            for tap, side in seen:
                frame = (t + (taps - 1) // 2 - tap) // time
                place = (feature + (width - 1) // 2 - side) // across
                inside = 0 <= frame < case.to.lengths[u] and 0 <= place < case.places
                left.append(dy[case.to.offsets[u] + frame, place] if inside else nothing)
        right = np.concatenate([case.weight[:, tap, side] for tap, side in seen])
        sums = gemm(np.concatenate(left).reshape(len(inputs), -1), right)
        for (row, _, _, feature), total in zip(inputs, sums, strict=True):
            found[row, feature] = total
    return found


def items_of(case: Problem) -> ops.Items:
    """Two items of the outputs' rows, listed out of order, and between them one without rows."""
    rows = len(case.dy)
    bounds = np.array([0, rows // 3, rows // 3, rows])
    return ops.Items(bounds, np.arange(3), np.arange(rows)[::-1].copy())


@cache
def weight_gradients(shape: tuple[int, ...]) -> np.ndarray:
    case = Problem(shape)
    items, patches = items_of(case), case.patches()
    dy = case.dy.reshape(len(case.dy), case.places, -1)
    found = []
    for rows in np.split(np.asarray(items.order), items.offsets[1:-1]):
        left, right = dy[rows].reshape(-1, dy.shape[2]), patches[rows].reshape(-1, patches.shape[2])
        found.append(gemm(left.T, right).reshape(-1))
    return np.stack(found)


@pytest.mark.parametrize("shape", SHAPES)
def test_convolutions_have_the_canonical_order(each_isa: str, shape: tuple[int, ...]) -> None:
    case = Problem(shape)
    assert same_bits(case.forward(case.x, case.of, case.to), outputs(shape))
    dx = case.back(case.dy, case.to, case.of)
    assert same_bits(dx, input_gradients(shape).reshape(case.x.shape))
    found = case.by_weight(case.dy, case.x, case.of, case.to, items_of(case))
    assert same_bits(found, weight_gradients(shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_agree_with_pytorch_in_float64(shape: tuple[int, ...]) -> None:
    torch = needs.module("torch")
    case = Problem(shape, level_data)
    channels, (taps, width) = case.weight.shape[3], case.kernel
    x, w = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (case.x, case.weight))
    total = 0
    y = case.forward(case.x, case.of, case.to).numpy()
    off = 4 * 4 * U  # magnitudes are 4 at most; n terms: off by n * (258 + n / 256) of this
    terms = taps * width * channels
    for u, length in enumerate(LENGTHS):
        if not length:
            continue
        rows, outs = (slice(*e.offsets[u : u + 2].tolist()) for e in (case.of, case.to))
        image = x[rows].reshape(1, length, case.features, channels).permute(0, 3, 1, 2)
        borders = ((width - 1) // 2, width + case.stride[1], (taps - 1) // 2, taps + case.stride[0])
        padded = torch.nn.functional.pad(image, borders)
        found = torch.nn.functional.conv2d(padded, w.permute(0, 3, 1, 2), stride=case.stride)
        found = found[0, :, : case.to.lengths[u], : case.places].permute(1, 2, 0)
        found = found.reshape(int(case.to.lengths[u]), -1)
        near = {"rtol": 0, "atol": terms * (258 + terms / 256) * off}
        np.testing.assert_allclose(y[outs], found.detach(), **near)
        total = total + (found * torch.tensor(case.dy[outs], dtype=torch.float64)).sum()
    total.backward()
    dx = case.back(case.dy, case.to, case.of).numpy()
    terms = taps * width * len(case.weight)
    np.testing.assert_allclose(dx, x.grad, rtol=0, atol=terms * (258 + terms / 256) * off)
    whole = ops.Items(np.array([0, len(case.dy)]), np.array([0]))
    dw = case.by_weight(case.dy, case.x, case.of, case.to, whole).numpy()[0]
    terms = len(case.dy) * case.places
    near = {"rtol": 0, "atol": terms * (258 + terms / 256) * off}
    np.testing.assert_allclose(dw.reshape(w.shape), w.grad, **near)


def halves(lengths: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """First frame and the one after the last of both halves of utterances."""
    middle = lengths // 2
    return [(np.zeros_like(middle), middle), (middle, lengths)]


def cut(x: np.ndarray, whole: ops.Extent, part: ops.Extent) -> np.ndarray:
    """The rows of a part of the frames."""
    u, frame = part.frames()
    return x[whole.offsets[u] + frame]


@pytest.mark.parametrize("shape", SHAPES)
def test_frames_split_in_time_have_the_bits_of_all(shape: tuple[int, ...]) -> None:
    case = Problem(shape)
    y = case.forward(case.x, case.of, case.to).numpy()
    dx = case.back(case.dy, case.to, case.of).numpy()
    count, outs = (
        len(case.dy),
        [ops.Extent.range(*h, case.to.lengths) for h in halves(case.to.lengths)],
    )
    mine = [case.to.offsets[u] + frame for u, frame in (part.frames() for part in outs)]
    listed = ops.Items(
        np.array([0, len(mine[0]), count]), np.zeros(2, np.int64), np.concatenate(mine)
    )
    dw = case.by_weight(case.dy, case.x, case.of, case.to, listed).numpy()
    for half, to in enumerate(outs):
        needed = case.reach.needed(to.starts, to.stops, LENGTHS)
        of = ops.Extent.range(*needed, LENGTHS)
        x = cut(case.x, case.of, of)
        assert same_bits(case.forward(x, of, to), cut(y, case.to, to))
        rows = int(to.offsets[-1])
        alone = ops.Items(np.array([0, rows]), np.zeros(1, np.int64))
        found = case.by_weight(cut(case.dy, case.to, to), x, of, to, alone)
        assert same_bits(found, dw[half : half + 1])
    for start, stop in halves(LENGTHS):
        part = ops.Extent.range(start, stop, LENGTHS)
        fed = ops.Extent.range(*case.reach.fed(start, stop, LENGTHS), case.to.lengths)
        found = case.back(cut(case.dy, case.to, fed), fed, part)
        assert same_bits(found, cut(dx, case.of, part))


@pytest.mark.parametrize(("taps", "before", "stride"), [(11, 5, 2), (1, 0, 1), (4, 1, 3)])
def test_reach_is_what_outputs_look_at(taps: int, before: int, stride: int) -> None:
    reach = ops.Reach(taps, before, stride)
    for length in (0, 1, 9, 10):
        (count,) = reach.out_lengths(np.array([length]))
        assert count == len(range(0, length, stride))
        sees = {
            t: {
                f for f in range(t * stride - before, t * stride - before + taps) if 0 <= f < length
            }
            for t in range(count)
        }
        for start in range(length + 1):
            for stop in range(start, length + 1):
                ends = np.array([start]), np.array([stop]), np.array([length])
                inputs = set().union(*(sees[t] for t in range(start, min(stop, count))))
                if stop <= count:
                    low, high = (int(v[0]) for v in reach.needed(*ends))
                    assert set(range(low, high)) == inputs
                outputs = {t for t in range(count) if sees[t] & set(range(start, stop))}
                low, high = (int(v[0]) for v in reach.fed(*ends))
                assert set(range(low, high)) >= outputs
                assert all(low <= t < high for t in outputs) and high <= count


@pytest.mark.parametrize(("taps", "columns"), [(1, 5), (3, 37), (20, 16), (300, 3)])
def test_row_convolution(each_isa: str, taps: int, columns: int) -> None:
    lengths = np.array([5, 0, 310, 1])
    extent, reach = ops.Extent.whole(lengths), ops.row_conv_reach(taps)
    x, dy = touchy_data((316, columns), 4), touchy_data((316, columns), 5)
    weight = touchy_data((taps, columns), 6)
    y, dx = np.empty_like(x), np.empty_like(x)
    zero = np.zeros(columns)
    padded = np.zeros((316, taps, columns), np.float32)
    for row, (u, t) in enumerate(zip(*extent.frames(), strict=True)):
        later = min(taps, lengths[u] - t)
        padded[row, :later] = x[row : row + later]
        y[row] = canonical(later, lambda s, k, r=row: fma(weight[k], x[r + k], s), zero)
        dx[row] = canonical(
            min(taps, t + 1), lambda s, k, r=row: fma(weight[k], dy[r - k], s), zero
        )
    assert same_bits(ops.row_conv(x, extent, extent, weight), y)
    assert same_bits(ops.row_conv_input_gradient(dy, extent, extent, weight), dx)
    items = ops.Items(np.array([0, 300, 300, 316]), np.arange(3), np.arange(316)[::-1].copy())
    several = np.tile(dy, (1, taps))[::-1], padded.reshape(316, -1)[::-1]
    expected = []
    for a, b in ((0, 300), (300, 300), (300, 316)):
        d, p = (v[a:b] for v in several)
        terms = canonical(b - a, lambda s, i, d=d, p=p: fma(d[i], p[i], s), np.zeros(d.shape[1]))
        expected.append(terms)
    found = ops.row_conv_weight_gradient(dy, x, extent, extent, items, taps=taps)
    assert same_bits(found, np.stack(expected))
    for start, stop in halves(lengths):
        to = ops.Extent.range(start, stop, lengths)
        of = ops.Extent.range(*reach.needed(start, stop, lengths), lengths)
        rows = cut(x, extent, of)
        assert same_bits(ops.row_conv(rows, of, to, weight), cut(y, extent, to))
        fed = ops.Extent.range(*reach.fed(start, stop, lengths), lengths)
        part = ops.row_conv_input_gradient(cut(dy, extent, fed), fed, to, weight)
        assert same_bits(part, cut(dx, extent, to))


def test_row_convolution_is_the_gradient_of_itself() -> None:
    # <dy, conv(x)> is linear in x and in the weight: both gradients give it back.
    lengths = np.array([40, 3])
    extent = ops.Extent.whole(lengths)
    x, dy, w = (level_data(s, 7 + i, 1.0) for i, s in enumerate([(43, 6), (43, 6), (5, 6)]))
    exact = [v.astype(np.float64) for v in (x, dy, w)]
    wanted = np.zeros(6)
    for row, (u, t) in enumerate(zip(*extent.frames(), strict=True)):
        for k in range(min(5, lengths[u] - t)):
            wanted += exact[1][row] * exact[2][k] * exact[0][row + k]
    items = ops.Items(np.array([0, 43]), np.array([0]))
    dx = ops.row_conv_input_gradient(dy, extent, extent, w).numpy().astype(np.float64)
    dw = ops.row_conv_weight_gradient(dy, x, extent, extent, items, taps=5).numpy()[0]
    near = {"rtol": 0, "atol": 43 * 5 * 50 * U}  # 215 terms of 1 at most, sums of 43 or fewer
    np.testing.assert_allclose((dx * exact[0]).sum(0), wanted, **near)
    np.testing.assert_allclose((dw.reshape(5, 6) * exact[2]).sum(0), wanted, **near)


@pytest.mark.parametrize("count", [2, 5])
def test_threads_change_no_bit(count: int, threads: None) -> None:
    case = Problem(SHAPES[1])

    def results() -> list[np.ndarray]:
        found = [case.forward(case.x, case.of, case.to), case.back(case.dy, case.to, case.of)]
        found.append(case.by_weight(case.dy, case.x, case.of, case.to, items_of(case)))
        return [one.numpy().copy() for one in found]

    alone = results()
    native.set_threads(count)
    assert all(same_bits(a, b) for a, b in zip(results(), alone, strict=True))


def test_refusals() -> None:
    case = Problem(SHAPES[0])
    with pytest.raises(ShapeError, match=r"^conv_frames: x has 26 columns; needs 27"):
        case.forward(case.x[:, :26], case.of, case.to)
    with pytest.raises(ShapeError, match=r"^conv_frames: the extent of x has 6 offsets up to \[23"):
        case.forward(case.x[:9], case.of, case.to)
    with pytest.raises(ShapeError, match=r"^conv_frames: inputs of \[7, 1, 0, 12, 3\] frames and"):
        case.forward(case.x, case.of, case.of)
    late = ops.Extent.range(np.minimum(LENGTHS, 2), LENGTHS, LENGTHS)
    with pytest.raises(ShapeError, match=r"^conv_frames: x has frames 2 to 7 of utterance 0; ne"):
        case.forward(cut(case.x, case.of, late), late, case.to)
    with pytest.raises(ShapeError, match=r"^conv_frames: the extent of x has frames 0 to 7 of utt"):
        case.forward(case.x, ops.Extent(case.of.offsets, case.of.starts, LENGTHS // 2), case.to)
    with pytest.raises(ShapeError, match=r"^conv_frames_input_gradient: dy has 5 columns; needs"):
        case.back(case.dy[:, :5], case.to, case.of)
    with pytest.raises(ShapeError, match=r"^row_conv: weight has 26 columns; needs 27"):
        ops.row_conv(case.x, case.of, case.of, np.zeros((3, 26), np.float32))
    with pytest.raises(ShapeError, match=r"^row_conv: x has frames 2 to 7 of utterance 0; needs 0"):
        weight = np.zeros((3, 27), np.float32)
        ops.row_conv(cut(case.x, case.of, late), late, case.of, weight)
