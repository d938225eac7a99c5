"""The cells of recurrent layers, and how many columns of a unit each has (kernels/rnn.h)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """A kind of recurrent layer.

    Attributes
    ----------
    name : str
    number : int
        That of the drivers.
    gates : int
        Columns of a unit in x and in its gradient.
    kept : int
        Columns of a unit that forward keeps for backward beside h.
    forward_columns, backward_columns : int
        Columns of a unit that go on from step to step: h, and an LSTM's c; the gradients by the
        recurrent sums, and, but for vanilla, the gradient that goes on beside them.
    apart : bool
        Whether the gradient by the recurrent sums is not that by x.
    rounded : bool
        Whether the states that enter a recurrent sum, h and backward ds, are rounded to bfloat16
        there; weights are the caller's to round.
    """

    name: str
    number: int
    gates: int
    kept: int
    forward_columns: int
    backward_columns: int
    apart: bool
    rounded: bool = False

    @property
    def own(self) -> bool:
        """Whether a unit carries something for itself alone from step to step."""
        return self.kept > 0


RNN = Cell("rnn", 0, 1, 0, 1, 1, False)
GRU = Cell("gru", 1, 3, 5, 1, 4, True)
LSTM = Cell("lstm", 2, 4, 5, 2, 5, False)
CELLS: Mapping[str, Cell] = {cell.name: cell for cell in (RNN, GRU, LSTM)}
