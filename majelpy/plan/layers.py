"""The work of each kind of layer, as its class in majelpy/nn does it.

Policy. A kind is one function and a line in `KINDS`. A layer of one's own is not known here: it
counts by its parameters and columns alone. Where a layout divides a layer, a rank counts with the
largest share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from majelpy.nn.context import Context
from majelpy.nn.dense import Dense, Logits
from majelpy.nn.dropout import Dropout
from majelpy.nn.layer import Layer
from majelpy.nn.layers import class_of
from majelpy.nn.model import Architecture, Model
from majelpy.nn.parameters import Parameter
from majelpy.nn.recurrent import BiRnn, Rnn
from majelpy.nn.signal import Columns
from majelpy.plan.layout import Layout
from majelpy.plan.work import Arrays, Message, Pass, Product, Recurrence, Work


def works(model: Model, layout: Layout) -> list[tuple[Layer, Work]]:
    """Return the work of each layer, the logits' last."""
    first = learning(model)
    return [
        (layer, KINDS.get(type(layer), _own)(layer, layout, place > first))
        for place, layer in enumerate(model.layers)
    ]


def learning(model: Model) -> int:
    """Return the place of the first layer with parameters; the backward pass ends there."""
    return next(place for place, layer in enumerate(model.layers) if layer.learns)


def unknown(architecture: Architecture) -> list[str]:
    """Return the names of layers that count by their parameters and columns alone."""
    names = (item["layer"] for item in architecture.layers if class_of(item) not in KINDS)
    return list(dict.fromkeys(names))


def held(parameter: Parameter, layout: Layout) -> int:
    """Return how many floats of a parameter a rank has."""
    if not parameter.units:
        return parameter.size
    row = parameter.size // (parameter.directions * parameter.units)
    return row * layout.directions(parameter.directions) * layout.units(parameter.units)


def units_of(columns: Columns, layout: Layout) -> int:
    """Return how many of the columns between two layers a rank has."""
    return layout.units(columns.units) if columns.cut else columns.units


def _context(layer: Context, layout: Layout, needed: bool) -> Work:
    inputs = layer.inputs.units
    beside = Message(layer.settings.frames * inputs, "utterance")
    return Work(
        forward=Pass(1, inputs + layer.outputs.units),
        messages=(beside,) if layout.way == "time" else (),
        arrays=Arrays(keeps_input=False),
    )


def _dense(layer: Dense, layout: Layout, needed: bool) -> Work:
    """Product, bias and rectifier in one; backward the rectifier, both gradients, the bias's."""
    units, inputs = units_of(layer.outputs, layout), layer.inputs.units
    return Work(
        products=(Product(units, inputs),),
        forward=Pass(1, 2 * units),
        backward=Pass(2, 4 * units),
        messages=(*_gathered(layer, layout), *_summed(layer, layout, needed)),
        arrays=Arrays(keeps_output=True, forward=(units,), backward=(units,)),
    )


def _logits(layer: Logits, layout: Layout, needed: bool) -> Work:
    """The same without a rectifier, then softmax and CTC, whose time depends on labels."""
    units, inputs = layer.outputs.units, layer.inputs.units
    messages = _gathered(layer, layout)
    if layout.way == "time":  # CTC is of whole utterances
        messages = (Message(units / 2),)
    return Work(
        products=(Product(units, inputs),),
        forward=Pass(3, 2 * units, softmax=units),
        backward=Pass(1, units),
        messages=messages,
        arrays=Arrays(forward=(units,)),
    )


def _dropout(layer: Dropout, layout: Layout, needed: bool) -> Work:
    one = Pass(1, dropped=units_of(layer.outputs, layout))
    return Work(forward=one, backward=one, arrays=Arrays(whole=False, keeps_input=False))


def _recurrent(layer: Rnn, layout: Layout, needed: bool) -> Work:
    """Input product and bias, steps, sum of directions; backward also the states before."""
    hidden, inputs = layer.outputs.units, layer.inputs.units
    units, directions = layout.units(hidden), layout.directions(layer.directions)
    rows, both = directions * units, layer.directions > 1
    divided = (hidden,) if units < hidden else ()
    messages: tuple[Message, ...] = ()
    if layout.way == "directions" and both:
        messages = (Message(hidden), *((Message(inputs),) if needed else ()))
    elif layout.way == "time":
        messages = 2 * (Message(hidden, "utterance"),)
    elif layout.way == "hidden":
        states = directions * (Message(hidden), Message(hidden, "time step"))
        messages = (*_gathered(layer, layout), Message(directions * hidden, "time step"), *states)
        messages += directions * _summed(layer, layout, needed)
    return Work(
        products=(Product(rows, inputs),),
        weights=directions * (Product(units, hidden),),
        recurrence=Recurrence(hidden, units, directions, both),
        forward=Pass(2 + both, 2 * rows + 3 * units * both),
        backward=Pass(3 + both, (units + rows) * both + 2 * directions * hidden + rows),
        messages=messages,
        arrays=Arrays(
            keeps_output=not both,  # its states, else their sum
            kept=(*((rows,) if both else ()), *(directions * n for n in divided)),
            forward=(rows, rows),
            backward=(*((rows,) if both else ()), rows, directions * hidden),
        ),
    )


def _own(layer: Layer, layout: Layout, needed: bool) -> Work:
    """A product a matrix, and each float of input and output once a pass."""
    units, inputs = units_of(layer.outputs, layout), units_of(layer.inputs, layout)
    products = tuple(
        Product(held(p, layout) // p.shape[-1], p.shape[-1])
        for p in layer.parameters()
        if len(p.shape) > 1
    )
    one = Pass(1, inputs + units)
    return Work(
        products=products,
        forward=one,
        backward=one,
        messages=(*_gathered(layer, layout), *_summed(layer, layout, needed)) if products else (),
        arrays=Arrays(whole=bool(products)),
    )


def _gathered(layer: Layer, layout: Layout) -> tuple[Message, ...]:
    """By hidden parts, forward: all ranks' units of the input."""
    inputs = layer.inputs
    return (Message(inputs.units),) if layout.way == "hidden" and inputs.cut else ()


def _summed(layer: Layer, layout: Layout, needed: bool) -> tuple[Message, ...]:
    """By hidden parts, backward: what all ranks have for the units of the input."""
    return (Message(layer.inputs.units),) if layout.way == "hidden" and needed else ()


KINDS: Mapping[type[Layer], Callable[[Any, Layout, bool], Work]] = {
    Context: _context,
    Dense: _dense,
    Logits: _logits,
    Dropout: _dropout,
    Rnn: _recurrent,
    BiRnn: _recurrent,
}
"""Work of a layer on a layout, with or without the gradient by its input."""
