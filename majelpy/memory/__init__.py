"""Where arrays lie and what their elements are: places, dtypes, and the pool of each place."""

from majelpy.memory.place import CPU, Place, parse_place

__all__ = ["CPU", "Place", "parse_place"]
