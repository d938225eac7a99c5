"""The house rules that a parser can check: imports, doors, kernels, flags."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT

from majelpy import native
from majelpy.comm.tags import Tag

PACKAGE = ROOT / "majelpy"
KERNELS = ROOT / "kernels"

LAYERS = [
    {"majelpy.version", "majelpy.errors", "majelpy.wording"},
    {
        *("majelpy.namespace", "majelpy.tree", "majelpy.parsing", "majelpy.files", "majelpy.sink"),
        *("majelpy.arguments", "majelpy.telling"),
    },
    {"majelpy.settings", "majelpy.hdf5", "majelpy.mesh"},
    {"majelpy.native", "majelpy.memory"},
    {"majelpy.gpu"},
    {"majelpy.array"},
    {"majelpy.standard"},
    {"majelpy.random"},
    {"majelpy.ops"},
    {"majelpy.comm"},
    {"majelpy.distributed"},
    {"majelpy.speech"},
    {"majelpy.nn"},
    {"majelpy.decoding", "majelpy.corpora", "majelpy.optimizers"},
    {"majelpy.recipes"},
    {"majelpy.runs", "majelpy.data"},
    {"majelpy.train"},
    {"majelpy.plan"},
    {"majelpy.cli"},
    {"majelpy.__main__"},
    {"majelpy"},
]
"""Imports go downwards or stay within a package; of two entries the longer name counts. The face of
the package stands on top: nothing imports it."""

DOORS = {
    "mpi4py": {"majelpy.comm.world"},
    "h5py": {
        *("majelpy.hdf5", "majelpy.speech.corpus_writer", "majelpy.runs.checkpoint"),
        *("majelpy.distributed.file", "majelpy.cli.info"),
    },
    "tomllib": {"majelpy.parsing"},
    "soundfile": {"majelpy.speech.sound_file", "majelpy.speech.synth", "majelpy.cli.info"},
    "soxr": {"majelpy.speech.audio", "majelpy.speech.synth"},
    "espeakng_loader": {"majelpy.speech.espeak"},
    "kenlm": {"majelpy.decoding.kenlm"},
    "rapidfuzz": {"majelpy.decoding.metrics"},
    "ctypes": {
        *("majelpy.native", "majelpy.speech.espeak", "majelpy.array.dlpack"),
        *("majelpy.gpu.nvrtc", "majelpy.gpu.launcher", "majelpy.comm.world"),
    },
    "cupy": {"majelpy.memory.system", "majelpy.gpu.device"},
    "matplotlib": {"majelpy.plan.table"},
    "torch": set[str](),
    "scipy": set[str](),
    "pickle": set[str](),
}
"""Who may import what; `hdf5` is h5py's door for reading, `cli.info` tells its version."""


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text("utf-8"))
    return found


MODULES = modules()


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield every module that is imported anywhere in a file, in functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            base = node.module or ""
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield whole if whole in MODULES else base


def without_types(tree: ast.Module) -> ast.Module:
    """Return a file without what stands under ``if TYPE_CHECKING``."""
    kept = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    return ast.Module(kept, [])


def entry(name: str) -> str:
    """Return the entry of `LAYERS` that a module belongs to."""
    known = {e for layer in LAYERS for e in layer}
    while name not in known:
        name = name.rpartition(".")[0]
    return name


def level(name: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if entry(name) in layer)


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_downwards(name: str) -> None:
    for other in imported(MODULES[name]):
        if other.split(".")[0] == "majelpy" and entry(other) != entry(name):
            assert level(other) < level(name), f"{name} imports {other}"


def test_every_module_has_a_floor() -> None:
    assert [name for name in MODULES if entry(name) == "majelpy"] == ["majelpy"]


def test_nothing_waits_for_itself() -> None:
    """Modules import one another in no circle, lazily neither; what only types need is apart."""
    needs = {
        name: set(imported(without_types(tree))) & {*MODULES} for name, tree in MODULES.items()
    }
    while free := [name for name, others in needs.items() if not others & {*needs} - {name}]:
        for name in free:
            del needs[name]
    assert not needs


@pytest.mark.parametrize("door", DOORS)
def test_foreign_libraries_have_one_door(door: str) -> None:
    found = {n for n, tree in MODULES.items() if door in {i.split(".")[0] for i in imported(tree)}}
    assert found <= DOORS[door]


def test_the_parser_would_see_a_wrong_import() -> None:
    tree = ast.parse("def f():\n    from majelpy.train import loop\n    import h5py.h5f\n")
    assert list(imported(tree)) == ["majelpy.train.loop", "h5py.h5f"]
    assert level("majelpy.train.loop") > level("majelpy.ops.gemm") > level("majelpy.tree")


def loaded_after(program: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_importing_majelpy_starts_nothing() -> None:
    assert not {"numpy", "ctypes", "mpi4py", "h5py", "cupy"} & loaded_after("import majelpy")


def test_importing_the_model_starts_neither_mpi_nor_cuda_nor_kernels() -> None:
    loaded = loaded_after(
        "import majelpy.nn.model, majelpy.tree, majelpy.comm.world; "
        "from majelpy import native; assert not native.library.cache_info().currsize"
    )
    assert not {"mpi4py", "h5py", "cupy", "soundfile"} & loaded


def test_importing_the_command_line_is_light() -> None:
    assert not {"mpi4py", "h5py", "numpy", "cupy"} & loaded_after("import majelpy.cli")


# --- tags of messages -----------------------------------------------------------------------

TAGGED = {"send": 2, "receive": 2, "Isend": 2, "Irecv": 2, "Message": 2, "Tag": 0}
"""What takes a tag, and at which place."""


def tag_literals(tree: ast.Module) -> Iterator[ast.expr]:
    """Yield the expressions of a file that make a tag of a number."""

    def numbers(value: ast.expr) -> bool:
        return any(isinstance(n, ast.Constant) and type(n.value) is int for n in ast.walk(value))

    for node in ast.walk(tree):
        found: list[ast.expr] = []
        if isinstance(node, ast.Call):
            name = (
                node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
            )
            if name in TAGGED:
                found = node.args[TAGGED[name] :]
            found = [*found, *(k.value for k in node.keywords if k.arg == "tag")]
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {n.id.lower() for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
            if any(re.search(r"(^|_)tags?(_|$)", name) for name in names):
                found = [node.value]
        yield from (value for value in found if numbers(value))


@pytest.mark.parametrize("name", sorted({*MODULES} - {"majelpy.comm.tags"}))
def test_tags_are_of_the_one_list(name: str) -> None:
    assert not [ast.unparse(value) for value in tag_literals(MODULES[name])]


def test_the_parser_would_see_a_tag_of_ones_own() -> None:
    for wrong in ("_TAG = 7", "_NODE_TAG, _BOX_TAG = 3, 4", "TAG: int = 3", "w.send(x, 1, 7)",
                  "w.receive(x, rank, 2 * lane + 1)", "m(x, tag=0)", "Tag(3)"):  # fmt: skip
        assert list(tag_literals(ast.parse(wrong))), wrong
    for right in ("w.send(x, 1, Tag.NODES)", "node_tag, result_tag = LANE_TAGS[lane]", "stage = 3"):
        assert not list(tag_literals(ast.parse(right))), right


def test_each_tag_has_one_user() -> None:
    assert len({*Tag}) == len(Tag.__members__)  # no alias
    assert all(0 <= tag <= 32767 for tag in Tag)  # what MPI promises at least
    for tag in Tag:
        users = [name for name, tree in MODULES.items() if f"Tag.{tag.name}" in ast.unparse(tree)]
        assert len(users) == 1, (tag, users)


# --- kernels --------------------------------------------------------------------------------

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
