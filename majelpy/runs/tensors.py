"""Tensors of a checkpoint for a model, or for the share of it that a rank computes."""

from __future__ import annotations

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
    vector = zeros(model.layout.size)
    for parameter in model.layout.parameters:
        name, shape = parameter.name, model.layout.whole_shape(parameter.name)
        tensor = checkpoint.tensors.get(f"{kind}/{name}")
        if tensor is None or tensor.shape != shape:
            found = "missing" if tensor is None else f"of shape {tensor.shape}"
            raise CheckpointError(
                f"checkpoint of step {checkpoint.step}: {kind}/{name} is {found}; "
                f"the recipe needs {shape}"
            )
        model.layout.put_whole(vector, name, tensor)
    return vector
