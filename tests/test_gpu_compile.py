"""The GPU kernels compile for every architecture, and their PTX keeps the canonical arithmetic.

Needs NVRTC, not a GPU. NVRTC 13 has dropped sm_70; with that one the oldest it has stands in.
"""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from majelpy.errors import BuildError
from majelpy.gpu import build, nvrtc

needs_nvrtc = pytest.mark.skipif(nvrtc.find() is None, reason="no NVRTC on this machine")

WANTED = (70, 80, 90, 100)


def architecture(wanted: int) -> int:
    """The wanted one, or the lowest that this NVRTC has where it is older than that."""
    return max(wanted, min(nvrtc.architectures()))


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "majelpy"


@needs_nvrtc
@pytest.mark.parametrize("wanted", WANTED)
def test_kernels_compile(wanted: int, own_cache: Path) -> None:
    path = build.cubin(architecture(wanted))
    code = path.read_bytes()
    assert code.startswith(b"\x7fELF")
    assert [name for name in build.kernel_names() if name.encode() not in code] == []
    assert [p.name for p in own_cache.iterdir()] == [path.name]


@cache
def functions(wanted: int) -> dict[str, str]:
    """PTX of each kernel."""
    text = build.ptx(architecture(wanted))
    parts = re.split(r"\.visible \.entry (\w+)", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


FUSED = {
    *("mj_fma_array_kernel", "mj_math_array_kernel", "mj_nesterov_array_kernel"),
    *("mj_uniform_array_kernel", "mj_log_softmax_rows_kernel", "mj_square_chunks_kernel"),
    *("mj_ctc_lattice_kernel", "mj_ctc_gradient_kernel"),
    *("mj_spectrogram_kernel", "mj_spectrogram_tables_kernel"),
    *("mj_gemm_128x128_kernel", "mj_gemm_32x64_kernel"),
    *("mj_rnn_forward_persistent_kernel", "mj_rnn_backward_persistent_kernel"),
}
"""Kernels whose bodies write mj_fma."""

FLOAT = re.compile(
    r"^\s*(?:@!?%p\d+ )?((?:add|sub|mul|fma|mad|div|sqrt|rcp|ex2|lg2|sin|cos)\S*f\d+)"
)
ALLOWED = {
    *("add.f32", "sub.f32", "mul.f32", "add.rn.f32", "sub.rn.f32", "mul.rn.f32"),
    *("fma.rn.f32", "div.rn.f32", "rcp.rn.f32", "sqrt.rn.f32"),
}
"""All rounded to nearest, denormals kept; rcp.rn is 1 / x, correctly rounded."""


@needs_nvrtc
@pytest.mark.parametrize("wanted", WANTED)
def test_ptx_keeps_the_arithmetic(wanted: int) -> None:
    found = functions(wanted)
    assert set(found) == set(build.kernel_names())
    for name, text in found.items():
        assert ".ftz" not in text and ".approx" not in text and ".sat" not in text, name
        assert not re.search(r"\.f64|\.f16|\.bf16|\.tf32", text), name
        used = {m.group(1) for line in text.splitlines() if (m := FLOAT.match(line))}
        assert used <= ALLOWED, f"{name}: {used - ALLOWED}"
        assert ("fma.rn.f32" in used) == (name in FUSED), name
        assert not re.search(r"\b(min|max)\S*\.f32", text), f"{name}: min or max drops NaN"


@needs_nvrtc
def test_the_lint_would_see_a_contraction() -> None:
    source = 'extern "C" __global__ void k(float *x) { x[0] = x[1] * x[2] + x[3]; }'
    here = architecture(80)
    kept = nvrtc.compile_source(source, build.folder(), here, ptx=True).decode()
    assert "fma" not in kept and "mul" in kept and ".ftz" not in kept


@needs_nvrtc
def test_the_key_covers_all_that_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build.key(90)
    assert build.key(80) != first == build.key(90)
    monkeypatch.setattr(nvrtc, "FLAGS", (*nvrtc.FLAGS, "--use_fast_math"))
    assert build.key(90) != first
    monkeypatch.undo()
    monkeypatch.setattr(nvrtc, "version", lambda: (1, 2))
    assert build.key(90) != first
    monkeypatch.undo()
    copied = tmp_path / "kernels"
    (copied / "gpu").mkdir(parents=True)
    for path in [*build.folder().glob("*.h"), *(build.folder() / "gpu").glob("*")]:
        (copied / path.relative_to(build.folder())).write_bytes(path.read_bytes())
    monkeypatch.setattr(build, "folder", lambda: copied)
    assert build.key(90) == first
    (copied / "mj_sum.h").write_text((copied / "mj_sum.h").read_text() + "\n")
    assert build.key(90) != first


@needs_nvrtc
def test_many_ranks_may_start_at_once(own_cache: Path) -> None:
    program = f"from majelpy.gpu import build; print(build.cubin({architecture(90)}))"
    started = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    paths = {process.communicate()[0].strip() for process in started}
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
    with pytest.raises(BuildError, match=r"^gpu: cannot keep .*set XDG_CACHE_HOME to a folder"):
        build.cubin(architecture(90))
    monkeypatch.setenv("MAJELPY_NVRTC", "/no/such/libnvrtc.so")
    with pytest.raises(BuildError, match=r"^nvrtc: cannot load /no/such/libnvrtc.so: "):
        nvrtc.version()
    monkeypatch.setattr(nvrtc, "find", lambda: None)
    with pytest.raises(BuildError, match=r"^nvrtc: no libnvrtc found; needs pip's nvidia-cuda-"):
        nvrtc.version()


def test_drivers_have_no_float_operator() -> None:
    for path in [*build.drivers(), build.folder() / "gpu" / "driver.h"]:
        text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", path.read_text(), flags=re.DOTALL)
        literals = set(re.findall(r"(?<![\w.])-?\d+\.\d*f?|\d+e-?\d+f?", text))
        assert literals <= {"0.0f", "-0.0f"}, f"{path.name}: {literals}"
        assert not re.search(r"\bdouble\b|__f\w+_r[nzud]\b|__expf|__logf|rsqrt|__shfl", text)
