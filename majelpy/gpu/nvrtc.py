"""NVRTC, the compiler of CUDA C++ at run time, by ctypes.

Policy. NVRTC is called directly, since what CuPy adds to a caller's options (-ftz=true) changes
bits. The flags that bits depend on stand here and nowhere else.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from majelpy.errors import BuildError

FLAGS = ("--std=c++17", "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true")
"""No contraction beyond the fma that a body writes; denormals kept; division and root rounded."""


def _folders() -> Iterator[Path]:
    """Where a libnvrtc may lie: pip's wheel, CUDA_HOME, the toolkit of nvcc, the usual folders."""
    wheel = importlib.util.find_spec("nvidia")
    for base in wheel.submodule_search_locations or () if wheel else ():
        for name in ("cuda_nvrtc", "cu13", "cu12"):
            yield Path(base) / name / "lib"
    roots = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH")]
    if nvcc := shutil.which("nvcc"):
        roots.append(str(Path(nvcc).resolve().parent.parent))
    for root in (*(r for r in roots if r), "/usr/local/cuda"):
        for name in ("lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"):
            yield Path(root) / name


def find() -> Path | None:
    """Return the path of libnvrtc: that of ``MAJELPY_NVRTC``, else the first one found.

    Raises
    ------
    BuildError
        If ``MAJELPY_NVRTC`` names no file.
    """
    if chosen := os.environ.get("MAJELPY_NVRTC"):
        if not Path(chosen).is_file():
            raise BuildError(f"nvrtc: MAJELPY_NVRTC={chosen}: no such file; needs libnvrtc's path")
        return Path(chosen)
    for folder in _folders():
        found = [p for p in folder.glob("libnvrtc.so*") if "alt" not in p.name]
        if found:
            return sorted(found)[0]
    return None


@cache
def _library(path: Path) -> Any:
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(f"nvrtc: cannot load {path}: {error}") from None


def library() -> Any:
    """The loaded NVRTC.

    Raises
    ------
    BuildError
        If there is none.
    """
    path = find()
    if path is None:
        raise BuildError(
            "nvrtc: no libnvrtc found; needs pip's nvidia-cuda-nvrtc-cu12 (or nvidia-cuda-nvrtc), "
            "CUDA_HOME, or its path in MAJELPY_NVRTC"
        )
    return _library(path)


def _check(call: str, status: int, log: str = "") -> None:
    if status:
        library().nvrtcGetErrorString.restype = ctypes.c_char_p
        reason = library().nvrtcGetErrorString(status).decode()
        first = next((line for line in log.splitlines() if "error" in line), log[:200])
        raise BuildError(f"nvrtc: {call}: {reason}{': ' + first if first else ''}")


def version() -> tuple[int, int]:
    """Return major and minor version of the compiler."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check("version", library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return major.value, minor.value


def architectures() -> list[int]:
    """Return the architectures that this NVRTC compiles for, as 70, 80, 90, ..."""
    count = ctypes.c_int()
    _check("architectures", library().nvrtcGetNumSupportedArchs(ctypes.byref(count)))
    found = (ctypes.c_int * count.value)()
    _check("architectures", library().nvrtcGetSupportedArchs(found))
    return list(found)


def target(architecture: int) -> tuple[int, bool]:
    """Return what to compile for a GPU: an architecture, and whether to PTX.

    Raises
    ------
    BuildError
        If this NVRTC knows no architecture that the GPU runs.
    """
    known = architectures()
    # Code for an older GPU runs on a newer one of the same family (90 on 90, 80 on 86).
    family = [a for a in known if a // 10 == architecture // 10 and a <= architecture]
    if family:
        return max(family), False
    older = [a for a in known if a < architecture]
    if not older:
        raise BuildError(
            f"nvrtc: sm_{architecture} asked; NVRTC {'.'.join(map(str, version()))} has "
            f"sm_{', sm_'.join(map(str, known))}"
        )
    return max(older), True


def _text(program: ctypes.c_void_p, what: str) -> bytes:
    """A result of a program: ``ProgramLog``, ``PTX`` or ``CUBIN``."""
    size = ctypes.c_size_t()
    _check(what, getattr(library(), f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(what, getattr(library(), f"nvrtcGet{what}")(program, buffer))
    return buffer.raw


def compile_source(source: str, include: Path, architecture: int, *, ptx: bool = False) -> bytes:
    """Return the cubin (or the PTX) of a CUDA C++ source.

    Parameters
    ----------
    source : str
    include : Path
        Folder that its includes are relative to.
    architecture : int
        90 for compute capability 9.0.
    ptx : bool
        PTX text instead of machine code.

    Raises
    ------
    BuildError
        If there is no NVRTC, it does not know the architecture, or the source does not compile.
    """
    if architecture not in architectures():
        raise BuildError(
            f"nvrtc: sm_{architecture} asked; NVRTC {'.'.join(map(str, version()))} has "
            f"sm_{', sm_'.join(map(str, architectures()))}"
        )
    target = "compute" if ptx else "sm"
    options = [*FLAGS, f"--gpu-architecture={target}_{architecture}", f"--include-path={include}"]
    program = ctypes.c_void_p()
    status = library().nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), b"majelpy.cu", 0, None, None
    )
    _check("create", status)
    try:
        array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        status = library().nvrtcCompileProgram(program, len(options), array)
        _check("compile", status, _text(program, "ProgramLog").rstrip(b"\0").decode())
        return _text(program, "PTX").rstrip(b"\0") if ptx else _text(program, "CUBIN")
    finally:
        library().nvrtcDestroyProgram(ctypes.byref(program))
