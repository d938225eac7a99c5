"""What flows between two layers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from majelpy.array import Array
from majelpy.nn.batch import Batch
from majelpy.nn.share import Share


@dataclass(frozen=True)
class Columns:
    """What the columns between two layers are.

    Attributes
    ----------
    units : int
        How many.
    features : int
        Places on the frequency axis, each with units / features channels; 0: the columns are not
        ordered so.
    stride : int
        Input frames from one row to the next.
    cut : bool
        Whether ranks may share the units: not those of the input.
    """

    units: int
    features: int = 0
    stride: int = 1
    cut: bool = True

    def of_units(self, units: int) -> Columns:
        """The columns of a layer of so many units on top of these."""
        return replace(self, units=units, features=0, cut=True)

    def shared(self) -> Columns:
        """The same columns, as units that ranks may share."""
        return replace(self, cut=True)


class Signal:
    """Rows of frames, of which a rank may hold some units; the others are gathered when read.

    Parameters
    ----------
    share : Share
    batch : Batch
        Which frames the rows are.
    units : int
        All columns.
    own, whole : Array, optional
        (M, units held) or (M, units); one of the two.
    """

    def __init__(
        self,
        share: Share,
        batch: Batch,
        units: int,
        *,
        own: Array | None = None,
        whole: Array | None = None,
    ):
        self.share, self.batch, self.units = share, batch, units
        self._own, self._whole = own, whole

    @property
    def own(self) -> Array:
        """This rank's columns."""
        if self._own is None:
            assert self._whole is not None
            self._own = self.share.own_columns(self._whole, self.units)
        return self._own

    @property
    def whole(self) -> Array:
        """All columns; the ranks that share the model exchange theirs at the first call."""
        if self._whole is None:
            assert self._own is not None
            self._whole = self.share.gather(self._own, self.units)
        return self._whole

    def with_own(self, own: Array) -> Signal:
        """Other values of the same units and frames."""
        return Signal(self.share, self.batch, self.units, own=own)
