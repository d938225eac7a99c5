"""The layers of a share of a model, each with its work."""

from __future__ import annotations

from dataclasses import replace

from majelpy.nn.layer import Layer
from majelpy.nn.layers import class_of
from majelpy.nn.model import Architecture, Model
from majelpy.plan.kinds import KINDS, unknown_kind
from majelpy.plan.work import Message, Work


def works(model: Model, way: str) -> list[tuple[Layer, Work]]:
    """Return the work of each layer, the logits' last, by the way that the ranks of a model go."""
    found, whole = [], True
    for place, layer in enumerate(model.layers):
        work = KINDS.get(type(layer), unknown_kind)(layer, way, place > model.first_learning)
        if way == "hidden" and work.arrays.whole and not whole:
            frames = layer.outputs.stride // layer.inputs.stride
            gathered = Message(frames * layer.inputs.units)
            work = replace(work, messages=(gathered, *work.messages))
        whole = work.arrays.gives_whole or not layer.outputs.cut
        found.append((layer, work))
    return found


def unknown(architecture: Architecture) -> list[str]:
    """Return the names of layers that count by their parameters and columns alone."""
    names = (item["layer"] for item in architecture.layers if class_of(item) not in KINDS)
    return list(dict.fromkeys(names))
