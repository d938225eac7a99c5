"""GRU and LSTM cells, and what all cells carry on, against the order in kernels/rnn.h."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import bodies
import needs
import numpy as np
import pytest
from makers import fma, gemm_in_parts, level_data, same_bits, steps

from majelpy import ops
from majelpy.array import asarray
from majelpy.errors import ShapeError
from majelpy.ops import CELLS, GRU, LSTM, Cell

LENGTHS = [3, 1, 0, 6, 2, 4, 5, 1]
ONE = np.float32(1)
ROUNDED = {name: replace(cell, rounded=True) for name, cell in CELLS.items()}
GATED = pytest.mark.parametrize("cell", [GRU, LSTM], ids=lambda c: c.name)


def name_of(cell: Cell) -> str:
    return f"{cell.name} in bfloat16" if cell.rounded else cell.name


EVERY = pytest.mark.parametrize("cell", [*CELLS.values(), *ROUNDED.values()], ids=name_of)


def offsets_of(lengths: Any) -> np.ndarray:
    return np.cumsum([0, *lengths], dtype=np.int64)


def case(
    cell: Cell, hidden: int, directions: int, seed: int, lengths: list[int] = LENGTHS
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return x, offsets, weight, dy."""
    rows, units = sum(lengths), directions * hidden
    x = level_data((rows, cell.gates * units), seed)
    weight = level_data((directions, cell.gates * hidden, hidden), seed + 1, 2.0 / hidden**0.5)
    return x, offsets_of(lengths), weight, level_data((rows, units), seed + 2)


def operand(cell: Cell, x: Any) -> np.ndarray:
    """What enters a recurrent product."""
    x = np.ascontiguousarray(x)
    return ops.round_bfloat16(x).numpy() if cell.rounded else x


def sigmoid(x: np.ndarray) -> np.ndarray:
    return bodies.math_function("sigmoid", np.ascontiguousarray(x)).numpy()


def tanh(x: np.ndarray) -> np.ndarray:
    return bodies.math_function("tanh", np.ascontiguousarray(x)).numpy()


def slope(y: np.ndarray) -> np.ndarray:
    """Slope of a sigmoid."""
    return fma(-y, y, y)


def tanh_slope(y: np.ndarray) -> np.ndarray:
    return fma(-y, y, np.ones_like(y))


def forward(
    cell: Cell, x: np.ndarray, offsets: np.ndarray, weight: np.ndarray, parts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return h and what is kept, utterance after utterance, frame after frame."""
    directions, _, hidden = weight.shape
    h = np.zeros((len(x), directions, hidden), np.float32)
    kept = np.zeros((len(x), directions, 5, hidden), np.float32)
    gates = x.reshape(len(x), directions, cell.gates, hidden)
    every = [(d, rows) for d in range(directions) for rows in steps(offsets.tolist(), d)]
    for d, rows in every:
        before = own = np.zeros(hidden, np.float32)
        for i, row in enumerate(rows):
            a = gates[row, d]
            s = np.zeros_like(a)
            if i:
                s = gemm_in_parts(operand(cell, before[None]), weight[d].T, parts)
                s = s.reshape(a.shape)
            if cell.name == "gru":
                r, z = sigmoid(a[:2] + s[:2])
                n = tanh(fma(r, s[2], a[2]))
                kept[row, d] = r, z, n, s[2], before
                before = fma(z, before, (ONE - z) * n)
            else:
                (i_, f, o), g = sigmoid((a + s)[[0, 1, 3]]), tanh(a[2] + s[2])
                kept[row, d] = i_, f, g, o, own
                own = fma(f, own, i_ * g)
                before = o * tanh(own)
            h[row, d] = before
    return h.reshape(len(x), -1), kept.reshape(len(x), -1)


def backward(
    cell: Cell, dy: np.ndarray, offsets: np.ndarray, weight: np.ndarray, kept: Any, parts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients by x and by the recurrent sums."""
    directions, _, hidden = weight.shape
    dx = np.zeros((len(dy), directions, cell.gates, hidden), np.float32)
    ds, by_h = np.zeros_like(dx), dy.reshape(len(dy), directions, hidden)
    keep = np.asarray(kept).reshape(len(dy), directions, 5, hidden)
    for d in range(directions):
        for rows in steps(offsets.tolist(), d, backwards=True):
            direct = np.zeros(hidden, np.float32)
            for i, row in enumerate(rows):
                total = np.zeros(hidden, np.float32)
                if i:
                    after = operand(cell, ds[rows[i - 1], d])
                    squares = weight[d].reshape(cell.gates, hidden, hidden)
                    sums = [
                        gemm_in_parts(a[None], w, parts)[0]
                        for a, w in zip(after, squares, strict=True)
                    ]
                    total = sums[0]
                    for one in sums[1:]:
                        total = total + one
                if cell.name == "gru":
                    r, z, n, s, before = keep[row, d]
                    dh = (by_h[row, d] + total) + direct
                    by_n = dh * (ONE - z) * tanh_slope(n)
                    by_z = dh * (before - n) * slope(z)
                    dx[row, d] = by_n * s * slope(r), by_z, by_n
                    ds[row, d] = dx[row, d, 0], by_z, by_n * r
                    direct = dh * z
                else:
                    i_, f, g, o, c = keep[row, d]
                    y, dh = tanh(fma(f, c, i_ * g)), by_h[row, d] + total
                    dc = fma(dh * o, tanh_slope(y), direct)
                    dx[row, d, 0] = dc * g * slope(i_)
                    dx[row, d, 1] = dc * c * slope(f)
                    dx[row, d, 2] = dc * i_ * tanh_slope(g)
                    dx[row, d, 3] = dh * y * slope(o)
                    ds[row, d], direct = dx[row, d], dc * f
    return dx.reshape(len(dy), -1), ds.reshape(len(dy), -1)


@pytest.mark.parametrize("cell", [GRU, LSTM, ROUNDED["gru"], ROUNDED["lstm"]], ids=name_of)
@pytest.mark.parametrize(
    ("hidden", "directions", "parts"), [(1, 1, 1), (19, 2, 1), (33, 2, 2), (70, 1, 4), (270, 1, 1)]
)
def test_states_and_gradients_keep_the_order(
    cell: Cell, hidden: int, directions: int, parts: int, each_isa: str
) -> None:
    lengths = LENGTHS if hidden < 100 else [3, 2]
    x, offsets, weight, dy = case(cell, hidden, directions, hidden, lengths)
    run = ops.rnn_forward(x, offsets, weight, cell=cell, parts=parts)
    h, kept = forward(cell, x, offsets, weight, parts)
    assert same_bits(run.h, h) and same_bits(run.kept, kept)
    back = ops.rnn_backward(dy, offsets, weight, run.h, run.kept, cell=cell, parts=parts)
    dx, ds = backward(cell, dy, offsets, weight, kept, parts)
    assert same_bits(back.dx, dx) and same_bits(back.ds, ds)
    assert (back.ds is back.dx) == (cell.name == "lstm")
    if cell.rounded and hidden > 1:
        assert not same_bits(h, forward(CELLS[cell.name], x, offsets, weight, parts)[0])


@GATED
def test_the_cells_agree_with_pytorch_in_float64(cell: Cell) -> None:
    # A step rounds some (hidden + 30) times, by 2^-24 of values below 8; a state's errors go on to
    # the next with a factor of at most 2 of the weight here, over T = 6 steps less than 2^6 in all.
    # PyTorch's gates are the same, with a bias for each product.
    torch = needs.module("torch")
    hidden, lengths = 12, [6, 4]
    x, offsets, weight, dy = case(cell, hidden, 2, 5, lengths)
    weight *= np.float32(0.25)
    run = ops.rnn_forward(x, offsets, weight, cell=cell)
    back = ops.rnn_backward(dy, offsets, weight, run.h, run.kept, cell=cell)
    previous = ops.rnn_previous(run.h, offsets, 2).numpy()
    width = cell.gates * hidden
    bound = (hidden + 30) * 2.0**-24 * 8 * 2**6
    for d in range(2):
        net = {GRU: torch.nn.GRU, LSTM: torch.nn.LSTM}[cell](width, hidden, bias=False).double()
        columns = slice(d * width, (d + 1) * width)
        with torch.no_grad():
            net.weight_ih_l0.copy_(torch.eye(width))
            net.weight_hh_l0.copy_(torch.tensor(weight[d]))
        by_weight = np.zeros(weight[d].shape)
        for first, last in itertools.pairwise(offsets.tolist()):
            rows = np.arange(first, last)[:: 1 if d == 0 else -1]
            inputs = torch.tensor(x[rows][:, columns].astype(np.float64), requires_grad=True)
            found, _ = net(inputs[:, None])
            units = slice(d * hidden, (d + 1) * hidden)
            found.backward(torch.tensor(dy[rows][:, None, units].astype(np.float64)))
            assert np.abs(run.h.numpy()[rows, units] - found[:, 0].detach().numpy()).max() < bound
            assert np.abs(back.dx.numpy()[rows, columns] - inputs.grad.numpy()).max() < bound
            by_weight += back.ds.numpy()[rows, columns].T.astype(float) @ previous[rows, units]
        # Ten rows add up.
        assert np.abs(by_weight - net.weight_hh_l0.grad.numpy()).max() < 10 * bound


@EVERY
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_a_sequence_in_pieces_is_the_whole(cell: Cell, parts: int) -> None:
    """Three pieces, each carried on from the last state of the one before, in each direction."""
    hidden = 70
    x, offsets, weight, dy = case(cell, hidden, 2, 11)
    options: dict[str, Any] = {"cell": cell, "parts": parts}
    run = ops.rnn_forward(x, offsets, weight, **options)
    back = ops.rnn_backward(dy, offsets, weight, run.h, run.kept, **options)
    before = ops.rnn_previous(run.h, offsets, 2).numpy()
    lengths = np.diff(offsets)
    cuts = [lengths * i // 3 for i in range(4)]

    def of(array: Any, rows: np.ndarray, columns: int, d: int) -> np.ndarray:
        """Those rows, and direction d of a matrix with so many columns a unit."""
        width = columns * hidden
        return np.ascontiguousarray(np.asarray(array)[rows, d * width : (d + 1) * width])

    for d, backwards in itertools.product(range(2), (False, True)):
        order = [0, 1, 2] if (d == 0) != backwards else [2, 1, 0]
        carried, seen = None, np.zeros(len(lengths), np.int64)
        for piece in order:
            first, last = cuts[piece], cuts[piece + 1]
            ranges = [
                np.arange(*se) for se in zip(offsets[:-1] + first, offsets[:-1] + last, strict=True)
            ]
            rows, here = np.concatenate(ranges).astype(int), offsets_of(last - first)
            kept = of(run.kept, rows, cell.kept, d) if cell.kept else None
            one = {**options, "first": d, "carried": carried}
            w = weight[d : d + 1]
            if backwards:
                inputs = of(dy, rows, 1, d), here, w, of(run.h, rows, 1, d), kept
                got = ops.rnn_backward(*inputs, **one)
                assert same_bits(got.dx, of(back.dx, rows, cell.gates, d))
                assert same_bits(got.ds, of(back.ds, rows, cell.gates, d))
                state = got.last
            else:
                going = ops.rnn_forward(of(x, rows, cell.gates, d), here, w, **one)
                assert same_bits(going.h, of(run.h, rows, 1, d))
                assert kept is None or same_bits(going.kept, kept)
                earlier = ops.rnn_previous(going.h, here, 1, first=d, carried=carried)
                assert same_bits(operand(cell, earlier), operand(cell, of(before, rows, 1, d)))
                state = going.last
            seen |= (last > first).astype(np.int64)
            carried = ops.Carried(seen.copy(), state)
        whole = (back if backwards else run).last.numpy()[d]
        assert same_bits(np.asarray(state)[0], whole)


@EVERY
def test_the_last_state_is_that_of_the_last_step(cell: Cell) -> None:
    hidden = 19
    x, offsets, weight, dy = case(cell, hidden, 2, 3)
    run = ops.rnn_forward(x, offsets, weight, cell=cell)
    back = ops.rnn_backward(dy, offsets, weight, run.h, run.kept, cell=cell)
    h, ds = (np.asarray(v).reshape(len(x), 2, -1) for v in (run.h, back.ds))
    for d, (u, (first, stop)) in itertools.product(
        range(2), enumerate(itertools.pairwise(offsets.tolist()))
    ):
        ends = (stop - 1, first) if d == 0 else (first, stop - 1)
        states = run.last.numpy()[d, u], back.last.numpy()[d, u]
        if first == stop:
            assert not states[0].any() and not states[1].any()
        else:
            # A GRU's h is also what a unit carries for itself, so it is whole.
            state = h[ends[0], d] if cell.name == "gru" else operand(cell, h[ends[0], d])
            assert same_bits(states[0][:hidden], state)
            assert same_bits(states[1][: cell.gates * hidden], operand(cell, ds[ends[1], d]))


@EVERY
@pytest.mark.parametrize("shares", [1, 2])
def test_steps_of_some_units_are_the_whole(cell: Cell, shares: int) -> None:
    """Each share has the gates of some units, and the sums of all units' states."""
    hidden, held = 32, 32 // shares
    x, offsets, weight, dy = case(cell, hidden, 2, 21)
    run = ops.rnn_forward(x, offsets, weight, cell=cell)
    back = ops.rnn_backward(dy, offsets, weight, run.h, run.kept, cell=cell)
    taken, n = ops.Steps.of(offsets), len(LENGTHS)

    def split(array: Any, columns: int, share: int) -> Any:
        wide = np.asarray(array).reshape(-1, 2, columns, hidden)
        part = wide[..., share * held : (share + 1) * held]
        return asarray(np.ascontiguousarray(part.reshape(len(wide), -1)))

    def outputs(columns: int) -> list[Any]:
        return [asarray(np.zeros((len(x), 2 * columns * held), np.float32)) for _ in range(shares)]

    h, kept, dx, ds = (outputs(c) for c in (1, cell.kept, cell.gates, cell.gates))
    for backwards in (False, True):
        own = [asarray(np.full((2, n, held), 7, np.float32)) for _ in range(shares)]
        whole = None
        for step in range(max(LENGTHS)):
            sums, live = None, taken.live(step)
            if whole is not None:
                sums = recurrent_sums(cell, whole[:, :live], weight, backwards)
            states = []
            for share in range(shares):
                mine = sums
                if mine is not None:
                    columns = mine.reshape(2, live, cell.gates, hidden)
                    part = columns[..., share * held : (share + 1) * held]
                    mine = asarray(np.ascontiguousarray(part.reshape(2, live, -1)))
                more: dict[str, Any] = {"cell": cell, "own": own[share] if cell.own else None}
                if backwards:
                    more["ds"] = ds[share] if cell.apart else None
                    read = (
                        split(run.kept, cell.kept, share) if cell.kept else split(run.h, 1, share)
                    )
                    inputs = split(dy, 1, share), read, taken, step, mine, 2, dx[share]
                    states.append(ops.rnn_backward_step(*inputs, **more))
                else:
                    more["kept"] = kept[share] if cell.kept else None
                    inputs = split(x, cell.gates, share), taken, step, mine, 2, h[share]
                    states.append(ops.rnn_forward_step(*inputs, **more))
            apart = [np.asarray(s).reshape(2, live, -1, held) for s in states]
            whole = np.concatenate(apart, axis=3)
        for share in range(shares):
            if backwards:
                assert same_bits(dx[share], split(back.dx, cell.gates, share))
                assert not cell.apart or same_bits(ds[share], split(back.ds, cell.gates, share))
            else:
                assert same_bits(h[share], split(run.h, 1, share))
                assert not cell.kept or same_bits(kept[share], split(run.kept, cell.kept, share))


def recurrent_sums(
    cell: Cell, state: np.ndarray, weight: np.ndarray, backwards: bool
) -> np.ndarray:
    """Sums of each gate, (directions, live, gates * hidden), from the states of all units."""
    hidden = weight.shape[2]
    found = []
    for of_d, w in zip(state, weight, strict=True):
        if backwards:
            squares = w.reshape(cell.gates, hidden, hidden)
            each = [ops.gemm(of_d[:, g].copy(), squares[g]).numpy() for g in range(cell.gates)]
            found.append(np.concatenate(each, axis=1))
        else:
            found.append(ops.gemm(of_d[:, 0].copy(), w, transpose_b=True).numpy())
    return np.stack(found)


def test_errors_name_what_a_cell_needs() -> None:
    x, offsets, weight, dy = case(GRU, 8, 2, 1)
    message = r"^rnn_forward: weight is \(2, 24, 8\) and the rows have 48 columns; needs "
    with pytest.raises(
        ShapeError, match=message + r"\(directions, 4 \* hidden, hidden\) and 4 \* d"
    ):
        ops.rnn_forward(x, offsets, weight, cell=LSTM)
    run = ops.rnn_forward(x, offsets, weight, cell=GRU)
    message = r"^rnn_backward: kept is \(22, 16\) for dy \(22, 16\); needs 5 columns a unit of gru$"
    with pytest.raises(ShapeError, match=message):
        ops.rnn_backward(dy, offsets, weight, run.h, run.h, cell=GRU)
    with pytest.raises(
        ShapeError, match=r"^rnn_backward: carried states \(2, 8, 8\) of \(8,\) utter"
    ):
        which = np.ones(8, np.int64)
        carried = ops.Carried(which, run.last)
        ops.rnn_backward(dy, offsets, weight, run.h, run.kept, cell=GRU, carried=carried)
    assert list(CELLS) == ["rnn", "gru", "lstm"]
