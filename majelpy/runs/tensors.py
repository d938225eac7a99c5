"""Tensors of a checkpoint for a model, or for the share of it that a rank computes."""

from __future__ import annotations

import numpy as np

from majelpy.array import Array, zeros
from majelpy.errors import CheckpointError
from majelpy.nn.model import Model
from majelpy.runs.checkpoint import Checkpoint


def load_tensors(model: Model, checkpoint: Checkpoint, kind: str) -> Array:
    """Return a model's share of a checkpoint's tensors of that kind, as a flat vector.

    Raises
    ------
    CheckpointError
        If one is missing or has another shape.
    """
    names = [parameter.name for parameter in model.layout.parameters]
    # All are looked at before memory is taken, which then is no more than the file has.
    tensors = {
        name: tensor_of(checkpoint, f"{kind}/{name}", model.layout.whole_shape(name))
        for name in names
    }
    vector = zeros(model.layout.size)
    for name, tensor in tensors.items():
        model.layout.put_whole(vector, name, tensor)
    return vector


def tensor_of(checkpoint: Checkpoint, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return a tensor of a checkpoint; raises as `load_tensors` does."""
    tensor = checkpoint.tensors.get(name)
    if tensor is None or tensor.shape != shape:
        found = "missing" if tensor is None else f"of shape {tensor.shape}"
        raise CheckpointError(
            f"checkpoint of step {checkpoint.step}: {name} is {found}; the recipe needs {shape}"
        )
    return tensor
