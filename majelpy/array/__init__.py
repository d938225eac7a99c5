"""Arrays, places and the memory pool."""

from majelpy.array.array import Array, empty, zeros
from majelpy.array.creation import asarray
from majelpy.array.place import CPU, Place, parse_place

__all__ = ["CPU", "Array", "Place", "asarray", "empty", "parse_place", "zeros"]
