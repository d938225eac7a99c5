"""Errors of majelpy.

Policy: every message names the operation, the values found and what is needed,
on one line. Each class also inherits the built-in that a caller would expect, so
``except ValueError`` works. The program turns any `MajelError` into that one line
on standard error and exit code 2.
"""

from __future__ import annotations


class MajelError(Exception):
    """Base of all errors that majelpy raises on purpose."""


class ArgumentError(MajelError, TypeError):
    """An argument is of a type that the function has no use for."""


class ShapeError(MajelError, ValueError):
    """Shapes, sizes or index ranges do not fit together."""


class DTypeError(MajelError, TypeError):
    """An array has another element type than the operation needs."""


class RangeError(MajelError, IndexError, ValueError):
    """An axis, an index or a number lies outside its range."""


class ExchangeError(DTypeError, BufferError, AttributeError):
    """An object gives no DLPack capsule that arrays can be made of."""


class CopyError(MajelError, ValueError, BufferError):
    """Memory would have to be copied or moved, and the caller forbade it."""


class PoolError(MajelError, MemoryError):
    """An allocator cannot give the memory that was asked for."""


class BuildError(MajelError, RuntimeError):
    """The native library is missing, stale or unfit for this processor."""


class DeviceError(MajelError, RuntimeError):
    """A GPU failed while it worked, or does not answer; what it held is lost."""


class RecipeError(MajelError, ValueError):
    """A recipe or a launch setting has an unknown key or an unusable value."""


class AudioError(MajelError, ValueError):
    """A recording or a feature file cannot be used."""


class ManifestError(MajelError, ValueError):
    """A manifest cannot be read or names something that cannot be used."""


class TextError(MajelError, ValueError):
    """A transcript does not fit the alphabet."""


class LanguageModelError(MajelError, ValueError):
    """A language model cannot be read, or does not fit the alphabet."""


class CorpusError(MajelError, ValueError):
    """A corpus file is damaged, truncated or of other features than needed."""


class CheckpointError(MajelError, ValueError):
    """A checkpoint or a run folder is damaged or belongs to another recipe."""


class TrainingError(MajelError, ArithmeticError):
    """Training met a value that it cannot continue from (NaN, infinity)."""


class WorldError(MajelError, RuntimeError):
    """The ranks of a world do not fit the task or do not agree."""


class PlacementError(MajelError, ValueError):
    """Placements of a distributed array do not fit the mesh, the shape or one another."""


class ArrayFileError(MajelError, ValueError):
    """A file of an array is damaged, truncated or of another kind."""


class OutputError(MajelError, OSError):
    """A file or folder cannot be written (permissions, full disk)."""
