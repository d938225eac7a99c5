"""Layers and the whole model against float64 NumPy."""

from __future__ import annotations

import itertools
from dataclasses import fields

import numpy as np
import pytest
from batches import batch_of, lively, train
from ctc64 import reference
from makers import U, level_data, same_bits, touchy_data
from paths import ROOT

from majelpy import native, ops
from majelpy import tree as comm_tree
from majelpy.array import Array, asarray, zeros
from majelpy.errors import ShapeError
from majelpy.nn.batch import Batch
from majelpy.nn.layer import Pass
from majelpy.nn.layers import LAYERS
from majelpy.nn.model import Architecture, Model
from majelpy.nn.networks import deep_speech_1
from majelpy.nn.parameters import Layout, Parameter, digest
from majelpy.nn.recurrent import BiRnn
from majelpy.nn.share import Share
from majelpy.nn.signal import Columns, Signal

SMALL = Architecture(5, 4, deep_speech_1(1, (6, 5), 4, 5))
DROPPED = Architecture(5, 4, deep_speech_1(1, (6, 5), 4, 5, dropout=0.5))
MEDIUM = Architecture(17, 11, deep_speech_1(2, (33, 40), 37, 29))


def forward64(weights: dict[str, np.ndarray], batch: Batch, context: int) -> np.ndarray:
    """Return log-probabilities of the Deep Speech 1 network (Hannun et al. 2014, section 2)."""

    def clip(x: np.ndarray) -> np.ndarray:
        return np.clip(x, 0, 20)

    outputs = []
    dense = sorted(n[:-7] for n in weights if n.startswith("dense") and n.endswith("weight"))
    name = next(n[:-10] for n in weights if n.endswith("weight_ih"))
    for first, last in itertools.pairwise(batch.offsets):
        frames = batch.frames.numpy()[first:last].astype(np.float64)
        padded = np.pad(frames, ((context, context), (0, 0)))
        width = 2 * context + 1
        x = np.concatenate([padded[i : i + len(frames)] for i in range(width)], axis=1)
        for layer in dense[:-1]:
            x = clip(x @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"])
        products = x @ weights[f"{name}.weight_ih"].T + weights[f"{name}.bias"]
        hidden = products.shape[1] // 2
        total = np.zeros((len(x), hidden))
        for d, order in enumerate((range(len(x)), range(len(x) - 1, -1, -1))):
            h = np.zeros(hidden)
            for t in order:
                own = products[t, d * hidden : (d + 1) * hidden]
                h = clip(own + (weights[f"{name}.weight_hh"][d] @ h))
                total[t] += h
        x = clip(total @ weights[f"{dense[-1]}.weight"].T + weights[f"{dense[-1]}.bias"])
        logits = x @ weights["output.weight"].T + weights["output.bias"]
        outputs.append(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    return np.concatenate(outputs)


def losses64(model: Model, batch: Batch, vector: np.ndarray) -> list[float]:
    weights = {n: v.numpy() for n, v in model.layout.items(asarray(vector))}
    lp = forward64(weights, batch, model.architecture.layers[0]["frames"])
    cut = itertools.pairwise(batch.offsets)
    return [
        reference(lp[a:b], list(labels)).loss
        for (a, b), labels in zip(cut, batch.labels, strict=True)
    ]


def test_gradients_of_the_whole_model_are_right() -> None:
    # Central differences in float64 with h = 1e-6 are right to h^2 + 2^-52 |loss| / h < 1e-8.
    # On the way from a parameter to the loss and back a number meets the sums of each layer, twice
    # (fan-ins 15, 6, 5, 4, 5, and T (H + 4) in the recurrent layer), and CTC; each term is rounded
    # once by 2^-24. The sums' cancellation (their magnitudes over their values) is below 8 here.
    model, batch = Model(SMALL), batch_of([6, 3, 7], [1, 2], SMALL, 3)
    vector, scale = lively(model, 4), 1 / 3
    found = train(model, batch, vector, scale)[0]
    roundings = 2 * (15 + 6 + 5 + 4 + 5 + 7 * 8) + 50
    wide = vector.astype(np.float64)
    losses = losses64(model, batch, wide)
    assert abs(found[model.layout.loss] - sum(losses)) <= roundings * U * sum(losses)
    for name, _ in model.layout.items(asarray(vector)):
        start, parameter = model.layout.place(name)
        numeric = np.zeros(parameter.size)
        for i in range(parameter.size):
            ends = []
            for step in (1e-6, -1e-6):
                moved = wide.copy()
                moved[start + i] += step
                ends.append(sum(losses64(model, batch, moved)))
            numeric[i] = scale * (ends[0] - ends[1]) / 2e-6
        error = np.abs(found[start : start + parameter.size] - numeric).max()
        assert error <= 8 * roundings * U * np.abs(numeric).max() + 1e-8, name
        assert np.abs(numeric).max() > 1e-4, f"{name} is not tested: its gradient is 0"


def test_log_probabilities_are_right() -> None:
    model, batch = Model(MEDIUM), batch_of([9, 14], [2], MEDIUM, 5)
    vector = lively(model, 6)
    weights = {n: v.numpy() for n, v in model.layout.items(asarray(vector.astype(np.float64)))}
    wanted = forward64(weights, batch, 2)
    found = model.forward(batch, asarray(vector)).log_probs.numpy()
    # As above: fan-ins 85, 33, 40, 37, 29 and 14 recurrent steps of 41 terms; values below 32.
    assert np.abs(found - wanted).max() <= (85 + 33 + 40 + 37 + 29 + 14 * 41) * U * 32


def test_an_utterance_alone_equals_itself_in_a_batch() -> None:
    model, batch = Model(MEDIUM), batch_of([9, 14, 1, 30], [1, 3], MEDIUM, 7)
    vector = asarray(lively(model, 8))
    whole = model.forward(batch, vector).log_probs.numpy()
    for first, last in itertools.pairwise(batch.offsets):
        frames = asarray(batch.frames.numpy()[first:last])
        alone = Batch.unlabelled(frames, np.array([0, last - first]))
        assert same_bits(model.forward(alone, vector).log_probs, whole[first:last])


def test_reversed_input_with_swapped_directions_gives_the_reversed_output() -> None:
    layer = BiRnn(BiRnn.Settings(21), "r", 0, Columns(13), Share())
    layout = Layout(layer.parameters())
    vector = asarray(level_data(layout.size, 9, 0.25))
    weights = dict(layout.items(vector))
    swapped = dict(layout.items(vector.copy()))
    for name in weights:
        halves = weights[name].numpy().reshape(2, -1)[::-1]
        swapped[name].numpy()[...] = halves.reshape(weights[name].shape)
    x = level_data((12, 13), 10)
    batch = Batch.unlabelled(asarray(x), np.array([0, 12]))

    def output(x: np.ndarray, weights: dict[str, Array]) -> np.ndarray:
        y, _ = layer.forward(Signal(layer.share, batch, 13, own=asarray(x)), Pass(weights))
        return y.own.numpy()

    y = output(x, weights)
    assert same_bits(output(x[::-1], swapped), y[::-1].copy())
    assert not same_bits(output(x[::-1], weights), y[::-1].copy())


LENGTHS = [9, 14, 5, 30, 11, 7, 6]


def test_more_leaves_than_utterances() -> None:
    model, scale = Model(MEDIUM), 1 / 7
    vector = lively(model, 11)
    dense = train(model, batch_of(LENGTHS, [1] * 7, MEDIUM, 12), vector, scale)[0]
    # Empty leaves behind the others make another tree, of which they add only +0.
    padded = train(model, batch_of(LENGTHS, [1] * 7 + [0] * 9, MEDIUM, 12), vector, scale)[0]
    assert same_bits(padded + np.float32(0), dense + np.float32(0))
    empty = train(model, batch_of([], [0, 0, 0], MEDIUM, 12), vector, scale)[0]
    assert same_bits(empty, np.zeros_like(empty))


def test_other_leaves_give_other_bits() -> None:
    model = Model(MEDIUM)
    vector = lively(model, 13)
    one = train(model, batch_of(LENGTHS, [7], MEDIUM, 14), vector, 1.0)[0]
    two = train(model, batch_of(LENGTHS, [3, 4], MEDIUM, 14), vector, 1.0)[0]
    assert not same_bits(one, two)


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_any_number_of_ranks_gives_the_same_gradient(ranks: int, threads: None) -> None:
    model, scale, leaves = Model(MEDIUM), 0.125, [2, 1, 0, 1, 2, 1]
    vector = lively(model, 15)
    batch = batch_of(LENGTHS, leaves, MEDIUM, 16)
    whole = train(model, batch, vector, scale)[0]
    native.set_threads(ranks)
    parts, items = [], []
    for rank in range(ranks):
        first, last = comm_tree.leaf_range(6, ranks, rank)
        low, high = batch.leaf_utterances[[first, last]]
        mine = batch_of(LENGTHS[low:high], leaves[first:last], MEDIUM, 0, 6, first)
        rows = slice(batch.offsets[low], batch.offsets[high])
        mine = Batch(
            asarray(batch.frames.numpy()[rows]),
            mine.offsets,
            mine.labels,
            mine.names,
            mine.ids,
            mine.leaf_utterances,
            mine.merges,
            mine.starts,
            mine.lengths,
        )
        nodes = comm_tree.nodes(6, first, last)
        parts += list(train(model, mine, vector, scale)[: len(nodes)])
        items += nodes
    out = np.empty_like(whole)
    ops.tree_sum(parts, comm_tree.node_merges(6, items), [out])
    assert same_bits(out, whole)


def test_dropout_is_the_same_mask_forward_and_backward() -> None:
    # Differences of the loss under a fixed mask, by one weight of each layer, in float32: h is
    # large and the test coarse, but a mask that differed would be off by the share dropped.
    model, batch = Model(DROPPED), batch_of([6, 3, 7], [3], SMALL, 17)
    vector = lively(model, 18)
    found = train(model, batch, vector, 1.0)[0]
    assert not same_bits(found, train(Model(SMALL), batch, vector, 1.0)[0])
    for name, _ in model.layout.items(asarray(vector)):
        start, parameter = model.layout.place(name)
        gradient = found[start : start + parameter.size]
        direction = gradient / np.sqrt(np.square(gradient).sum() + np.float32(1e-20))
        ends = []
        for step in (2.0**-8, -(2.0**-8)):
            moved = vector.copy()
            moved[start : start + parameter.size] += np.float32(step) * direction
            ends.append(float(train(model, batch, moved, 1.0)[0, model.layout.loss]))
        slope = (ends[0] - ends[1]) / 2.0**-7
        # Rounding: some 2^-22 of a loss below 32 over 2^-7; curvature and kinks: 2^-8 a part.
        assert abs(slope - np.sqrt(np.square(gradient).sum())) <= 0.05 * abs(slope) + 2e-3, name


def test_layout_keeps_names_in_order_and_apart() -> None:
    layout = Layout([Parameter("b", (3, 5), 1.0, 5), Parameter("a", (17,), 0.0, 1)])
    assert [p.name for p in layout.parameters] == ["a", "b"]
    assert layout.place("a")[0] == 0 and layout.place("b")[0] == 32
    assert (layout.size, layout.loss, layout.gradient_size) == (48, 48, 64)
    vector = zeros(layout.size)
    layout.view(vector, "b").numpy()[2, 4] = 1
    assert np.flatnonzero(vector.numpy()).tolist() == [32 + 14]
    with pytest.raises(ShapeError, match=r"^layout: two parameters are named 'a'$"):
        Layout([Parameter("a", (1,), 0, 1), Parameter("a", (2,), 0, 1)])


def test_a_parameter_starts_the_same_in_any_model() -> None:
    weight = Parameter("w", (9, 7), 2.0, 7)
    alone = Layout([weight])
    among = Layout([Parameter("a", (5,), 1.0, 5), weight, Parameter("z", (3,), 0.0, 5)])
    one, other = alone.initial(3), among.initial(3)
    assert same_bits(alone.view(one, "w"), among.view(other, "w"))
    assert not among.view(other, "z").numpy().any()
    assert not same_bits(alone.initial(4), one)
    bound = np.sqrt(np.float32(3) * np.float32(2) / np.float32(7))
    assert np.abs(alone.view(one, "w").numpy()).max() <= bound


def test_the_digest_sees_every_parameter_and_no_gap() -> None:
    layout = Layout([Parameter("b", (3, 5), 1.0, 5), Parameter("a", (17,), 0.0, 1)])
    host = touchy_data(layout.size, 19)

    def digest_of(vector: np.ndarray) -> str:
        return digest({name: x.numpy() for name, x in layout.items(asarray(vector))})

    base = digest_of(host)
    for place in range(layout.size):
        changed = host.copy()
        changed[place : place + 1].view(np.uint32)[0] ^= 1
        gap = 17 <= place < 32 or place >= 47
        assert (digest_of(changed) == base) == gap


def test_the_document_lists_all_layers_with_their_settings() -> None:
    text = (ROOT / "docs" / "layers.md").read_text("utf-8")
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]
    listed = {}
    for first, *_, last in rows:
        for name in first.split("`")[1::2]:
            listed[name] = set(last.split("`")[1::2])
    assert listed == {name: {f.name for f in fields(k.Settings)} for name, k in LAYERS.items()}
