"""Arrays: making, indexing, exchanging."""

from majelpy.array.array import Array, empty, zeros
from majelpy.array.creation import asarray

__all__ = ["Array", "asarray", "empty", "zeros"]
