"""Choice of the instruction set, prototypes, threads."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

from majelpy import native
from majelpy.errors import BuildError, RecipeError


def test_plain_c_is_always_there() -> None:
    names = native.available_isas()
    assert names and (names[-1] == "plain" or names == ["neon"])


def test_every_isa_can_be_chosen(each_isa: str) -> None:
    assert native.isa() == each_isa
    assert each_isa in Path(native.library()._name).name
    assert re.fullmatch("[0-9a-f]{64}", native.kernel_digest())


def test_builds_differ() -> None:
    folder = native._folder()
    contents = {next(folder.glob(f"*majel_{n}.so")).read_bytes() for n in native.available_isas()}
    assert len(contents) == len(native.available_isas())


def test_an_unknown_isa_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    native.isa.cache_clear()
    monkeypatch.setenv("MAJELPY_ISA", "sse9")
    with pytest.raises(RecipeError, match=r"^MAJELPY_ISA=sse9: this machine runs .*plain|neon"):
        native.isa()
    native.isa.cache_clear()


def test_a_missing_library_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import majelpy

    monkeypatch.setattr(majelpy, "__path__", [str(tmp_path)])
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"platlib": str(tmp_path)})
    with pytest.raises(BuildError, match=r"^native: no kernel library in .*; install majelpy with"):
        native._folder()


def test_prototypes_are_read_from_the_header() -> None:
    header = """/* void mj_comment(int64_t n); */
    void mj_one(int64_t n, const float *x, float scale, float *out);
    void mj_two(uint32_t *out);"""
    assert native.parameters_of(header) == {
        "mj_one": [("n", "int64_t"), ("x", "pointer"), ("scale", "float"), ("out", "pointer")],
        "mj_two": [("out", "pointer")],
    }


def test_the_library_was_built_from_this_header() -> None:
    here = ROOT / "kernels" / "entry_points.h"
    built = native.parameters_of((native._folder() / "entry_points.h").read_text())
    assert built == native.parameters_of(here.read_text()), "build the kernels again"


def test_threads_are_counted_and_bounded(threads: None) -> None:
    native.set_threads(3)
    assert native.threads() == 3
    with pytest.raises(RecipeError, match=r"^threads: 0 asked; needs at least 1$"):
        native.set_threads(0)
    assert native.threads() == 3


def test_a_program_may_end_with_threads_alive() -> None:
    program = "from majelpy import native; native.set_threads(4)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ)
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_flushed_denormals_are_refused() -> None:
    class Flushing:
        @staticmethod
        def mj_multiply_arrays(count: int, a: int, b: int, out: int) -> None:
            """Leaves +0, as a processor does that flushes denormals."""

    with pytest.raises(BuildError, match="denormals are flushed to zero in this process"):
        native._check_denormals(Flushing())
    native._check_denormals(native.library())
