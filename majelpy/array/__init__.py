"""Arrays, places and the memory pool."""

from majelpy.array.array import Array, asarray, empty, zeros
from majelpy.array.place import CPU, Place, parse_place

__all__ = ["CPU", "Array", "Place", "asarray", "empty", "parse_place", "zeros"]
