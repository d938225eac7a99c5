"""Right: kernels are declared once, call no libm, use no other arithmetic, keep their flags."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from paths import ROOT

from majelpy import native

PACKAGE, KERNELS = ROOT / "majelpy", ROOT / "kernels"

HEADER = (KERNELS / "entry_points.h").read_text()
ENTRY_POINTS = sorted(native._prototypes(HEADER))
SOURCES = sorted(p for p in KERNELS.rglob("*.*") if p.suffix in (".h", ".cpp", ".cu"))


def code(path: Path) -> str:
    """Return a source without comments and texts."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", path.read_text(), flags=re.DOTALL)
    return re.sub(r'"[^"\n]*"', '""', text)


def test_the_header_has_every_prototype() -> None:
    assert len(ENTRY_POINTS) >= 30
    assert len(ENTRY_POINTS) == len(re.findall(r"\bmj_\w+\(", code(KERNELS / "entry_points.h")))


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_kernels_are_defined_once_and_called(name: str) -> None:
    definitions = [
        path.name
        for path in KERNELS.glob("cpu/*.cpp")
        for _ in re.findall(rf"^void {name}\(", code(path), flags=re.MULTILINE)
    ]
    assert len(definitions) == 1
    callers = [
        path.name
        for path in [
            *(PACKAGE / "ops").glob("*.py"),
            PACKAGE / "array" / "kernels.py",
            PACKAGE / "native.py",
        ]
        if re.search(rf"\b{name}\b", path.read_text())
    ]
    assert callers, f"{name} is never called"


def test_no_entry_point_is_missing_from_the_header() -> None:
    for path in KERNELS.glob("cpu/*.cpp"):
        for name in re.findall(r"^void (mj_\w+)\(", code(path), flags=re.MULTILINE):
            assert name in ENTRY_POINTS


_LIBM = """
exp exp2 expm1 log log2 log10 log1p pow sqrt cbrt hypot sin cos tan asin acos atan atan2 sinh cosh
tanh asinh acosh atanh erf erfc lgamma tgamma ceil floor trunc round rint nearbyint fma fmod
remainder ldexp scalbn frexp modf logb
"""
LIBM = _LIBM.split()


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_sources_call_no_libm(path: Path) -> None:
    text = code(path)
    assert not re.search(
        r"#\s*include\s*<(math\.h|cmath|complex|numeric_limits|cfenv|fenv\.h)>", text
    )
    text = re.sub(r"\)\s*:\s*[^{;?]*\{", ") {", text)  # members that a constructor starts
    calls = re.findall(rf"(?<![\w.>])(?:std::)?(?:{'|'.join(LIBM)})[fl]?\s*\(", text)
    assert not calls
    builtins = set(re.findall(r"__builtin_(\w+)", text)) - {
        "convertvector",
        "ia32_pause",
        "prefetch",
    }
    allowed = {"mj_base.h": {"fmaf", "sqrtf"}, "mj_double.h": {"sqrt"}}
    assert builtins <= allowed.get(path.name, set())


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_sources_use_no_other_arithmetic(path: Path) -> None:
    text = code(path)
    assert "#pragma STDC" not in text and "__attribute__((optimize" not in text
    for word in (
        "fast_math",
        "fast-math",
        "std::accumulate",
        "std::reduce",
        "#pragma omp",
        "rsqrt",
        "rcp",
    ):
        assert not re.search(rf"(?<![a-z]){re.escape(word)}", text), word
    if path.name not in ("mj_base.h", "mj_double.h"):
        assert not re.search(r"\bdouble\b|\blong double\b|_mm\w*_(fm|fnm|hadd|dp|reduce)", text)


@pytest.mark.parametrize("isa", native.available_isas())
def test_builds_need_no_libm(isa: str) -> None:
    (path,) = native._folder().glob(f"*majel_{isa}.so")
    names = set(re.findall(rb"\x00([a-z0-9_]+)(?=\x00)", path.read_bytes()))
    assert not names & {name.encode() + end for name in LIBM for end in (b"f", b"f_finite")}
    assert b"libm.so.6" not in path.read_bytes() or not names & {n.encode() for n in LIBM}


def test_flags_keep_the_bits() -> None:
    text = re.sub(r"#[^\n]*", "", (ROOT / "CMakeLists.txt").read_text())
    for flag in ("-ffp-contract=off", "-fno-fast-math"):
        assert flag in text
    for flag in ("-ffast-math", "-Ofast", "-march=native", "-funsafe", "-fassociative", "-mrecip"):
        assert flag not in text
    for flag in ("-ffinite-math", "-freciprocal", "-mdaz", "-ffp-contract=fast", "-fopenmp"):
        assert flag not in text
