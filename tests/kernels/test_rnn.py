"""The recurrent layer over packed utterances."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from makers import level_data, rnn_backward, rnn_forward, same_bits, touchy_data

from majelpy import native, ops
from majelpy.array import asarray, zeros
from majelpy.errors import DTypeError, ShapeError

LENGTHS = [3, 1, 0, 6, 2, 4, 4, 1, 5, 2, 3, 3, 0, 1, 2, 6, 2]


def offsets_of(lengths: list[int]) -> np.ndarray:
    return np.cumsum([0, *lengths], dtype=np.int64)


def case(lengths: list[int], hidden: int, directions: int, seed: int) -> tuple[np.ndarray, ...]:
    """Return x, offsets, weight, dy: states that neither die nor all reach 20."""
    rows = sum(lengths)
    x = level_data((rows, directions * hidden), seed)
    weight = level_data((directions, hidden, hidden), seed + 1, 2.0 / hidden**0.5)
    dy = level_data((rows, directions * hidden), seed + 2)
    x[:, ::5] *= np.float32(2.0**-140)  # states that are denormal at the first step
    return x, offsets_of(lengths), weight, dy


def both(case: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    x, offsets, weight, dy = case
    h = ops.rnn_forward(x, offsets, weight).h.numpy()
    return h, ops.rnn_backward(dy, offsets, weight, h).dx.numpy()


@pytest.mark.parametrize(
    ("hidden", "lengths", "directions"),
    [
        (1, [4, 2], 1),
        (7, LENGTHS, 2),
        (16, LENGTHS, 2),
        (33, LENGTHS, 2),
        (40, [5], 3),
        (257, [3, 2, 3], 2),
        (600, [3], 1),
    ],
)
def test_states_and_gradients_are_canonical(
    hidden: int, lengths: list[int], directions: int
) -> None:
    x, offsets, weight, dy = case(lengths, hidden, directions, hidden)
    h, dx = both((x, offsets, weight, dy))
    assert same_bits(h, rnn_forward(x, offsets.tolist(), weight))
    assert same_bits(dx, rnn_backward(dy, offsets.tolist(), weight, h))


@pytest.mark.parametrize(("hidden", "parts"), [(32, 2), (40, 3), (70, 4), (600, 2), (112, 7)])
def test_sums_in_parts(hidden: int, parts: int) -> None:
    x, offsets, weight, dy = case(LENGTHS[:6], hidden, 2, hidden)
    h = ops.rnn_forward(x, offsets, weight, parts=parts).h.numpy()
    assert same_bits(h, rnn_forward(x, offsets.tolist(), weight, parts))
    dx = ops.rnn_backward(dy, offsets, weight, h, parts=parts).dx.numpy()
    assert same_bits(dx, rnn_backward(dy, offsets.tolist(), weight, h, parts))
    assert not same_bits(h, ops.rnn_forward(x, offsets, weight).h.numpy()), "the data show no order"


@pytest.mark.parametrize(("hidden", "parts"), [(7, 1), (33, 1), (70, 4), (257, 1)])
def test_states_enter_sums_in_bfloat16(hidden: int, parts: int, each_isa: str) -> None:
    x, offsets, weight, dy = case(LENGTHS[:6], hidden, 2, hidden)
    cell = replace(ops.RNN, rounded=True)

    def operand(state: np.ndarray) -> np.ndarray:
        return ops.round_bfloat16(np.ascontiguousarray(state)).numpy()

    h = ops.rnn_forward(x, offsets, weight, cell=cell, parts=parts).h.numpy()
    assert same_bits(h, rnn_forward(x, offsets.tolist(), weight, parts, operand))
    dx = ops.rnn_backward(dy, offsets, weight, h, cell=cell, parts=parts).dx.numpy()
    assert same_bits(dx, rnn_backward(dy, offsets.tolist(), weight, h, parts, operand))
    assert not same_bits(h, ops.rnn_forward(x, offsets, weight, parts=parts).h)
    assert not same_bits(dx, ops.rnn_backward(dy, offsets, weight, h, parts=parts).dx)


@pytest.mark.parametrize("parts", [1, 3])
def test_a_sequence_in_two_halves_is_the_whole(parts: int) -> None:
    """Each half is carried on from the state at the middle, in each direction alone."""
    hidden = 48
    x, offsets, weight, dy = case(LENGTHS, hidden, 2, 11)
    h = ops.rnn_forward(x, offsets, weight, parts=parts).h.numpy()
    dx = ops.rnn_backward(dy, offsets, weight, h, parts=parts).dx.numpy()
    before = ops.rnn_previous(h, offsets, 2).numpy()
    lengths = np.diff(offsets)
    middles = lengths // 2
    halves = []
    for first, last in ((0 * middles, middles), (middles, lengths)):
        rows = [np.arange(o + a, o + b) for o, a, b in zip(offsets, first, last, strict=False)]
        halves.append((np.concatenate(rows).astype(int), offsets_of((last - first).tolist())))

    for d in range(2):
        columns = slice(d * hidden, (d + 1) * hidden)
        w = weight[d : d + 1]
        for backwards, found in ((False, h), (True, dx)):
            # The half that this direction comes to last is carried on where the other has frames.
            late = 1 if (d == 0) != backwards else 0
            (_, other), (rows, cut) = halves[1 - late], halves[late]
            which = (np.diff(other) > 0).astype(np.int64)
            at_middle = offsets[:-1] + middles - (1 if late == 1 else 0)
            state = np.where(
                which[:, None] == 1, found[np.minimum(at_middle, len(h) - 1), columns], 7
            )
            carried = ops.Carried(which, asarray(state[None].astype(np.float32)))
            part = np.ascontiguousarray
            options = {"parts": parts, "first": d, "carried": carried}
            if not backwards:
                got = ops.rnn_forward(part(x[rows, columns]), cut, w, **options).h
                earlier = ops.rnn_previous(got, cut, 1, first=d, carried=carried)
                assert same_bits(earlier, before[rows, columns])
            else:
                inputs = part(dy[rows, columns]), cut, w, part(h[rows, columns])
                got = ops.rnn_backward(*inputs, **options).dx
            assert same_bits(got, found[rows, columns])


def test_carried_states_of_the_wrong_shape() -> None:
    x, offsets, weight, _ = case([2, 3], 16, 2, 1)
    wrong = ops.Carried(np.ones(2, np.int64), zeros((1, 2, 16)))
    with pytest.raises(ShapeError, match=r"^rnn_forward: carried states \(1, 2, 16\) of \(2,\) ut"):
        ops.rnn_forward(x, offsets, weight, carried=wrong)
    with pytest.raises(ShapeError, match=r"^parts: 16 units in 2 parts; needs 1 to 1 parts of 16"):
        ops.rnn_forward(x, offsets, weight, parts=2)


def test_states_and_gradients_are_canonical_on_every_isa(each_isa: str) -> None:
    x, offsets, weight, dy = case(LENGTHS[:8], 19, 2, 5)
    h, dx = both((x, offsets, weight, dy))
    assert same_bits(h, rnn_forward(x, offsets.tolist(), weight))
    assert same_bits(dx, rnn_backward(dy, offsets.tolist(), weight, h))


def test_the_cases_reach_both_ends_of_the_rectifier() -> None:
    h, dx = both(case(LENGTHS, 33, 2, 33))
    x, offsets, weight, dy = case([40], 33, 1, 7)
    saturated = ops.rnn_forward(x * 16, offsets, weight).h.numpy()
    assert (h == 0).any() and ((h > 0) & (h < 20)).any() and (saturated == 20).any()
    assert (dx == 0).any() and (dx != 0).any()
    assert (ops.rnn_backward(dy, offsets, weight, saturated).dx.numpy()[saturated == 20] == 0).all()


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_threads_change_no_bit(count: int, threads: None) -> None:
    it = case(LENGTHS * 3, 65, 2, 9)
    native.set_threads(1)
    alone = both(it)
    native.set_threads(count)
    for _ in range(3):
        assert all(same_bits(a, b) for a, b in zip(both(it), alone, strict=True))


def test_an_utterance_alone_equals_itself_in_a_batch() -> None:
    x, offsets, weight, dy = case(LENGTHS, 33, 2, 11)
    h, dx = both((x, offsets, weight, dy))
    for first, last in itertools.pairwise(offsets):
        rows = slice(first, last)
        one = both((x[rows], offsets_of([last - first]), weight, dy[rows]))
        assert same_bits(one[0], h[rows]) and same_bits(one[1], dx[rows])


def test_reversed_input_with_swapped_directions_gives_the_reversed_output() -> None:
    hidden = 21
    x, offsets, weight, dy = case([9], hidden, 2, 13)
    h, dx = both((x, offsets, weight, dy))

    def mirror(rows: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.roll(rows[::-1], hidden, axis=1))

    mirrored = both((mirror(x), offsets, weight[::-1].copy(), mirror(dy)))
    assert same_bits(mirrored[0], mirror(h)) and same_bits(mirrored[1], mirror(dx))
    assert same_bits(
        ops.sum_directions(mirrored[0][:, ::1], 2),
        ops.sum_directions(np.roll(h, hidden, axis=1), 2).numpy()[::-1].copy(),
    )
    unswapped = both((mirror(x), offsets, weight, mirror(dy)))
    assert not same_bits(unswapped[0], mirror(h))


def test_the_two_directions_run_in_opposite_orders() -> None:
    x = np.zeros((3, 2), np.float32)
    x[0, 0] = x[2, 1] = 1
    weight = np.full((2, 1, 1), 2, np.float32)
    assert ops.rnn_forward(x, [0, 3], weight).h.numpy().tolist() == [[1, 4], [2, 2], [4, 1]]


def test_gradient_agrees_with_float64_differences() -> None:
    # f(x) = sum of dy * h(x) in float64; its central differences with step 1e-6 are right to
    # about 1e-9. Float32 adds one rounding of 2^-24 a term: T (H + 2) of them meet one output,
    # in values that the recurrence keeps below the sum of |dy| times its growth, here below 64.
    x, offsets, weight, dy = case([6, 3], 5, 2, 17)
    x[:, ::5] = level_data((9, 2), 3)
    _, dx = both((x, offsets, weight, dy))

    def f(at: np.ndarray) -> float:
        h, halves = np.zeros_like(at), (slice(5), slice(5, 10))
        for d, (w, columns) in enumerate(zip(weight.astype(float), halves, strict=True)):
            for first, last in ((0, 6), (6, 9)):
                before = np.zeros(5)
                for row in range(first, last) if d == 0 else range(last - 1, first - 1, -1):
                    before = h[row, columns] = np.clip(at[row, columns] + w @ before, 0, 20)
        return float((h * dy).sum())

    wide = x.astype(np.float64)
    for index in np.ndindex(x.shape):
        ahead, behind = wide.copy(), wide.copy()
        ahead[index] += 1e-6
        behind[index] -= 1e-6
        numeric = (f(ahead) - f(behind)) / 2e-6
        assert abs(numeric - dx[index]) <= 6 * 7 * 2.0**-24 * 64 + 1e-8


def test_previous_rows_are_those_of_each_direction() -> None:
    h = touchy_data((6, 4), 1)
    found = ops.rnn_previous(h, [0, 2, 2, 6], 2).numpy()
    wanted = np.zeros_like(h)
    wanted[[1, 3, 4, 5], :2] = h[[0, 2, 3, 4], :2]
    wanted[[0, 2, 3, 4], 2:] = h[[1, 3, 4, 5], 2:]
    assert same_bits(found, wanted)


def test_sum_and_repeat_of_directions() -> None:
    h = touchy_data((5, 3 * 18), 2)
    parts = h.reshape(5, 3, 18)
    assert same_bits(ops.sum_directions(h, 3), (parts[:, 0] + parts[:, 1]) + parts[:, 2])
    assert not same_bits(ops.sum_directions(h, 3), parts[:, 0] + (parts[:, 1] + parts[:, 2]))
    assert same_bits(ops.repeat_directions(h, 2), np.concatenate([h, h], axis=1))


def test_nothing_to_do() -> None:
    weight = np.zeros((2, 4, 4), np.float32)
    x = np.zeros((0, 8), np.float32)
    for offsets in ([0], [0, 0], [0, 0, 0]):
        assert ops.rnn_forward(x, offsets, weight).h.shape == (0, 8)
        assert ops.rnn_backward(x, offsets, weight, x).dx.shape == (0, 8)
        assert ops.rnn_previous(x, offsets, 2).shape == (0, 8)
    empty = np.zeros((3, 0), np.float32)
    assert ops.rnn_forward(empty, [0, 3], np.zeros((2, 0, 0), np.float32)).h.shape == (3, 0)


def test_errors_of_the_recurrent_layer() -> None:
    x, weight = np.zeros((3, 8), np.float32), np.zeros((2, 4, 4), np.float32)
    with pytest.raises(
        ShapeError, match=r"^rnn_forward: weight is \(1, 4, 4\) and the rows have 8 "
    ):
        ops.rnn_forward(x, [0, 3], weight[:1])
    with pytest.raises(ShapeError, match=r"^rnn_forward: offsets \[0, 2\] must rise from 0 to 3, "):
        ops.rnn_forward(x, [0, 2], weight)
    with pytest.raises(ShapeError, match=r"^rnn_backward: offsets \[0, 4, 3\] must rise from 0 to"):
        ops.rnn_backward(x, [0, 4, 3], weight, x)
    with pytest.raises(ShapeError, match=r"^rnn_backward: shapes \(3, 8\) and \(2, 8\) differ$"):
        ops.rnn_backward(x, [0, 3], weight, x[:2])
    with pytest.raises(DTypeError, match=r"^rnn_forward: weight is float64; needs float32$"):
        ops.rnn_forward(x, [0, 3], weight.astype(np.float64))
    with pytest.raises(ShapeError, match=r"^rnn_previous: 8 columns for 3 directions$"):
        ops.rnn_previous(x, [0, 3], 3)
    with pytest.raises(ShapeError, match=r"^sum_directions: 8 columns for 3 directions$"):
        ops.sum_directions(x, 3)
