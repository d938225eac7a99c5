"""majelpy: deterministic arrays and a data- and model-parallel BiRNN-CTC trainer.

One recipe, one answer: the bits of every loss, gradient and weight are a function of
the recipe, the corpus and the arithmetic version. Importing majelpy starts neither
MPI nor CUDA.

The functions of the Python Array API standard are here under their names (`majelpy.zeros`,
`majelpy.matmul`, ...), and `majelpy.random`; the first use of one loads its module. docs/array.md
lists them.
"""

import sys
from importlib import import_module
from math import e, inf, nan, pi
from typing import Any

from majelpy import namespace as _namespace
from majelpy import standard as _standard
from majelpy.version import ARITHMETIC as ARITHMETIC
from majelpy.version import __version__ as __version__

__array_api_version__ = "2025.12"
newaxis = None

_NAMES = {
    "array": "Array asarray empty from_dlpack zeros",
    "memory.dtypes": (
        "bfloat16 bool can_cast finfo float16 float32 float64 iinfo int16 int32 int64 "
        "int8 isdtype result_type uint16 uint32 uint64 uint8"
    ),
    "random": "random",
    **{f"standard.{module}": names for module, names in _standard.NAMES.items()},
}
"""Names of arrays, by the module of majelpy that has them (or is it)."""

_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'majelpy' has no attribute {name!r}")
    module = import_module(f"majelpy.{_HOME[name]}")
    found = module if name == _HOME[name] else getattr(module, name)
    globals()[name] = found  # so that this function is asked once for each name
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


_namespace.name(sys.modules[__name__])

__all__ = [*_HOME, "__array_api_version__", "e", "inf", "nan", "newaxis", "pi"]
