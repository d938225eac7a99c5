"""A call of an entry point, and its answers on the CPU and on a device.

Policy. A case is a name, the entry point and its arguments. Arrays lie where launches expect them
(majelpy/gpu/launcher.py): floats on the device, integers on the host, all of the array library's on
the device. `Out` is an output on the device and `HostOut` one on the host. A NaN has one bit
pattern on a GPU and any on a CPU, so all NaN count as one.
"""

from __future__ import annotations

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


def on_device(case: Case, on: Any, plan: Any) -> list[np.ndarray]:
    """Return the outputs of a plan on a launcher."""
    outputs: list[np.ndarray] = []
    fetched, values = [], []
    for argument in case.arguments:
        if isinstance(argument, Out):
            values.append(on.upload(argument.fresh()))
            outputs.append(argument.fresh())
            fetched.append((values[-1], outputs[-1]))
        elif isinstance(argument, np.ndarray) and (
            argument.dtype == np.float32 or case.entry in ARRAY_LIBRARY
        ):
            values.append(on.upload(argument))
        elif isinstance(argument, HostOut):
            outputs.append(argument.fresh())
            values.append(outputs[-1].ctypes.data)
        elif isinstance(argument, np.ndarray):
            values.append(argument.ctypes.data)
        else:
            values.append(argument)
    plan(on, *(v.pointer if hasattr(v, "pointer") else v for v in values))
    for memory, out in fetched:
        on.download(memory.pointer, out)
    outs = [a for a in case.arguments if isinstance(a, Out | HostOut)]
    return [
        one_nan(out[: argument.rows] if isinstance(argument, Out) else out)
        for argument, out in zip(outs, outputs, strict=True)
    ]


def check(case: Case, on: Any, plan: Any) -> None:
    """Hold a device's bits against the CPU's."""
    for expected, found in zip(on_cpu(case), on_device(case, on, plan), strict=True):
        bits = f"u{expected.dtype.itemsize}"
        where = np.flatnonzero(expected.view(bits) != found.view(bits))
        assert not len(where), (
            f"{case.name}: {len(where)} of {expected.size} differ, first {where[0]}: "
            f"{expected.flat[where[0]]} on the CPU, {found.flat[where[0]]} here"
        )
        assert same_bits(expected, found)
