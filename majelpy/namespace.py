"""The module whose functions arrays call: for operators, and for `Array.__array_namespace__`.

Policy. An operator is a function of the standard, and the standard stands above arrays. So an array
asks here, and the package's face, which Python runs before any module of the package, names itself:
nothing below imports what stands above it.
"""

from __future__ import annotations

from types import ModuleType

_named: list[ModuleType] = []


def name(module: ModuleType) -> None:
    """Let ``module`` be the one that has the functions."""
    _named[:] = [module]


def namespace() -> ModuleType:
    """Return the module that has the functions."""
    return _named[0]
