"""Right: what scripts/gpu_check does around its stages, and the stages' own judgement."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import gpu_cases
import gpu_stages
import numpy as np
import pytest
from gpu_place import EmulatedDevice, emulated_gpu
from paths import ROOT

from majelpy.gpu import gemm

SCRIPT = ROOT / "scripts" / "gpu_check"


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script, which writes its results to the test's folder and has a GPU by name."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec = spec_from_loader("gpu_check", SourceFileLoader("gpu_check", str(SCRIPT)))
    assert spec is not None and spec.loader is not None
    loaded = module_from_spec(spec)
    spec.loader.exec_module(loaded)
    monkeypatch.setattr(loaded, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(loaded, "gpu_name", lambda: "NVIDIA H200")
    return loaded


CHILD = """
import json, sys, time
name, result = sys.argv[2], sys.argv[4]
if name == "hangs": time.sleep(100)
if name == "dies": sys.exit(7)
open(result, "w").write(json.dumps({"ok": name == "good", "found": 3}))
"""


def test_a_stage_that_hangs_or_dies_loses_nothing_but_itself(
    check: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def results() -> dict[str, Any]:
        found: dict[str, Any] = json.loads((tmp_path / "results" / "nvidia-h200.json").read_text())
        return found

    (tmp_path / "stage.py").write_text(CHILD)
    monkeypatch.setattr(check, "__file__", str(tmp_path / "stage.py"))
    stages = {"good": (None, 60.0), "dies": (None, 60.0), "hangs": (None, 0.5), "bad": (None, 60.0)}
    monkeypatch.setattr(gpu_stages, "STAGES", stages)
    monkeypatch.setattr(sys, "argv", ["gpu_check"])
    assert check.main() == 1
    found = results()
    assert found["gpu"] == "NVIDIA H200"
    assert found["good"]["ok"] and found["good"]["found"] == 3
    assert found["dies"]["ended"] == 7 and not found["dies"]["ok"]
    assert found["hangs"]["ended"].startswith("killed after ") and not found["hangs"]["ok"]
    assert not found["bad"]["ok"] and found["bad"]["found"] == 3
    monkeypatch.setattr(sys, "argv", ["gpu_check", "good"])
    assert check.main() == 0
    assert results()["dies"] == found["dies"]  # of the run before


def test_an_unknown_stage_is_refused() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "nothing"], capture_output=True, text=True)
    assert done.returncode == 2
    (*_, line) = done.stderr.splitlines()
    assert line.endswith("there is no stage nothing; there are " + ", ".join(gpu_stages.STAGES))


def test_digests_are_judged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    few = [c for c in gpu_cases.all_cases() if c.entry in ("mj_add_arrays", "mj_cast")][:6]
    monkeypatch.setattr(gpu_cases, "all_cases", lambda: few)
    with emulated_gpu():
        assert gpu_stages.digests() == {"ok": True, "wrong": []}
        golden = json.loads(gpu_stages.GOLDEN.read_text()) | {few[0].name: "0"}
        (tmp_path / "golden.json").write_text(json.dumps(golden))
        monkeypatch.setattr(gpu_stages, "GOLDEN", tmp_path / "golden.json")
        found = gpu_stages.digests()
    assert not found["ok"] and len(found["wrong"]) == len(gemm.WAYS)


def test_uploads_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    from majelpy.gpu.launches import LAUNCHES

    monkeypatch.setitem(LAUNCHES, "mj_gemm", lambda *_: None)
    with emulated_gpu(1 << 28):
        assert gpu_stages.uploads()["ok"]
        # A copy that reads its source when it has been overwritten.
        late = lambda self, host, pointer: self.copy(pointer, np.full_like(host, -1))  # noqa: E731
        monkeypatch.setattr(EmulatedDevice, "copy_in", late)
        assert not gpu_stages.uploads()["ok"]
