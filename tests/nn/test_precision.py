"""Recipes in bfloat16: what is rounded in each layer, how far off it is, one answer everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from makers import U, level_data, same_bits

from majelpy import ops
from majelpy.array import Array, asarray
from majelpy.nn.batch import Batch
from majelpy.nn.conv import Conv, RowConv
from majelpy.nn.dense import Dense, Logits
from majelpy.nn.layer import Layer, Pass, Training
from majelpy.nn.layers import read
from majelpy.nn.model import Architecture, Model
from majelpy.nn.parameters import Gradients, Layout
from majelpy.nn.recurrent import BiGru, BiLstm, BiRnn
from majelpy.nn.share import Share
from majelpy.nn.signal import Columns, Signal

pytest_plugins = ["training"]

U16 = 2.0**-8
"""Unit roundoff of bfloat16."""
FEATURES, FRAMES = 20, 12
LAYERS: dict[str, tuple[type[Layer], dict[str, Any]]] = {
    "dense": (Dense, {"units": 9}),
    "logits": (Logits, {"units": 5}),
    "conv": (Conv, {"channels": 3, "kernel": (3, 4), "stride": (2, 1)}),
    "row conv": (RowConv, {"future": 3}),
    "birnn": (BiRnn, {"units": 7}),
    "bigru": (BiGru, {"units": 7}),
    "bilstm": (BiLstm, {"units": 7}),
}


def rounded(x: Any) -> Array:
    return ops.round_bfloat16(x)


class Alone:
    """A layer, its weights, and a batch of utterances of ``frames`` frames."""

    def __init__(self, name: str, frames: int):
        kind, settings = LAYERS[name]
        share = Share()
        columns = Columns(FEATURES, FEATURES)
        self.layer = kind(kind.Settings(**settings), "l", 0, columns, share)
        self.layout = Layout(self.layer.parameters(), share)
        self.vector = asarray(level_data(self.layout.size, 1, 1.0))
        offsets = np.arange(0, FRAMES + 1, frames)
        self.batch = Batch.unlabelled(asarray(level_data((FRAMES, FEATURES), 2)), offsets)

    def weights(self, precise: tuple[str, ...] = ("bias",)) -> dict[str, Array]:
        """Weights rounded to bfloat16, but for some."""
        return {
            name: value if name.endswith(precise) else rounded(value)
            for name, value in self.layout.items(self.vector)
        }

    def forward(self, pass_: Pass, x: Array) -> tuple[Signal, Any]:
        return self.layer.forward(Signal(Share(), self.batch, FEATURES, own=x), pass_)

    def backward(self, pass_: Pass, saved: Any, dy: Array) -> tuple[Array, dict[str, Array]]:
        """Return the gradients by the input and by the parameters."""
        slots = asarray(np.zeros((2, self.layout.gradient_size), np.float32))
        gradients = Gradients(self.layout, slots)
        dx = self.layer.backward(dy, saved, pass_, gradients, needed=True)
        assert dx is not None
        return dx, dict(self.layout.items(slots[0]))


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_that_of_rounded_operands(name: str) -> None:
    # Utterances of one frame have no recurrent products: test_rnn.py, test_cells.py.
    alone = Alone(name, 1 if name.startswith("bi") else 4)
    weights, training = dict(alone.layout.items(alone.vector)), Training(1, 0)
    inside = Pass(weights, training, alone.weights(()))
    before = Pass(alone.weights(), training)
    x = alone.batch.frames
    y, saved = alone.forward(inside, x)
    wanted, kept = alone.forward(before, rounded(x))
    assert same_bits((y.own if name != "logits" else y.whole), wanted.own)
    assert not same_bits(alone.forward(Pass(weights, training), x)[0].own, wanted.own)

    dy = asarray(level_data(wanted.own.shape, 3))
    dx, by = alone.backward(inside, saved, dy)
    if name.startswith("bi"):  # gates round what they make of dy: only a frame's first product
        return
    wanted_dx, wanted_by = alone.backward(before, kept, rounded(dy))
    assert same_bits(dx, wanted_dx)
    assert same_bits(by["l.weight"], wanted_by["l.weight"])
    exact, by_exact = alone.backward(before, kept, dy)
    assert not same_bits(dx, exact) and not same_bits(by["l.weight"], by_exact["l.weight"])
    if "l.bias" in by:  # no operand of a product
        assert same_bits(by["l.bias"], by_exact["l.bias"])
        assert not same_bits(by["l.bias"], wanted_by["l.bias"])


@pytest.mark.parametrize("name", ["birnn", "bigru", "bilstm"])
def test_gradients_of_recurrent_weights_are_of_rounded_operands(name: str) -> None:
    alone = Alone(name, 4)
    weights, training = dict(alone.layout.items(alone.vector)), Training(1, 0)
    pass_, layer = Pass(weights, training, alone.weights(())), alone.layer
    x, offsets = alone.batch.frames, alone.batch.offsets
    y, saved = alone.forward(pass_, x)
    dy = asarray(level_data(y.own.shape, 3))
    dx, by = alone.backward(pass_, saved, dy)
    cell, weight = pass_.cell(layer.cell), pass_.weight("l.weight_hh")  # type: ignore[attr-defined]
    assert cell.rounded
    products = ops.gemm(rounded(x), pass_.weight("l.weight_ih"), transpose_b=True)
    states = ops.rnn_forward(ops.bias(products, weights["l.bias"]), offsets, weight, cell=cell)
    assert same_bits(y.own, ops.sum_directions(states.h, 2))
    both = ops.repeat_directions(dy, 2)
    back = ops.rnn_backward(both, offsets, weight, states.h, states.kept, cell=cell)
    assert same_bits(dx, ops.gemm(rounded(back.dx), pass_.weight("l.weight_ih")))
    leaves = alone.batch.frame_leaves()

    def pushed(a: Array, b: Array) -> np.ndarray:
        slots = np.zeros((1, a.shape[1] * b.shape[1]), np.float32)
        ops.gemm_leaves(a, b, leaves, asarray(slots), 0)
        return slots.reshape(a.shape[1], b.shape[1])

    assert same_bits(by["l.weight_ih"], pushed(rounded(back.dx), rounded(x)))
    previous, ds = rounded(ops.rnn_previous(states.h, offsets, 2)), rounded(back.ds)
    tall = weight.shape[1]
    for d in range(2):
        a, b = ds[:, d * tall : (d + 1) * tall], previous[:, d * 7 : (d + 1) * 7]
        assert same_bits(by["l.weight_hh"][d], pushed(a, b))


def test_the_output_is_right_within_the_rounding_of_operands() -> None:
    # With operands off by U16, a product's terms are off by e = 2 U16 + U16^2 of their magnitude;
    # what x is off goes on by |W|, for a clipped rectifier moves no two numbers apart. To each sum
    # float32 adds (terms + 2) U. A log-softmax is off by twice the most its inputs are, and its own
    # roundings are less than 100 of numbers below 32.
    layers = read([{"layer": "dense", "units": n} for n in (24, 17)], "layers", "")
    model = Model(Architecture(FEATURES, 6, layers, "bfloat16"))
    batch = Batch.unlabelled(asarray(level_data((FRAMES, FEATURES), 4)), np.array([0, FRAMES]))
    vector = model.layout.initial(5)
    wide = {n: v.numpy().astype(np.float64) for n, v in model.layout.items(vector)}
    x = batch.frames.numpy().astype(np.float64)
    off = np.zeros_like(x)
    for name in ("dense.1", "dense.2", "output"):
        w, b = wide[f"{name}.weight"].T, wide[f"{name}.bias"]
        most = (abs(x) + off) @ abs(w)
        off = off @ abs(w) + (2 * U16 + U16**2) * most + (len(w) + 2) * U * (2 * most + abs(b))
        x = x @ w + b if name == "output" else np.clip(x @ w + b, 0, 20)
    wanted = x - np.logaddexp.reduce(x, axis=1, keepdims=True)
    found = model.forward(batch, vector).log_probs.numpy()
    assert (np.abs(found - wanted).max(axis=1) <= 2 * off.max(axis=1) + 100 * U * 32).all()
    precise = Model(Architecture(FEATURES, 6, layers)).forward(batch, vector).log_probs.numpy()
    assert np.abs(precise - wanted).max() < np.abs(found - wanted).max() / 100
