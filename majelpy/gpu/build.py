"""The GPU kernels as two programs, and the cache of their cubins.

Policy. The drivers standard*.cu are the program of the array library, all others that of training,
so neither waits for the other's compilation. The key of a cubin is the SHA-256 over the program's
sources, the flags, the compiler's version and the architecture, so a cached file is never stale. A
file is written aside and renamed, so ranks that start at once may all compile, and each finds a
whole file.
"""

from __future__ import annotations

import hashlib
import os
import re
from functools import cache
from pathlib import Path

from majelpy.errors import BuildError
from majelpy.files import write_whole
from majelpy.gpu import nvrtc


@cache
def folder() -> Path:
    """Folder of the kernels' sources: installed with majelpy, or that of the checkout.

    Raises
    ------
    BuildError
        If there are none.
    """
    here = Path(__file__).parent.parent
    for candidate in (here / "lib" / "kernels", here.parent / "kernels"):
        if (candidate / "gpu").is_dir():
            return candidate
    raise BuildError(f"gpu: no kernel sources beside {here}; install majelpy with 'pip install .'")


@cache
def _defined() -> dict[str, list[str]]:
    """The whole numbers that the kernels' sources define, by name."""
    found: dict[str, list[str]] = {}
    for path in [*folder().glob("*.h"), *folder().glob("gpu/*.h"), *folder().glob("gpu/*.cu")]:
        for name, value in re.findall(r"^#define (\w+) (\d+)\b", path.read_text(), re.MULTILINE):
            found.setdefault(name, []).append(value)
    return found


def constant(name: str) -> int:
    """Return a whole number that the kernels' sources define.

    Raises
    ------
    BuildError
        If none of them does, or more than one.
    """
    values = _defined().get(name, [])
    if len(values) != 1:
        times = f"{len(values)} times"
        raise BuildError(f"gpu: {name}: the kernels in {folder()} define it {times}; needs once")
    return int(values[0])


PROGRAMS = ("training", "array")


def drivers(program: str) -> list[Path]:
    """Return the GPU drivers of a program, in name order."""
    found = sorted((folder() / "gpu").glob("*.cu"))
    return [p for p in found if p.name.startswith("standard") == (program == "array")]


def source(program: str) -> str:
    """Return the source that includes every driver of a program."""
    return "".join(f'#include "gpu/{path.name}"\n' for path in drivers(program))


def kernel_names(program: str) -> list[str]:
    """Return the names of a program's kernels, in the drivers' order."""
    pattern = r"\b(mj_\w+_kernel)\b(?=\(mj_i64|\(const|\(float|, \w)"
    return [name for path in drivers(program) for name in re.findall(pattern, path.read_text())]


@cache
def programs() -> dict[str, str]:
    """Return the program of each kernel."""
    return {name: program for program in PROGRAMS for name in kernel_names(program)}


def key(program: str, architecture: int) -> str:
    """Return the SHA-256 that a program is kept under."""
    total = hashlib.sha256()
    headers = [*folder().glob("*.h"), *(folder() / "gpu").glob("*.h")]
    for path in sorted([*headers, *drivers(program)]):
        text = path.read_bytes()
        total.update(f"{path.relative_to(folder())} {len(text)}\n".encode() + text)
    total.update(f"{nvrtc.FLAGS} {nvrtc.version()} sm_{architecture}".encode())
    return total.hexdigest()


def bodies_digest() -> str:
    """Return the SHA-256 over the bodies, which CPU and GPU kernels are compiled from alike."""
    total = hashlib.sha256()
    for path in sorted(folder().glob("*.h")):
        text = path.read_bytes()
        total.update(f"{path.name} {len(text)}\n".encode() + text)
    return total.hexdigest()


def cache_folder() -> Path:
    """Return the folder of cubins, under ``XDG_CACHE_HOME``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "majelpy"


def code(program: str, architecture: int) -> Path:
    """Return the path of a program as a GPU loads it, compiled if it is not in the cache.

    It is a cubin, or, for a GPU newer than the compiler, the cubin of an older one of its family,
    which it runs, or else PTX, which the driver compiles.

    Raises
    ------
    BuildError
        If it cannot be compiled or kept.
    """
    target, as_ptx = nvrtc.target(architecture)
    path = cache_folder() / f"{key(program, target)}.{'ptx' if as_ptx else 'cubin'}"
    if path.exists():
        return path
    text = nvrtc.compile_source(source(program), folder(), target, ptx=as_ptx)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except OSError as error:
        raise BuildError(
            f"gpu: cannot keep {path}: {error}; set XDG_CACHE_HOME to a folder that can be written"
        ) from None
    return path


def ptx(program: str, architecture: int) -> str:
    """Return the PTX text of a program."""
    return nvrtc.compile_source(source(program), folder(), architecture, ptx=True).decode()
