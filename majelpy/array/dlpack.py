"""bfloat16 in DLPack, which NumPy cannot name: it takes and gives the elements as 16-bit integers.

Policy. Only the type in a capsule that nobody has taken yet is rewritten; the memory, its owner and
who frees it stay NumPy's, CuPy's or the producer's. Layout: dlpack.h, versions 0 and 1.
"""

from __future__ import annotations

import ctypes
from typing import Any

UNSIGNED, BFLOAT = 1, 4
"""Codes of types (kDLUInt, kDLBfloat)."""

_DTYPE = {b"dltensor": 20, b"dltensor_versioned": 52}
"""Where code (1 byte), bits (1) and lanes (2) of the type stand behind a capsule's pointer."""

_name = ctypes.pythonapi.PyCapsule_GetName
_name.restype, _name.argtypes = ctypes.c_char_p, [ctypes.py_object]
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def retyped(capsule: Any, source: int, target: int) -> bool:
    """Let elements of 16 bits and type ``source`` have type ``target``; say whether they had."""
    name = _name(capsule)
    if name not in _DTYPE:
        return False
    code = (ctypes.c_uint8 * 2).from_address(_pointer(capsule, name) + _DTYPE[name])
    if tuple(code) != (source, 16):
        return False
    code[0] = target
    return True


class Words:
    """A producer whose bfloat16 elements, if it has such, are seen as 16-bit integers.

    Attributes
    ----------
    found : bool
        Whether it had, known when it was asked for its capsule.
    """

    def __init__(self, producer: Any):
        self._producer = producer
        self.found = False

    def __dlpack_device__(self) -> tuple[int, int]:
        kind, number = self._producer.__dlpack_device__()
        return int(kind), int(number)

    def __dlpack__(self, **asked: Any) -> Any:
        capsule = self._producer.__dlpack__(**asked)
        self.found = retyped(capsule, BFLOAT, UNSIGNED)
        return capsule
