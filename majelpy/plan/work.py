"""What a layer makes a rank compute, send and keep, as sizes; rates and links come later.

Policy. Sizes are those of one frame that the layer gives, so one work serves every minibatch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Product:
    """(rows, terms) times (terms, columns) a frame; more rows than 1 where frequency has places."""

    columns: int
    terms: int
    rows: int = 1


@dataclass(frozen=True)
class Recurrence:
    """Steps through time.

    Attributes
    ----------
    hidden, units : int
        Of a direction, and of these the rank's.
    directions, gates : int
        The rank's, and products of a step.
    bidirectional : bool
        Whether the layer has two, so that both halves of the frames can be busy at once.
    """

    hidden: int
    units: int
    directions: int
    gates: int
    bidirectional: bool


@dataclass(frozen=True)
class Pass:
    """What either pass does besides products and steps through time.

    Attributes
    ----------
    calls : int
        Operations.
    floats : int
        Read and written, one by one.
    dropped, softmax : int
        Elements.
    """

    calls: int = 0
    floats: int = 0
    dropped: int = 0
    softmax: int = 0

    def __add__(self, other: Pass) -> Pass:
        return Pass(
            self.calls + other.calls,
            self.floats + other.floats,
            self.dropped + other.dropped,
            self.softmax + other.softmax,
        )


@dataclass(frozen=True)
class Message:
    """What a rank and its neighbours on the model axis exchange in a step of training.

    Attributes
    ----------
    floats : float
        Of all of them together.
    each : str
        For each of what; a time step but the last, of the utterances that last longer.
    """

    floats: float
    each: Literal["frame", "utterance", "leaf", "time step"] = "frame"


@dataclass(frozen=True)
class Arrays:
    """What lies in memory, in columns, beside the layer's output and the gradients by both ends.

    Attributes
    ----------
    whole, gives_whole : bool
        It reads all units of its input, also those of other ranks; it gives all.
    keeps_input, keeps_output : bool
        For its backward pass.
    kept : tuple of int
        What else it keeps for that.
    forward, backward : tuple of int
        What it needs within a pass.
    freed : int
        What it needs backward only until it makes the gradient by the input.
    ordered, beside : tuple of int, int
        Left and right sides of its weights' gradients, where parts put them in the tree's order.
    by_leaf : int
        Floats for each leaf and part, in the backward pass.
    """

    whole: bool = True
    gives_whole: bool = False
    keeps_input: bool = True
    keeps_output: bool = False
    kept: tuple[int, ...] = ()
    forward: tuple[int, ...] = ()
    backward: tuple[int, ...] = ()
    freed: int = 0
    ordered: tuple[int, ...] = ()
    beside: int = 0
    by_leaf: int = 0


@dataclass(frozen=True)
class Work:
    """The operations of a layer for a frame, which time and memory follow from.

    Attributes
    ----------
    products : tuple of Product
        Forward. Backward each comes twice: by the weight, a sum over a leaf's frames, and by the
        input.
    weights : tuple of Product
        Products by weights alone, in the backward pass.
    recurrence : Recurrence, optional
        In both passes.
    forward, backward : Pass
    messages : tuple of Message
        Of both passes.
    arrays : Arrays
    """

    products: tuple[Product, ...] = ()
    weights: tuple[Product, ...] = ()
    recurrence: Recurrence | None = None
    forward: Pass = Pass()
    backward: Pass = Pass()
    messages: tuple[Message, ...] = ()
    arrays: Arrays = Arrays()
