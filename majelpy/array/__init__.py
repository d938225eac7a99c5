"""Arrays: making, indexing, exchanging."""

from majelpy.array.array import Array, empty, zeros
from majelpy.array.foreign import asarray, from_dlpack

__all__ = ["Array", "asarray", "empty", "from_dlpack", "zeros"]
