"""The layers of a model on a layout: each with its work, and what a rank has of it."""

from __future__ import annotations

from dataclasses import replace

from majelpy.nn.layer import Layer
from majelpy.nn.layers import class_of
from majelpy.nn.model import Architecture, Model
from majelpy.plan.kinds import KINDS, unknown_kind
from majelpy.plan.layout import Layout
from majelpy.plan.work import Message, Work


def works(model: Model, layout: Layout) -> list[tuple[Layer, Work]]:
    """Return the work of each layer, the logits' last."""
    first, found, whole = learning(model), [], True
    for place, layer in enumerate(model.layers):
        work = KINDS.get(type(layer), unknown_kind)(layer, layout, place > first)
        if layout.way == "hidden" and work.arrays.whole and not whole:
            frames = layer.outputs.stride // layer.inputs.stride
            gathered = Message(frames * layer.inputs.units)
            work = replace(work, messages=(gathered, *work.messages))
        whole = work.arrays.gives_whole or not layer.outputs.cut
        found.append((layer, work))
    return found


def learning(model: Model) -> int:
    """Return the place of the first layer with parameters; the backward pass ends there."""
    return next(place for place, layer in enumerate(model.layers) if layer.learns)


def unknown(architecture: Architecture) -> list[str]:
    """Return the names of layers that count by their parameters and columns alone."""
    names = (item["layer"] for item in architecture.layers if class_of(item) not in KINDS)
    return list(dict.fromkeys(names))
