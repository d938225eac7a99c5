"""Minibatches for a model alone, and its gradient."""

from __future__ import annotations

import numpy as np
from makers import level_data

from majelpy import tree as comm_tree
from majelpy.array import asarray
from majelpy.nn.batch import Batch
from majelpy.nn.layer import Training
from majelpy.nn.model import Architecture, Model


def batch_of(
    lengths: list[int],
    leaves: list[int],
    sizes: Architecture,
    seed: int,
    total: int | None = None,
    first: int = 0,
) -> Batch:
    """Return utterances of these lengths, the n-th leaf holding leaves[n] of them."""
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    labels = [[1 + (i * 7 + n) % (sizes.alphabet - 1) for i in range(n // 3)] for n in lengths]
    merges = comm_tree.merges(total or len(leaves), first, first + len(leaves))
    return Batch(
        frames=asarray(level_data((int(offsets[-1]), sizes.features), seed)),
        offsets=offsets,
        labels=labels,
        names=[str(n) for n in range(len(lengths))],
        ids=np.arange(len(lengths), dtype=np.int64),
        leaf_utterances=np.cumsum([0, *leaves], dtype=np.int64),
        merges=np.array(merges, dtype=np.int32),
        starts=np.zeros(len(lengths), dtype=np.int64),
        lengths=np.array(lengths, dtype=np.int64),
    )


def lively(model: Model, seed: int) -> np.ndarray:
    """Return parameters with biases that are not 0, so that no unit is dead throughout."""
    vector = model.layout.initial(seed)
    for name, value in model.layout.items(vector):
        if name.endswith("bias"):
            value.numpy()[...] = level_data(value.shape, seed, 1.0) + np.float32(0.5)
    return vector.numpy().copy()


def train(model: Model, batch: Batch, vector: np.ndarray, scale: float) -> np.ndarray:
    """Return the gradient vector, the loss in its own place."""
    slots = np.zeros((len(batch.merges) + 1, model.layout.gradient_size), np.float32)
    model.train(batch, asarray(vector), asarray(slots), scale, Training(1, 0))
    return slots
