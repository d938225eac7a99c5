"""The GPU kernels compile for every architecture, and their PTX keeps the canonical arithmetic.

Needs NVRTC, not a GPU. NVRTC 13 has dropped sm_70; with that one the oldest it has stands in.
"""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import needs
import pytest
from extras import extra
from mpi_launch import PATIENCE

from majelpy.errors import BuildError
from majelpy.gpu import build, gemm, launches, nvrtc, rnn, standard
from majelpy.memory.numbering import BINARY, UNARY


@pytest.fixture
def found_nvrtc() -> None:
    if nvrtc.find() is None:
        needs.lacking("nvrtc", "no NVRTC on this machine (pip install '.[dev]')")


needs_nvrtc = pytest.mark.usefixtures("found_nvrtc")

WANTED = (90, *extra(70, 80, 100))


def architecture(wanted: int) -> int:
    """The wanted one, or the lowest that this NVRTC has where it is older than that."""
    return max(wanted, min(nvrtc.architectures()))


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "majelpy"


@needs_nvrtc
@pytest.mark.parametrize("program", build.PROGRAMS)
@pytest.mark.parametrize("wanted", WANTED)
def test_kernels_compile(wanted: int, program: str, own_cache: Path) -> None:
    path = build.code(program, architecture(wanted))
    code = path.read_bytes()
    assert code.startswith(b"\x7fELF")
    for name, of in build.programs().items():
        assert (f".text.{name}\0".encode() in code) == (of == program), name
    assert [p.name for p in own_cache.iterdir()] == [path.name]


@cache
def functions(program: str, wanted: int) -> dict[str, str]:
    """PTX of each kernel."""
    text = build.ptx(program, architecture(wanted))
    parts = re.split(r"\.visible \.entry (\w+)", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


FUSED = {
    *("mj_fma_array_kernel", "mj_math_array_kernel", "mj_nesterov_array_kernel"),
    *("mj_moment_weights_kernel", "mj_adam_array_kernel", "mj_adagrad_array_kernel"),
    *("mj_noise_array_kernel", "mj_uniform_array_kernel", "mj_random_normal_kernel"),
    *("mj_log_softmax_rows_kernel", "mj_square_chunks_kernel"),
    *("mj_ctc_lattice_kernel", "mj_ctc_gradient_kernel"),
    *("mj_spectrogram_kernel", "mj_spectrogram_tables_kernel"),
    *(f"mj_gemm_{tile.name}_kernel" for tile in gemm.TILES),
    *(f"mj_gemm_{tile.name}_chunks_kernel" for tile in gemm.TILES),
    *(f"mj_{way.name}_persistent_kernel" for way in rnn.FORWARD + rnn.BACKWARD),
    *(f"mj_{way.name}_step_kernel" for way in rnn.FORWARD + rnn.BACKWARD if way.gates > 1),
    *("mj_reduce_chunks_kernel", "mj_reduce_lines_kernel"),
    *("mj_item_dot_chunks_kernel", "mj_item_square_chunks_kernel", "mj_item_norm_chunks_kernel"),
    *("mj_norm_rows_kernel", "mj_norm_backward_rows_kernel", "mj_running_array_kernel"),
    *("mj_layer_norm_sums_kernel", "mj_layer_norm_map_kernel", "mj_layer_norm_means_kernel"),
    *("mj_layer_norm_gradient_kernel", "mj_conv_weight_chunks_kernel"),
    "mj_conv_rows_kernel",
    *("mj_row_conv_rows_kernel", "mj_row_conv_weight_chunks_kernel"),
}
"""Kernels whose bodies write mj_fma; float64 has none."""

CLAMPED = {"mj_unary_atan_kernel"}
"""Kernels where the compiler may write max(|x|, 1): a NaN has gone another way before."""

FLOAT = re.compile(
    r"^\s*(?:@!?%p\d+ )?"
    r"((?:add|sub|mul|fma|mad|div|sqrt|rcp|ex2|lg2|sin|cos|min|max|cvt)\S*f\d+\S*)"
)
ALLOWED = re.compile(
    r"(add|sub|mul|div|sqrt|rcp)\.rn\.f(32|64)"
    r"|cvt\.(f64\.f32|rn\.f32\.f64|rn\.f(32|64)\.[su]\d+|rzi\.[su]\d+\.f(32|64))"
)
"""Rounded to nearest, denormals kept; integers towards 0; rcp.rn is 1 / x, correctly rounded. An
operation without .rn might be contracted by the assembler."""


def floating(text: str) -> set[str]:
    """Return the floating-point operations of a PTX text, without comparisons and moves."""
    return {m.group(1) for line in text.splitlines() if (m := FLOAT.match(line))}


@needs_nvrtc
@pytest.mark.parametrize("program", build.PROGRAMS)
@pytest.mark.parametrize("wanted", WANTED)
def test_ptx_keeps_the_arithmetic(wanted: int, program: str) -> None:
    found = functions(program, wanted)
    assert set(found) == set(build.kernel_names(program))
    for name, text in found.items():
        assert ".ftz" not in text and ".approx" not in text and ".sat" not in text, name
        assert not re.search(r"\.f16|\.bf16|\.tf32|\bfma\S*\.f64", text), name
        assert program == "array" or ".f64" not in text, name
        used = {op for op in floating(text) if not ALLOWED.fullmatch(op)}
        fused = {"fma.rn.f32"} if name in FUSED else set()
        assert used - ({"max.f64"} if name in CLAMPED else set()) == fused, name


@needs_nvrtc
def test_maps_load_and_store_four_numbers_at_once() -> None:
    found = functions("training", 90) | functions("array", 90)
    named = {f"{entry}_kernel" for entry in launches.QUADS}
    for kind, names in (("unary", UNARY), ("binary", BINARY)):
        named |= {f"mj_{kind}_{name}_kernel" for name in standard.QUADS & {*names}}
    assert len(named) == len(launches.QUADS) + len(standard.QUADS)
    for name in named:
        for way in ("ld", "st"):
            assert re.search(rf"{way}\.global\.v4\.[fu]32", found[name]), name


@needs_nvrtc
def test_the_lint_would_see_a_contraction(monkeypatch: pytest.MonkeyPatch) -> None:
    here = architecture(80)
    for kind, bits in (("float", "f32"), ("double", "f64")):
        source = f'extern "C" __global__ void k({kind} *x) {{ x[0] = x[1] * x[2] + x[3]; }}'
        kept = nvrtc.compile_source(source, build.folder(), here, ptx=True).decode()
        assert floating(kept) == {f"mul.rn.{bits}", f"add.rn.{bits}"} and ".ftz" not in kept
        monkeypatch.setattr(nvrtc, "FLAGS", ("--std=c++17", "--use_fast_math"))
        fused = nvrtc.compile_source(source, build.folder(), here, ptx=True).decode()
        assert any("fma" in op for op in floating(fused))
        monkeypatch.undo()


@needs_nvrtc
def test_the_key_covers_all_that_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build.key("training", 90)
    assert build.key("training", 80) != first == build.key("training", 90)
    assert build.key("array", 90) != first
    monkeypatch.setattr(nvrtc, "FLAGS", (*nvrtc.FLAGS, "--use_fast_math"))
    assert build.key("training", 90) != first
    monkeypatch.undo()
    monkeypatch.setattr(nvrtc, "version", lambda: (1, 2))
    assert build.key("training", 90) != first
    monkeypatch.undo()
    copied = tmp_path / "kernels"
    (copied / "gpu").mkdir(parents=True)
    for path in [*build.folder().glob("*.h"), *(build.folder() / "gpu").glob("*")]:
        (copied / path.relative_to(build.folder())).write_bytes(path.read_bytes())
    monkeypatch.setattr(build, "folder", lambda: copied)
    both = [build.key(program, 90) for program in build.PROGRAMS]
    assert both[0] == first
    (copied / "gpu" / "standard.cu").write_text("\n")
    assert build.key("training", 90) == first and build.key("array", 90) != both[1]
    (copied / "mj_sum.h").write_text((copied / "mj_sum.h").read_text() + "\n")
    assert build.key("training", 90) != first


SMALL = 'extern "C" __global__ void k(float *x) { x[0] = 1; }'

RANK = f"""
import sys, time
from pathlib import Path
from majelpy.gpu import build, nvrtc

compiled, meeting = nvrtc.compile_source, Path(sys.argv[1])

def together(*arguments, **options):
    code = compiled(*arguments, **options)
    (meeting / sys.argv[2]).touch()
    while len(list(meeting.iterdir())) < 3:
        time.sleep(0.005)
    return code

build.source, nvrtc.compile_source = lambda program: {SMALL!r}, together
print(build.code("training", int(sys.argv[3])))
"""


@needs_nvrtc
def test_many_ranks_may_start_at_once(own_cache: Path, tmp_path: Path) -> None:
    """Three that all compile before one of them writes."""
    (tmp_path / "meeting").mkdir()
    words = [sys.executable, "-c", RANK, str(tmp_path / "meeting")]
    started = [
        subprocess.Popen(
            [*words, str(rank), str(architecture(90))], stdout=subprocess.PIPE, text=True
        )
        for rank in range(3)
    ]
    paths = {process.communicate(timeout=PATIENCE)[0].strip() for process in started}
    assert len(paths) == 1 and all(process.returncode == 0 for process in started)
    assert [str(p) for p in own_cache.iterdir()] == list(paths)


@needs_nvrtc
def test_errors_of_the_compiler(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BuildError, match=r"^nvrtc: sm_12 asked; NVRTC [\d.]+ has sm_\d+, sm_"):
        nvrtc.compile_source("", build.folder(), 12)
    with pytest.raises(BuildError, match=r"^nvrtc: compile: NVRTC_ERROR_COMPILATION: .*error"):
        nvrtc.compile_source("no such thing", build.folder(), architecture(90))
    own_cache.parent.joinpath("file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(own_cache.parent / "file"))
    monkeypatch.setattr(build, "source", lambda program: SMALL)
    with pytest.raises(BuildError, match=r"^gpu: cannot keep .*set XDG_CACHE_HOME to a folder"):
        build.code("training", architecture(90))
    monkeypatch.setenv("MAJELPY_NVRTC", str(own_cache.parent / "file"))
    with pytest.raises(BuildError, match=r"^nvrtc: cannot load .*/file: "):
        nvrtc.version()
    monkeypatch.setattr(nvrtc, "find", lambda: None)
    with pytest.raises(BuildError, match=r"^nvrtc: no libnvrtc found; needs pip's nvidia-cuda-"):
        nvrtc.version()


def test_a_variable_that_names_no_compiler_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAJELPY_NVRTC", "/no/such/libnvrtc.so")
    with pytest.raises(BuildError, match=r"^nvrtc: MAJELPY_NVRTC=/no/such/libnvrtc.so: no such"):
        nvrtc.find()


def test_drivers_have_no_float_operator() -> None:
    for path in (build.folder() / "gpu").iterdir():
        text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", path.read_text(), flags=re.DOTALL)
        literals = set(re.findall(r"(?<![\w.])-?\d+\.\d*f?|\d+e-?\d+f?", text))
        assert literals <= {"0.0f", "-0.0f"}, f"{path.name}: {literals}"
        assert not re.search(r"\bdouble\b|__f\w+_r[nzud]\b|__expf|__logf|rsqrt|__shfl", text)
