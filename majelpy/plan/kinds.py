"""The work of each kind of layer, as its class in majelpy/nn does it.

Policy. A kind is one function and a line in `KINDS`. A layer of one's own is not known here: it
counts by its parameters and columns alone. What a rank has of a layer the layer's share says, which
is that of the rank that has most; a function here adds what ranks exchange by the way that they go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from majelpy.nn.context import Context
from majelpy.nn.conv import Conv, RowConv
from majelpy.nn.dense import Dense, Logits
from majelpy.nn.dropout import Dropout
from majelpy.nn.layer import Layer
from majelpy.nn.norm import BatchNorm, LayerNorm
from majelpy.nn.parameters import Layout, Parameter
from majelpy.nn.recurrent import BiGru, BiLstm, BiRnn, Gru, Lstm, Rnn
from majelpy.nn.share import Share
from majelpy.nn.signal import Columns
from majelpy.plan.work import Arrays, Message, Pass, Product, Recurrence, Work


def held(layer: Layer) -> list[Parameter]:
    """Return the parameters of a layer as its share holds them."""
    return Layout(layer.parameters(), layer.share).parameters


def units_of(columns: Columns, share: Share) -> int:
    """Return how many of the columns between two layers a share has."""
    if not columns.cut:
        return columns.units
    first, last = share.units(columns.units)
    return last - first


def _context(layer: Context, way: str, needed: bool) -> Work:
    inputs = layer.inputs.units
    beside = Message(layer.settings.frames * inputs, "utterance")
    return Work(
        forward=Pass(1, inputs + layer.outputs.units),
        messages=(beside,) if way == "time" else (),
        arrays=Arrays(keeps_input=False),
    )


@dataclass(frozen=True)
class _Shift:
    """Bias of some columns, or batch normalisation in its place."""

    forward: Pass
    backward: Pass
    messages: tuple[Message, ...] = ()
    kept: tuple[int, ...] = ()
    by_leaf: int = 0


def _bias(columns: int) -> _Shift:
    return _Shift(Pass(1, 2 * columns), Pass(1, columns))


def _batch_norm(columns: int, way: str) -> _Shift:
    """Sums of leaves: two and their use forward; two at once, pushes and their use backward.

    What it normalises it keeps, and of each leaf three statistics and four sums.
    """
    sums = (Message(columns, "leaf"), Message(columns, "leaf"), Message(2 * columns, "leaf"))
    by_time = sums if way == "time" else ()
    passes = Pass(8, 4 * columns), Pass(8, 5 * columns)
    return _Shift(*passes, by_time, kept=(columns,), by_leaf=7 * columns)


def _shift(layer: Dense | Rnn | Conv, columns: int, way: str) -> _Shift:
    return _batch_norm(columns, way) if layer.settings.batch_norm else _bias(columns)


def _dense(layer: Dense, way: str, needed: bool) -> Work:
    """Product and bias, the rectifier with it; backward the rectifier first."""
    units, inputs = units_of(layer.outputs, layer.share), layer.inputs.units
    shift = _shift(layer, units, way)
    return Work(
        products=(Product(units, inputs),),
        forward=shift.forward,
        backward=Pass(1, 3 * units) + shift.backward,
        messages=(*_summed(layer, way, needed), *shift.messages),
        arrays=Arrays(
            keeps_output=True,
            kept=shift.kept,
            forward=() if shift.kept else (units,),
            backward=(units,),
            freed=sum(shift.kept),
            ordered=(units,),
            beside=inputs,
            by_leaf=shift.by_leaf,
        ),
    )


def _logits(layer: Logits, way: str, needed: bool) -> Work:
    """Product and bias, then softmax and CTC, whose time depends on labels."""
    units, inputs = layer.outputs.units, layer.inputs.units
    bias = _bias(units)
    whole = (Message(units / 2),) if way == "time" else ()  # for CTC
    return Work(
        products=(Product(units, inputs),),
        forward=bias.forward + Pass(2, softmax=units),
        backward=bias.backward,
        messages=whole,
        arrays=Arrays(forward=(units,), ordered=(units,), beside=inputs),
    )


def _dropout(layer: Dropout, way: str, needed: bool) -> Work:
    one = Pass(1, dropped=units_of(layer.outputs, layer.share))
    return Work(forward=one, backward=one, arrays=Arrays(whole=False, keeps_input=False))


def _recurrent(layer: Rnn, way: str, needed: bool) -> Work:
    """Input product and bias, steps, sum of directions; backward also the states before."""
    hidden, inputs = layer.outputs.units, layer.inputs.units
    units = units_of(layer.outputs, layer.share)
    first, last = layer.share.directions(layer.directions)
    directions = last - first
    cell, both, own = layer.cell, layer.directions > 1, directions * units
    rows = cell.gates * own
    shift = _shift(layer, rows, way)
    messages: tuple[Message, ...] = ()
    if way == "directions" and both:
        messages = (Message(hidden), *((Message(inputs),) if needed else ()))
    elif way == "time":
        carried = (cell.forward_columns, cell.backward_columns)
        messages = tuple(Message(columns * hidden, "utterance") for columns in carried)
    elif way == "hidden":
        step, gates = Message(directions * hidden, "time step"), directions * cell.gates
        messages = (
            step,
            *directions * (Message(hidden),),
            *gates * (Message(hidden, "time step"),),
        )
        messages += gates * _summed(layer, way, needed)
    states = (own,) if both else ()  # else they are the output
    # What a cell that has gates keeps, and where it has the gradient by its sums.
    kept, sums = (cell.kept * own,) if cell.kept else (), (rows,) if cell.apart else ()
    gathered = (directions * hidden,) if units < hidden else ()
    return Work(
        products=(Product(rows, inputs),),
        weights=directions * (Product(cell.gates * units, hidden),),
        recurrence=Recurrence(hidden, units, directions, cell.gates, both),
        forward=Pass(1 + both, 3 * units * both) + shift.forward,
        backward=Pass(2 + both, (units + own) * both + 2 * directions * hidden) + shift.backward,
        messages=(*messages, *shift.messages),
        arrays=Arrays(
            keeps_output=not both,
            kept=(*states, *gathered, *kept, *shift.kept),
            forward=(rows,) if shift.kept else (rows, rows),
            backward=(*states, rows, *sums, directions * hidden),
            freed=sum(shift.kept),
            ordered=(rows, *sums),
            beside=inputs,
            by_leaf=shift.by_leaf,
        ),
    )


def _conv(layer: Conv, way: str, needed: bool) -> Work:
    """A product at each place of frequency, of all channels on every rank."""
    settings, outputs, inputs = layer.settings, layer.outputs, layer.inputs
    units, (taps, width) = units_of(outputs, layer.share), settings.kernel
    terms = taps * width * inputs.units // inputs.features
    before = (taps - 1) // 2
    beside = max(before, taps - before - settings.stride[0])  # frames of the other half
    shift = _shift(layer, units, way)
    messages: tuple[Message, ...] = ()
    if way == "hidden":
        messages = (Message(outputs.units),)
    elif way == "time":
        back = -(-beside // settings.stride[0]) * outputs.units if needed else 0
        messages = (Message(beside * inputs.units, "utterance"),)
        messages += (Message(back, "utterance"),) if needed else ()
    divided = (outputs.units,) if units < outputs.units else ()
    return Work(
        products=(Product(settings.channels, terms, outputs.features),),
        forward=shift.forward,
        backward=Pass(1, 3 * units) + shift.backward,
        messages=(*messages, *shift.messages),
        arrays=Arrays(
            keeps_output=True,
            kept=shift.kept,
            forward=(*divided, *(() if shift.kept else (units,))),
            backward=(units, *divided),
            freed=sum(shift.kept),
            by_leaf=settings.channels * terms + shift.by_leaf,
        ),
    )


def _row_conv(layer: RowConv, way: str, needed: bool) -> Work:
    """A sum of as many products as frames are seen, for each unit; so backward, twice."""
    units, future = units_of(layer.outputs, layer.share), layer.settings.future
    one = Pass(1, (future + 2) * units)
    messages: tuple[Message, ...] = ()
    if way == "time":
        messages = (1 + needed) * (Message(future * units, "utterance"),)
    return Work(
        forward=one,
        backward=one + one if needed else one,
        messages=messages,
        arrays=Arrays(whole=False, by_leaf=(future + 1) * units),
    )


def _batch_norm_layer(layer: BatchNorm, way: str, needed: bool) -> Work:
    shift = _batch_norm(units_of(layer.outputs, layer.share), way)
    return Work(
        forward=shift.forward,
        backward=shift.backward,
        messages=shift.messages,
        arrays=Arrays(whole=False, by_leaf=shift.by_leaf),
    )


def _layer_norm(layer: LayerNorm, way: str, needed: bool) -> Work:
    """Every rank has all units of a frame, and adds along them as softmax does."""
    units = layer.outputs.units
    return Work(
        forward=Pass(1, softmax=units),
        backward=Pass(3, 2 * units, softmax=units),
        messages=(Message(units),) if way == "hidden" else (),
        arrays=Arrays(gives_whole=True, kept=(1, 1), backward=(units,)),
    )


def unknown_kind(layer: Layer, way: str, needed: bool) -> Work:
    """A product a matrix, and each float of input and output once a pass."""
    units, inputs = units_of(layer.outputs, layer.share), units_of(layer.inputs, layer.share)
    products = tuple(
        Product(p.size // p.shape[-1], p.shape[-1]) for p in held(layer) if len(p.shape) > 1
    )
    one = Pass(1, inputs + units)
    return Work(
        products=products,
        forward=one,
        backward=one,
        messages=_summed(layer, way, needed) if products else (),
        arrays=Arrays(
            whole=bool(products), ordered=tuple(p.columns for p in products), beside=inputs
        ),
    )


def _summed(layer: Layer, way: str, needed: bool) -> tuple[Message, ...]:
    """By hidden parts, backward: what all ranks have for the units of the input."""
    return (Message(layer.inputs.units),) if way == "hidden" and needed else ()


KINDS: Mapping[type[Layer], Callable[[Any, str, bool], Work]] = {
    Context: _context,
    Dense: _dense,
    Logits: _logits,
    Dropout: _dropout,
    Rnn: _recurrent,
    BiRnn: _recurrent,
    Gru: _recurrent,
    BiGru: _recurrent,
    Lstm: _recurrent,
    BiLstm: _recurrent,
    Conv: _conv,
    RowConv: _row_conv,
    BatchNorm: _batch_norm_layer,
    LayerNorm: _layer_norm,
}
"""Work of a layer of a share, by the way of its mesh, with or without the gradient by its input."""
