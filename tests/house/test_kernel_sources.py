"""Right: kernels are declared once, call no libm, use no other arithmetic, keep their flags."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from paths import ROOT

from majelpy import native
from majelpy.gpu import launches

PACKAGE, KERNELS = ROOT / "majelpy", ROOT / "kernels"

HEADER = (KERNELS / "entry_points.h").read_text()
ENTRY_POINTS = sorted(native.parameters_of(HEADER))
SOURCES = sorted(p for p in KERNELS.rglob("*.*") if p.suffix in (".h", ".cpp", ".cu"))


def code(path: Path) -> str:
    """Return a source without comments and texts."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", path.read_text(), flags=re.DOTALL)
    return re.sub(r'"[^"\n]*"', '""', text)


def test_the_header_has_every_prototype() -> None:
    assert len(ENTRY_POINTS) >= 30
    assert len(ENTRY_POINTS) == len(re.findall(r"\bmj_\w+\(", code(KERNELS / "entry_points.h")))


FAMILIES = dict(
    re.findall(r"^/\* ---- (\w+) -+ \*/\n(.*?)(?=^/\* ----|\Z)", HEADER, re.DOTALL | re.MULTILINE)
)
"""Of each family of kernels, its part of the header."""

ON_CPU_ALONE = {"beam", "samples"}

ONLY_TESTED = {"mj_math_array", "mj_fma_array"}
"""Bodies that others call within kernels; tests call them alone (tests/helpers/bodies.py)."""


def rooms(family: str) -> dict[str, list[Path]]:
    """Return the files of a family, by room; sums and statistics of norms go by items' rows too."""
    callers = [*(PACKAGE / "ops").glob("*.py")]
    if family == "standard":
        callers = [PACKAGE / "array" / "kernels.py"]
    return {
        "cpu": [*(KERNELS / "cpu").glob(f"{family}*.cpp")],
        "gpu": [*(KERNELS / "gpu").glob(f"{family}*.cu")],
        "callers": callers,
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_one_name_in_its_rooms(family: str) -> None:
    """Bodies, drivers, launches and callers of a family bear its name (entry_points.h)."""
    files = rooms(family)
    for name in native.parameters_of(FAMILIES[family]):
        at = rf"^void {name}\("
        defined = [p for p in KERNELS.glob("cpu/*.cpp") if re.search(at, code(p), re.MULTILINE)]
        assert len(defined) == 1 and defined[0] in files["cpu"], name
        called = [p for p in files["callers"] if re.search(rf"\b{name}\b", p.read_text())]
        assert called or name in ONLY_TESTED, f"{name} is never called"
        if name in launches.LAUNCHES:
            home = launches.LAUNCHES[name].__module__.rpartition(".")[2]
            assert home == ("launches" if name in launches.PLAIN else family), name
        if name in launches.PLAIN:
            kernel = rf"\b{name}_kernel\b"
            assert [p for p in files["gpu"] if re.search(kernel, p.read_text())], name
    assert bool(files["gpu"]) != (family in ON_CPU_ALONE)
    home = PACKAGE / ("array/kernels.py" if family == "standard" else f"ops/{family}.py")
    assert home.exists() or family == "standard"


def test_every_entry_point_has_a_family() -> None:
    known = {name for part in FAMILIES.values() for name in native.parameters_of(part)}
    assert {*ENTRY_POINTS} - known == {"mj_set_threads", "mj_set_alone"}
    assert len(FAMILIES) == 13


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
