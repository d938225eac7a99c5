"""What a layer is; a layer of one's own derives from this class.

Policy. A layer is built from its settings and from the columns below it, names its parameters, and
maps signals forward and gradients backward. It computes this rank's units and frames, and asks its
share for what other ranks have; so one text serves every layout of ranks. It calls operations
(majelpy.ops) alone: they have one order whatever the machine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from majelpy import ops
from majelpy.array import Array
from majelpy.errors import RecipeError
from majelpy.nn.parameters import Gradients, Parameter
from majelpy.nn.share import Share
from majelpy.nn.signal import Columns, Signal
from majelpy.wording import counted


@dataclass(frozen=True)
class Training:
    """What a training pass draws its random numbers by."""

    seed: int
    epoch: int


@dataclass(frozen=True)
class Pass:
    """One pass through the model.

    Attributes
    ----------
    weights : mapping of str to Array
        This rank's share of each parameter.
    training : Training, optional
        None in evaluation.
    rounded : mapping of str to Array, optional
        The weights rounded to bfloat16: then every operand of a product is
        (a recipe's ``model.precision``).
    """

    weights: Mapping[str, Array]
    training: Training | None = None
    rounded: Mapping[str, Array] | None = None

    def weight(self, name: str) -> Array:
        """A parameter as an operand of a matrix product or convolution."""
        return (self.weights if self.rounded is None else self.rounded)[name]

    def operand(self, x: Array) -> Array:
        """Activations or gradients as an operand of a matrix product or convolution."""
        return x if self.rounded is None else ops.round_bfloat16(x)

    def cell(self, cell: ops.Cell) -> ops.Cell:
        """The cell whose states enter recurrent products as operands do."""
        return cell if self.rounded is None else replace(cell, rounded=True)


class Layer(ABC):
    """A layer of a model.

    Parameters
    ----------
    settings
        Of the class's ``Settings``.
    name : str
        Prefix of its parameters' names.
    number : int
        How many layers of its kind are below it.
    inputs : Columns
        What it reads.
    share : Share
        What of the model this rank computes.

    Attributes
    ----------
    outputs : Columns
        What it gives; set by ``__init__``.
    learns : bool
        Whether it has parameters.

    Raises
    ------
    RecipeError
        If it cannot read such columns; `unfit` makes the message.
    """

    Settings: ClassVar[type]
    learns: ClassVar[bool] = True
    outputs: Columns

    def __init__(self, settings: Any, name: str, number: int, inputs: Columns, share: Share):
        self.settings, self.name, self.number = settings, name, number
        self.inputs, self.share = inputs, share

    def parameters(self) -> list[Parameter]:
        """Its parameters; none by default."""
        return []

    @abstractmethod
    def forward(self, x: Signal, pass_: Pass) -> tuple[Signal, Any]:
        """Return the output, and what `backward` needs."""

    @abstractmethod
    def backward(
        self, dy: Array, saved: Any, pass_: Pass, gradients: Gradients, *, needed: bool
    ) -> Array | None:
        """Push the parameters' gradients; return the gradient by this rank's input columns.

        Parameters
        ----------
        dy : (M, units held)
            By this rank's output columns.
        needed : bool
            Whether the gradient by the input is; else the result is ignored.
        """

    def unfit(self, needs: str) -> RecipeError:
        """Return the error that it needs other columns."""
        grid = f" ({self.inputs.features} places of frequency)" if self.inputs.features else ""
        return RecipeError(
            f"has {counted(self.inputs.units, 'column')}{grid} below it; needs {needs}"
        )
