"""The native library: one build per instruction set, chosen here.

Policy. `kernels/entry_points.h` is the only place where a kernel's signature is written; it is
read at the first call and gives ctypes its types. Loading happens at the first kernel call,
so importing majelpy costs nothing. The choice of instruction set never changes a bit.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from majelpy import arguments
from majelpy.errors import BuildError, RecipeError

LIBRARY_FOLDER = Path(__file__).parent / "lib"

_REQUIRED_FLAGS = {
    "avx512": {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx2", "fma"},
    "avx2": {"avx2", "fma"},
    "neon": {"asimd"},
    "plain": set[str](),
}
"""Instruction sets, best first, and the processor flags each build needs."""

_ASK = ctypes.CFUNCTYPE(
    ctypes.c_float, ctypes.c_int64, ctypes.c_int32, ctypes.POINTER(ctypes.c_int32)
)

_TYPES = {"int64_t": ctypes.c_int64, "float": ctypes.c_float, "pointer": ctypes.c_void_p}


def _folder() -> Path:
    """Folder of the built libraries; an editable install keeps them in site-packages."""
    for base in sys.modules[__package__].__path__:
        if list((Path(base) / "lib").glob("*majel_*.so")):
            return Path(base) / "lib"
    import sysconfig

    installed = Path(sysconfig.get_paths()["platlib"]) / "majelpy" / "lib"
    if list(installed.glob("*majel_*.so")):
        return installed
    raise BuildError(
        f"native: no kernel library in {LIBRARY_FOLDER}; install majelpy with 'pip install .'"
    )


def _processor_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return set(found.group(1).split()) if found else set()


@cache
def available_isas() -> list[str]:
    """Instruction sets that are both built and runnable on this processor, best first."""
    flags = _processor_flags()
    built = {p.stem.removeprefix("lib").removeprefix("majel_") for p in _folder().glob("*.so")}
    return [name for name, need in _REQUIRED_FLAGS.items() if name in built and need <= flags]


@cache
def isa() -> str:
    """Name of the instruction set in use: the best one, or that of ``MAJELPY_ISA``.

    Raises
    ------
    RecipeError
        If ``MAJELPY_ISA`` names a set that is not built or that this processor lacks.
    """
    wanted = os.environ.get("MAJELPY_ISA", "")
    names = available_isas()
    if not names:
        raise BuildError(f"native: no build in {_folder()} runs on {platform.machine()}")
    if wanted and wanted not in names:
        raise RecipeError(f"MAJELPY_ISA={wanted}: this machine runs {', '.join(names)}")
    return wanted or names[0]


class Parameter(NamedTuple):
    """A parameter of an entry point; its kind is ``int64_t``, ``float`` or ``pointer``."""

    name: str
    kind: str


def parameters_of(header: str) -> dict[str, list[Parameter]]:
    """Return the parameters of each function of a text like `entry_points.h`, by its name."""
    text = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    functions: dict[str, list[Parameter]] = {}
    for function, declared in re.findall(r"void (mj_\w+)\(([^)]*)\);", text):
        functions[function] = []
        for argument in declared.split(","):
            kind, name = argument.split()[0], re.findall(r"\w+", argument)[-1]
            functions[function].append(Parameter(name, "pointer" if "*" in argument else kind))
    return functions


@cache
def prototypes() -> dict[str, list[Parameter]]:
    """Return the parameters of each entry point."""
    return parameters_of((_folder() / "entry_points.h").read_text())


@cache
def library() -> Any:
    """The loaded library; every function of `entry_points.h` is an attribute."""
    paths = list(_folder().glob(f"*majel_{isa()}.so"))
    loaded = ctypes.CDLL(str(paths[0]))
    for name, parameters in prototypes().items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = [_TYPES[p.kind] for p in parameters], None
    _check_denormals(loaded)
    return loaded


def _check_denormals(loaded: Any) -> None:
    """Raise BuildError where the processor has been told to flush denormals to zero.

    A library linked with -ffast-math does that to the whole process, and bits would differ.
    """
    tiny = (ctypes.c_float * 1)(1e-40)
    product = (ctypes.c_float * 1)(0.0)
    one = (ctypes.c_float * 1)(1.0)
    loaded.mj_multiply_arrays(
        1, ctypes.addressof(tiny), ctypes.addressof(one), ctypes.addressof(product)
    )
    if not product[0]:
        raise BuildError(
            "native: denormals are flushed to zero in this process; a library loaded before "
            "majelpy was linked with -ffast-math; load majelpy first or leave that library out"
        )


def address_of(host: Any) -> int:
    """Address of a contiguous NumPy array's first element; faster than NumPy's ``ctypes.data``."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(host))
    except (TypeError, ValueError):  # not to be written, or without elements
        return int(host.ctypes.data)


def ask(answer: Callable[[int, int], tuple[float, int]]) -> Any:
    """Return the argument ``ask`` of `mj_beam_search`; keep it until the search has returned.

    ``answer`` must not raise: there is nobody to raise to.
    """

    def asked(context: int, token: int, after: Any) -> float:
        log10_prob, after[0] = answer(context, token)
        return log10_prob

    return _ASK(asked)


def kernel_digest() -> str:
    """SHA-256 over the library in use, so that ranks can see whether they run the same code."""
    (path,) = _folder().glob(f"*majel_{isa()}.so")
    return hashlib.sha256(path.read_bytes()).hexdigest()


_threads = 1


def set_threads(count: int) -> None:
    """Let kernels use ``count`` threads; no count changes a bit.

    Raises
    ------
    RecipeError
        If ``count`` is below 1.
    ArgumentError
        If it is no whole number.
    """
    global _threads
    count = arguments.whole(count, "threads")
    if count < 1:
        raise RecipeError(f"threads: {count} asked; needs at least 1")
    library().mj_set_threads(count)
    _threads = count


def compute_alone() -> None:
    """Let kernels that the calling thread starts use no other thread."""
    library().mj_set_alone(1)


def threads() -> int:
    """Number of threads that kernels use."""
    return _threads
