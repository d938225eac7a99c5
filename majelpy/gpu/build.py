"""The GPU kernels as one program, and the cache of its cubins.

Policy. The key of a cubin is the SHA-256 over all sources, the flags, the compiler's version and
the architecture, so a cached file is never stale. A file is written aside and renamed, so ranks
that start at once may all compile, and each finds a whole file.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from functools import cache
from pathlib import Path

from majelpy.errors import BuildError
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


def drivers() -> list[Path]:
    """Return the GPU drivers, in name order."""
    return sorted((folder() / "gpu").glob("*.cu"))


def program() -> str:
    """Return the source that includes every driver."""
    return "".join(f'#include "gpu/{path.name}"\n' for path in drivers())


def kernel_names() -> list[str]:
    """Return the names of all kernels, in the drivers' order."""
    pattern = r"\b(mj_\w+_kernel)\b(?=\(mj_i64|\(const|\(float|, \d)"
    return [name for path in drivers() for name in re.findall(pattern, path.read_text())]


def key(architecture: int) -> str:
    """Return the SHA-256 that a cubin is kept under."""
    total = hashlib.sha256()
    for path in sorted([*folder().glob("*.h"), *(folder() / "gpu").glob("*")]):
        text = path.read_bytes()
        total.update(f"{path.relative_to(folder())} {len(text)}\n".encode() + text)
    total.update(f"{nvrtc.FLAGS} {nvrtc.version()} sm_{architecture}".encode())
    return total.hexdigest()


def cache_folder() -> Path:
    """Return the folder of cubins, under ``XDG_CACHE_HOME``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "majelpy"


def cubin(architecture: int) -> Path:
    """Return the path of the kernels' cubin, compiled if it is not in the cache.

    Raises
    ------
    BuildError
        If it cannot be compiled or kept.
    """
    path = cache_folder() / f"{key(architecture)}.cubin"
    if path.exists():
        return path
    code = nvrtc.compile_source(program(), folder(), architecture)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as aside:
            aside.write(code)
        os.replace(aside.name, path)
    except OSError as error:
        raise BuildError(
            f"gpu: cannot keep {path}: {error}; set XDG_CACHE_HOME to a folder that can be written"
        ) from None
    return path


def ptx(architecture: int) -> str:
    """Return the PTX text of all kernels."""
    return nvrtc.compile_source(program(), folder(), architecture, ptx=True).decode()
