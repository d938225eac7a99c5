"""A call of an entry point, and its answers on the CPU and on a device.

Policy. A case is a name, the entry point and its arguments. Arrays lie where launches expect them
(majelpy/gpu/launcher.py): floats on the device, integers on the host, all of the array library's on
the device. `Out` is an output on the device and `HostOut` one on the host. A NaN has one bit
pattern on a GPU and any on a CPU, so all NaN count as one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from makers import same_bits

from majelpy import native
from majelpy.gpu import build

_HEADER = (build.folder() / "entry_points.h").read_text()
ARRAY_LIBRARY = native.parameters_of(_HEADER.partition("/* ---- standard")[2])
"""Entry points whose arrays all lie on the device."""


@dataclass(frozen=True)
class Out:
    """An output; `start` is what is there before, else NaN; `rows` of it are the answer."""

    shape: tuple[int, ...]
    start: np.ndarray | None = None
    rows: int | None = None
    dtype: Any = np.float32

    def fresh(self) -> np.ndarray:
        if self.start is not None:
            return self.start.copy()
        floating = np.dtype(self.dtype).kind == "f"
        return np.full(self.shape, np.nan if floating else 0x5A, self.dtype)


@dataclass(frozen=True)
class HostOut:
    """An integer output on the host."""

    shape: tuple[int, ...]
    dtype: Any

    def fresh(self) -> np.ndarray:
        return np.zeros(self.shape, self.dtype)


@dataclass(frozen=True)
class Case:
    name: str
    entry: str
    arguments: tuple[Any, ...]


def one_nan(x: np.ndarray) -> np.ndarray:
    """Return the array with every NaN as the same one."""
    return np.where(np.isnan(x), x.dtype.type(np.nan), x) if x.dtype.kind == "f" else x


def on_cpu(case: Case) -> list[np.ndarray]:
    """Return the outputs of the CPU's kernel."""
    held, outputs, values = [], [], []
    for argument in case.arguments:
        if isinstance(argument, Out | HostOut):
            held.append(argument.fresh())
            outputs.append(held[-1][: argument.rows] if isinstance(argument, Out) else held[-1])
            values.append(held[-1].ctypes.data)
        elif isinstance(argument, np.ndarray):
            held.append(np.ascontiguousarray(argument))
            values.append(held[-1].ctypes.data)
        else:
            values.append(argument)
    getattr(native.library(), case.entry)(*values)
    return [one_nan(out) for out in outputs]


class Copy:
    """A copy of a host array on a device, alone or with four numbers before it and behind it."""

    def __init__(self, array: np.ndarray, on: Any, fence: int = 0, shift: int = 0):
        around = np.full(fence + shift, 77, array.dtype), np.full(fence, 77, array.dtype)
        self.host = np.concatenate([around[0], array.ravel(), around[1]])
        self.inside = slice(fence + shift, fence + shift + array.size)
        self.memory = on.upload(self.host)
        self.pointer = self.memory.pointer + around[0].nbytes

    def fetch(self, on: Any, out: np.ndarray) -> None:
        """Read the array; fail where the numbers around it have changed."""
        found = np.empty_like(self.host)
        on.download(self.memory.pointer, found)
        out[...] = found[self.inside].reshape(out.shape)
        found[self.inside] = self.host[self.inside]
        assert same_bits(found, self.host), "written outside of an array"


def on_device(
    case: Case,
    on: Any,
    plan: Any,
    *,
    behind: Collection[int] | None = None,
    over: int | None = None,
) -> list[np.ndarray]:
    """Return the outputs of a plan on a launcher.

    Parameters
    ----------
    behind : collection of int, optional
        Arguments whose arrays miss an aligned address by one number; all are then fenced by others.
    over : int, optional
        Argument whose memory is the output's too.
    """
    outputs: list[np.ndarray] = []
    fetched: list[tuple[Copy, np.ndarray]] = []
    values: list[Any] = []
    fence = 0 if behind is None else 4
    for number, argument in enumerate(case.arguments):
        shift = int(number in (behind or ()))
        if isinstance(argument, Out):
            outputs.append(argument.fresh())
            new = over is None
            values.append(Copy(outputs[-1], on, fence, shift) if new else values[over])
            fetched.append((values[-1], outputs[-1]))
        elif isinstance(argument, np.ndarray) and (
            argument.dtype == np.float32 or case.entry in ARRAY_LIBRARY
        ):
            values.append(Copy(argument, on, fence, shift))
        elif isinstance(argument, HostOut):
            outputs.append(argument.fresh())
            values.append(outputs[-1].ctypes.data)
        elif isinstance(argument, np.ndarray):
            values.append(argument.ctypes.data)
        else:
            values.append(argument)
    plan(on, *(v.pointer if isinstance(v, Copy) else v for v in values))
    for memory, out in fetched:
        memory.fetch(on, out)
    outs = [a for a in case.arguments if isinstance(a, Out | HostOut)]
    return [
        one_nan(out[: argument.rows] if isinstance(argument, Out) else out)
        for argument, out in zip(outs, outputs, strict=True)
    ]


def check(case: Case, on: Any, plan: Any, **lying: Any) -> None:
    """Hold a device's bits against the CPU's, wherever the arrays lie (`on_device`)."""
    for expected, found in zip(on_cpu(case), on_device(case, on, plan, **lying), strict=True):
        bits = f"u{expected.dtype.itemsize}"
        where = np.flatnonzero(expected.view(bits) != found.view(bits))
        assert not len(where), (
            f"{case.name}: {len(where)} of {expected.size} differ, first {where[0]}: "
            f"{expected.flat[where[0]]} on the CPU, {found.flat[where[0]]} here"
        )
        assert same_bits(expected, found)
