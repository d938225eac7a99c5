"""Versions: of the package, and of its arithmetic."""

ARITHMETIC = 1
"""Version of the canonical arithmetic; raised by any change of bits."""

__version__ = "0.1.0"
