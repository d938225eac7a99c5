"""Every kind of layer: its output and the gradients of its parameters against float64."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from batches import batch_of, lively, train
from ctc64 import reference
from makers import U
from network64 import log_probs64

from majelpy.array import asarray
from majelpy.nn.batch import Batch
from majelpy.nn.layer import Training
from majelpy.nn.layers import LAYERS, read
from majelpy.nn.model import Architecture, Model

Table = dict[str, Any]
DENSE: Table = {"layer": "dense", "units": 5}
CONV: Table = {"layer": "conv", "channels": 3, "kernel": [3, 4], "stride": [2, 2]}
SMALL: Table = {"layer": "conv", "channels": 2, "kernel": [2, 1]}

LISTS: dict[str, list[Table]] = {
    "conv": [CONV],
    "conv on conv": [SMALL, CONV],
    "conv, normalised": [SMALL | {"batch_norm": True}, DENSE],
    "dense, normalised": [DENSE | {"batch_norm": True}, DENSE],
    "batch norm": [{"layer": "batch_norm"}, DENSE],
    "layer norm": [DENSE, {"layer": "layer_norm"}],
    "row conv": [DENSE, {"layer": "row_conv", "future": 2}],
    "a context below": [{"layer": "context", "frames": 1}, DENSE],
} | {
    name: [DENSE, {"layer": name, "units": 4}, {"layer": name, "units": 3, "batch_norm": True}]
    for name in LAYERS
    if name.removeprefix("bi") in ("rnn", "gru", "lstm")
}
LENGTHS, LEAVES = [6, 3, 7], [1, 0, 2]


def model_of(layers: list[Table]) -> tuple[Model, Batch]:
    architecture = Architecture(5, 4, read(layers, "layers", ""))
    return Model(architecture), batch_of(LENGTHS, LEAVES, architecture, 3)


def losses64(model: Model, batch: Batch, vector: np.ndarray) -> float:
    weights = {n: v.numpy() for n, v in model.layout.items(asarray(vector))}
    frames = batch.frames.numpy()
    utterances = [frames[a:b] for a, b in itertools.pairwise(batch.offsets)]
    found = log_probs64(model.architecture.layers, weights, utterances, LEAVES)
    return float(
        sum(
            reference(one, list(labels)).loss
            for one, labels in zip(found, batch.labels, strict=True)
        )
    )


@pytest.mark.parametrize("name", LISTS)
def test_the_output_is_right(name: str) -> None:
    model, batch = model_of(LISTS[name])
    vector = lively(model, 4)
    frames = batch.frames.numpy()
    utterances = [frames[a:b] for a, b in itertools.pairwise(batch.offsets)]
    weights = {n: v.numpy() for n, v in model.layout.items(asarray(vector.astype(np.float64)))}
    wanted = np.concatenate(log_probs64(model.architecture.layers, weights, utterances, LEAVES))
    found = model.forward(batch, asarray(vector), Training(1, 0)).log_probs.numpy()
    # Below 100 roundings on the way of a number, of values below 32; batch normalisation divides
    # by deviations of about 1/4 of these and more.
    assert np.abs(found - wanted).max() <= 100 * U * 32 * 4
    assert found.shape == wanted.shape


@pytest.mark.parametrize("name", LISTS)
def test_the_gradients_are_right(name: str) -> None:
    # Central differences in float64 with h = 1e-6 are right to h^2 + 2^-52 |loss| / h < 1e-8. On
    # the way from a parameter to the loss and back a number meets some 200 roundings, and sums
    # whose magnitudes are below 16 times their values.
    model, batch = model_of(LISTS[name])
    vector, scale = lively(model, 4), 1 / 3
    found = train(model, batch, vector, scale)[0]
    wide = vector.astype(np.float64)
    loss = losses64(model, batch, wide)
    assert abs(found[model.layout.loss] - loss) <= 200 * U * loss
    for parameter in model.layout.parameters:
        if parameter.tracked:
            continue
        start, _ = model.layout.place(parameter.name)
        numeric = np.zeros(parameter.size)
        for i in range(parameter.size):
            ends = []
            for step in (1e-6, -1e-6):
                moved = wide.copy()
                moved[start + i] += step
                ends.append(losses64(model, batch, moved))
            numeric[i] = scale * (ends[0] - ends[1]) / 2e-6
        error = np.abs(found[start : start + parameter.size] - numeric).max()
        assert error <= 16 * 200 * U * np.abs(numeric).max() + 1e-7, parameter.name
        assert np.abs(numeric).max() > 1e-4, f"{parameter.name} is not tested: its gradient is 0"


def test_running_statistics_are_means_over_leaves() -> None:
    model, batch = model_of([{"layer": "batch_norm"}, DENSE])
    found = train(model, batch, lively(model, 4), 1.0)[0]
    frames = batch.frames.numpy().astype(np.float64)
    first, last = frames[:6], frames[6:]
    for name, wanted in (
        ("running_mean", first.mean(0) + last.mean(0)),
        ("running_variance", first.var(0) + last.var(0)),
    ):
        start, parameter = model.layout.place(f"batch_norm.1.{name}")
        assert start >= model.layout.trained
        error = np.abs(found[start : start + parameter.size] - wanted).max()
        # Sums of at most 10 terms, each rounded once; the empty leaf adds nothing.
        assert error <= 30 * U * np.abs(wanted).max(), name


def test_evaluation_takes_the_running_statistics() -> None:
    model, batch = model_of([{"layer": "batch_norm"}, DENSE])
    vector = asarray(lively(model, 4))
    before = model.forward(batch, vector).log_probs.numpy().copy()
    model.layout.view(vector, "batch_norm.1.running_mean").numpy()[...] = 2
    assert (model.forward(batch, vector).log_probs.numpy() != before).any()


def test_all_layers_are_tested() -> None:
    listed = {table["layer"] for layers in LISTS.values() for table in layers}
    assert listed >= set(LAYERS) - {"dropout"}  # a mask: tests/nn/test_layers.py
