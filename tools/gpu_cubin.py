"""What a cubin says of its kernels: registers, stack, threads and machine code.

Policy. Figures are read from the ELF file (the attributes of .nv.info), the code from nvdisasm
(pip's nvidia-cuda-nvdisasm).
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REGISTERS, FRAME, THREADS = 0x2F, 0x11, 0x05
"""Attributes EIATTR_REGCOUNT, EIATTR_FRAME_SIZE, EIATTR_MAX_THREADS."""

LONG = 4
"""The format of an attribute with a length and a value of its own."""


@dataclass(frozen=True)
class Kernel:
    """A kernel of a cubin.

    Attributes
    ----------
    registers : int
        Of a thread.
    stack : int
        Bytes of a thread's stack: what the compiler spilled, and local arrays.
    threads : int
        Most of a block; 0 if not bounded.
    code : list of str
        Instructions and labels.
    """

    name: str
    registers: int
    stack: int
    threads: int
    code: list[str]

    @property
    def warps(self) -> int:
        """Warps of a multiprocessor that its registers hold, in whole blocks (65,536 registers)."""
        a_warp = -(-self.registers // 8) * 8 * 32
        a_block = max(1, (self.threads or 256) // 32)
        return min(64, 65536 // a_warp) // a_block * a_block


def disassembler() -> str:
    """Return the path of nvdisasm."""
    wheel = importlib.util.find_spec("nvidia")
    for base in wheel.submodule_search_locations or () if wheel else ():
        for path in Path(base).glob("*/bin/nvdisasm"):
            return str(path)
    found = shutil.which("nvdisasm")
    if found is None:
        raise SystemExit("gpu_cubin: no nvdisasm; pip install nvidia-cuda-nvdisasm")
    return found


def code(text: str) -> dict[str, list[str]]:
    """Return the lines of code of each kernel in nvdisasm's output."""
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in text.splitlines():
        if start := re.match(r"\s*\.text\.(\w+):", line):
            current = found.setdefault(start[1], [])
        elif current is not None and re.match(r"\s*(\.L\w+:|/\*[0-9a-f]{4,}\*/)", line):
            current.append(line.strip())
        elif line.startswith("\t.section"):
            current = None
    return found


class _File:
    """Sections and symbols of an ELF file of 64 bits."""

    def __init__(self, data: bytes):
        self._data = data
        (at,) = struct.unpack_from("<Q", data, 0x28)
        size, count, of_names = struct.unpack_from("<HHH", data, 0x3A)
        headers = [struct.unpack_from("<IIQQQQIIQQ", data, at + i * size) for i in range(count)]
        names = headers[of_names][4]
        self._sections = {self._text(names + h[0]): (h[4], h[5]) for h in headers}
        strings, (first, length) = self._sections[".strtab"][0], self._sections[".symtab"]
        entries = range(first, first + length, 24)
        self.symbols = [self._text(strings + struct.unpack_from("<I", data, e)[0]) for e in entries]

    def _text(self, at: int) -> str:
        return self._data[at : self._data.index(b"\0", at)].decode()

    def attributes(self, section: str) -> Iterator[tuple[int, bytes]]:
        """Yield the attributes of a section that have a value of their own."""
        at, length = self._sections.get(section, (0, 0))
        end = at + length
        while at < end:
            kind, attribute, size = struct.unpack_from("<BBH", self._data, at)
            at += 4
            if kind == LONG:
                yield attribute, self._data[at : at + size]
                at += size


def read(path: Path) -> list[Kernel]:
    """Return the kernels of a cubin, by name."""
    file = _File(path.read_bytes())
    figures: dict[tuple[int, str], int] = {}
    for attribute, value in file.attributes(".nv.info"):
        if attribute in (REGISTERS, FRAME):
            symbol, number = struct.unpack("<II", value)
            figures[attribute, file.symbols[symbol]] = number
    command = [disassembler(), "-c", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    kernels = []
    for name, lines in sorted(code(text).items()):
        of_kernel = dict(file.attributes(f".nv.info.{name}"))
        threads = struct.unpack("<I", of_kernel[THREADS][:4])[0] if THREADS in of_kernel else 0
        registers, stack = (figures.get((a, name), 0) for a in (REGISTERS, FRAME))
        kernels.append(Kernel(name, registers, stack, threads, lines))
    return kernels
