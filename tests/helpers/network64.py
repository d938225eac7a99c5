"""A list of layers in float64 NumPy: what the model of majelpy.nn is held against.

Policy. Plain formulas over one utterance at a time, but for batch normalisation, whose statistics
are over a leaf; nothing is shared with the code under test but the names of parameters.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Weights = Mapping[str, np.ndarray]


def clip(x: np.ndarray) -> np.ndarray:
    return np.clip(x, 0, 20)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def log_probs64(
    layers: Sequence[Mapping[str, Any]],
    weights: Weights,
    utterances: list[np.ndarray],
    leaves: list[int],
) -> list[np.ndarray]:
    """Return log-probabilities of utterances, (T, F) each, in training, without dropout.

    Parameters
    ----------
    leaves : list of int
        Utterances of each leaf.
    """
    names = iter(_names(layers))
    x, channels = [frames.astype(np.float64) for frames in utterances], 1
    for layer in layers:
        kind = layer["layer"]
        if kind in ("context", "dropout"):
            x = [_context(frames, layer["frames"]) for frames in x] if kind == "context" else x
            continue
        name = next(names)
        w = {k.rpartition(".")[2]: v for k, v in weights.items() if k.startswith(f"{name}.")}
        norm = layer.get("batch_norm", kind == "batch_norm")

        def affine(products: list[np.ndarray], w: Weights = w, norm: bool = norm) -> Any:
            return _batch_norm(products, w, leaves) if norm else [p + w["bias"] for p in products]

        if kind == "dense":
            x = [clip(y) for y in affine([frames @ w["weight"].T for frames in x])]
        elif kind == "conv":
            x = [clip(y) for y in affine([_conv(f, w["weight"], layer, channels) for f in x])]
            channels = layer["channels"]
        elif kind == "batch_norm":
            x = _batch_norm(x, w, leaves)
        elif kind == "layer_norm":
            x = [_standard(f, f.mean(1, keepdims=True), f.var(1, keepdims=True)) for f in x]
            x = [frames * w["gain"] + w["bias"] for frames in x]
        elif kind == "row_conv":
            x = [_row_conv(frames, w["weight"]) for frames in x]
        else:
            inputs = affine([frames @ w["weight_ih"].T for frames in x])
            x = [_recurrent(kind.removeprefix("bi"), i, w["weight_hh"]) for i in inputs]
    logits = [frames @ weights["output.weight"].T + weights["output.bias"] for frames in x]
    return [y - np.logaddexp.reduce(y, axis=1, keepdims=True) for y in logits]


def _names(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    learning = [item["layer"] for item in layers if item["layer"] not in ("context", "dropout")]
    return [f"{kind}.{number}" for number, kind in enumerate(learning, 1)]


def _context(x: np.ndarray, frames: int) -> np.ndarray:
    padded = np.pad(x, ((frames, frames), (0, 0)))
    return np.concatenate([padded[i : i + len(x)] for i in range(2 * frames + 1)], axis=1)


def _standard(x: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return np.asarray((x - mean) / np.sqrt(variance + 1e-5))


def _batch_norm(x: list[np.ndarray], w: Weights, leaves: list[int]) -> list[np.ndarray]:
    found = []
    for first, last in itertools.pairwise(np.cumsum([0, *leaves])):
        frames = np.concatenate([np.zeros((0, w["gain"].size)), *x[first:last]])
        if not len(frames):
            found += x[first:last]
            continue
        mean, variance = frames.mean(0), frames.var(0)
        found += [_standard(y, mean, variance) * w["gain"] + w["shift"] for y in x[first:last]]
    return found


def _conv(x: np.ndarray, weight: np.ndarray, layer: Mapping[str, Any], channels: int) -> np.ndarray:
    """Both strides, 'same' padding; columns are feature * channels + channel."""
    outputs, taps, width, _ = weight.shape
    frames, features = len(x), x.shape[1] // channels
    (down, across), image = layer["stride"], x.reshape(frames, features, channels)
    before, left = (taps - 1) // 2, (width - 1) // 2
    padded = np.zeros((frames + taps, features + width, channels))
    padded[before : before + frames, left : left + features] = image
    places = range(0, features, across)
    y = np.zeros((-(-frames // down), len(places), outputs))
    for i, t in enumerate(range(0, frames, down)):
        for j, f in enumerate(places):
            y[i, j] = np.einsum("twc,otwc->o", padded[t : t + taps, f : f + width], weight)
    return y.reshape(len(y), -1)


def _row_conv(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    padded = np.pad(x, ((0, len(weight)), (0, 0)))
    return np.asarray(sum(w * padded[k : k + len(x)] for k, w in enumerate(weight)))


def _recurrent(cell: str, inputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The sum of the directions' states."""
    units = weights.shape[2]
    total = np.zeros((len(inputs), units))
    for d, weight in enumerate(weights):
        columns = inputs[:, d * weight.shape[0] : (d + 1) * weight.shape[0]]
        h = c = np.zeros(units)
        for t in range(len(inputs)) if d == 0 else reversed(range(len(inputs))):
            h, c = _step(cell, columns[t], weight @ h, h, c)
            total[t] += h
    return total


def _step(
    cell: str, x: np.ndarray, sums: np.ndarray, h: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    if cell == "rnn":
        return clip(x + sums), c
    if cell == "gru":
        (xr, xz, xn), (ur, uz, un) = np.split(x, 3), np.split(sums, 3)
        z = sigmoid(xz + uz)
        return (1 - z) * np.tanh(xn + sigmoid(xr + ur) * un) + z * h, c
    i, f, g, o = np.split(x + sums, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c
