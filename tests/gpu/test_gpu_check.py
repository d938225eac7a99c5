"""Right: what scripts/gpu_check does around its stages, and the stages' own judgement."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import device_training
import gpu_cases
import gpu_machine
import gpu_ranks
import gpu_stages
import gpu_stress
import mpi_launch
import numpy as np
import pytest
from gpu_place import EmulatedDevice, emulated_gpu
from mpi_launch import mpirun
from paths import PROGRAMS, ROOT

from majelpy.gpu import build, device, gemm, rnn
from majelpy.gpu.launches import LAUNCHES
from majelpy.memory.numbering import UNARY
from majelpy.memory.pool import pool, set_pool

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
    lying = [(few[0], {"behind": (1,)})]
    monkeypatch.setattr(gpu_cases, "all_cases", lambda: few)
    monkeypatch.setattr(gpu_cases, "elsewhere", lambda: lying)
    with emulated_gpu():
        assert gpu_stages.digests() == {"ok": True, "wrong": []}
        golden = json.loads(gpu_stages.GOLDEN.read_text()) | {few[0].name: "0"}
        (tmp_path / "golden.json").write_text(json.dumps(golden))
        monkeypatch.setattr(gpu_stages, "GOLDEN", tmp_path / "golden.json")
        found = gpu_stages.digests()
    assert not found["ok"] and len(found["wrong"]) == 1 + len(gemm.WAYS)  # 1: elsewhere


def test_uploads_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LAUNCHES, "mj_gemm", lambda *_: None)
    with emulated_gpu(1 << 28):
        assert gpu_stress.uploads()["ok"]
        # A copy that reads its source when it has been overwritten.
        late = lambda self, host, pointer: self.copy(pointer, np.full_like(host, -1))  # noqa: E731
        monkeypatch.setattr(EmulatedDevice, "copy_in", late)
        assert not gpu_stress.uploads()["ok"]


def test_trainings_in_the_fallback_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_cases, "all_cases", lambda: [*gpu_cases.sums()][:2])
    monkeypatch.setattr(gpu_cases, "elsewhere", list)
    monkeypatch.setattr(device_training, "RECIPES", device_training.TINY)
    before = pool()
    try:
        with emulated_gpu():
            assert gpu_stages.fallback() == {"ok": True, "wrong": []}
            bits = device_training.bits
            fewer = lambda c, at, steps, *rest: bits(c, at, steps - (at == "cpu"), *rest)  # noqa: E731
            monkeypatch.setattr(device_training, "bits", fewer)
            assert gpu_stages.fallback() == {"ok": False, "wrong": [*device_training.TINY]}
    finally:
        set_pool(before)


def test_what_is_written_outside_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(c for c in gpu_cases.all_cases() if c.name == "add 300")
    add = LAUNCHES["mj_add_arrays"]
    monkeypatch.setattr(gpu_cases, "all_cases", list)
    monkeypatch.setattr(gpu_cases, "elsewhere", lambda: [(case, {"behind": ()})])
    more = lambda on, count, *rest: add(on, count + 1, *rest)  # noqa: E731
    monkeypatch.setitem(LAUNCHES, "mj_add_arrays", more)
    with emulated_gpu():
        (said,) = gpu_stages.digests()["wrong"]
    assert said.startswith("add 300 ") and said.endswith("written outside of an array")


def test_functions_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    # Denormals, the largest numbers, infinities and NaN, of either sign.
    starts = [s + b for s in (0, 0x80000000) for b in (0, 0x3F7FFF00, 0x7F7FFF00)]
    monkeypatch.setattr(gpu_stages, "PART", 512)
    monkeypatch.setattr(gpu_stages, "STARTS", starts)
    unary = LAUNCHES["mj_unary"]
    negative = lambda on, function, *rest: unary(on, UNARY.index("negative"), *rest)  # noqa: E731
    with emulated_gpu():
        found = gpu_stages.functions()
        assert found["ok"] and found["floats"] == 512 * 6
        assert [*found["wrong"]] == ["exp", "log", "sigmoid", "tanh", "reciprocal", "sqrt"]
        monkeypatch.setitem(LAUNCHES, "mj_unary", negative)
        found = gpu_stages.functions()
    assert not found["ok"]
    assert [name for name, count in found["wrong"].items() if count] == ["reciprocal", "sqrt"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A barrier stage that the emulation runs in a moment."""
    for name, value in (
        *(("LAUNCHES", 5), ("BATCHES", 2), ("HIDDEN", 20), ("UTTERANCES", 3), ("LONGEST", 4)),
        ("COPIED", 64),
    ):
        monkeypatch.setattr(gpu_stress, name, value)


@pytest.mark.usefixtures("small")
def test_launches_that_wait_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    right = {"launches": 0, "copies": 0}
    with emulated_gpu():
        found = gpu_stress.barrier()
        assert found["ok"] and found["wrong"] == right and found["launches"] == 5
        with monkeypatch.context() as patched:
            patched.setattr(rnn, "persistent_shape", lambda *_: None)
            found = gpu_stress.barrier()
            assert not found["ok"] and found["wrong"] == right  # no block has waited
        with monkeypatch.context() as patched:
            patched.setattr(EmulatedDevice, "copy_in_beside", lambda *_: None)
            found = gpu_stress.barrier()
            assert not found["ok"] and found["wrong"] == {"launches": 0, "copies": 4}
        first, launch = [True], gpu_stress.Batch.launch

        def once(batch: Any, on: Any) -> None:
            if first:
                launch(batch, on)
            first.clear()

        monkeypatch.setattr(gpu_stress.Batch, "launch", once)
        found = gpu_stress.barrier()
    assert not found["ok"] and found["wrong"] == {"launches": 4, "copies": 0}


FAILING = "import time; print(time.time() - {ago}, flush=True); {then}"


@pytest.mark.parametrize(
    ("ago", "then", "right"),
    [
        (0, "raise SystemExit('majelpy.errors.DeviceError: illegal')", True),
        (0, "raise SystemExit('another error')", False),
        (60, "raise SystemExit('majelpy.errors.DeviceError: illegal')", False),
        (0, "import sys; print('DeviceError', file=sys.stderr)", False),
    ],
    ids=["our error", "another", "too late", "no failure"],
)
def test_an_illegal_address_is_judged(
    ago: int, then: str, right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_stress, "FAULT", FAILING.format(ago=ago, then=then))
    assert gpu_stress.failure()["ok"] is right


def test_a_child_that_hangs_ends() -> None:
    words = [sys.executable, "-c", "import time; time.sleep(100)"]
    assert gpu_machine.child(words, 0.5) == (None, "", "not ended within 0 s")


class Driver:
    """CUDA's, on a machine where these GPUs have a context."""

    def __init__(self, *active: int):
        self.active = active

    def cuDeviceGet(self, handle: Any, number: int) -> int:
        handle._obj.value = number
        return 0 if number < 2 else 101

    def cuDevicePrimaryCtxGetState(self, handle: Any, flags: Any, active: Any) -> int:
        active._obj.value = handle.value in self.active
        return 0


def test_a_context_on_the_first_gpu_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []
    monkeypatch.setattr(device_training, "bits", lambda corpus, place, *_: trained.append(place))
    with emulated_gpu(), monkeypatch.context() as patched:  # undone before the place's own patches
        assert "one GPU" in gpu_stress.neighbours()["not run"]
        patched.setattr(device, "count", lambda: 2)
        patched.setattr("ctypes.CDLL", lambda name: Driver(1))
        assert gpu_stress.neighbours() == {"ok": True, "contexts": [1]}
        patched.setattr("ctypes.CDLL", lambda name: Driver(0, 1))
        assert gpu_stress.neighbours() == {"ok": False, "contexts": [0, 1]}
        patched.setattr(device, "count", lambda: 3)
        with pytest.raises(RuntimeError, match="answers 101 for GPU 2"):
            gpu_stress.neighbours()
    assert trained == ["gpu:1"] * 3


def test_kernels_are_compiled_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folders: list[str] = []
    about = SimpleNamespace(num_regs=32, local_size_bytes=0)
    on = SimpleNamespace(_architecture=90, _kernel=lambda name, together, shared: about)

    def code(program: str, architecture: int) -> None:
        folders.append(str(build.cache_folder().parent))

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(gpu_stages, "gpu", lambda: on)
    monkeypatch.setattr(build, "code", code)
    found = gpu_stages.build()
    assert found["ok"] and found["kernels"].keys() == build.programs().keys()
    assert found["seconds"].keys() == {*build.PROGRAMS} and len(folders) == 2
    assert str(tmp_path) not in folders and build.cache_folder().parent == tmp_path


# --- ranks that share a GPU -----------------------------------------------------------------


@pytest.mark.mpi
def test_ranks_that_share_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    mpirun()
    monkeypatch.setattr(gpu_ranks, "TRAINING", PROGRAMS / "emulated_training.py")
    monkeypatch.setattr(gpu_ranks, "RANKS", 2)
    monkeypatch.setattr(gpu_ranks, "STEPS", 2)
    found = gpu_ranks.time_sliced()
    assert found["ok"], found
    digests = [found[name] for name in device_training.RECIPES]
    assert [len(digest) for digest in digests] == [64, 64] and digests[0] != digests[1]


RANK = """
import os, pathlib, sys
place, steps, recipe = sys.argv[1:]
served = pathlib.Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "none"), "control").exists()
if place != "cpu" and recipe == "Deep Speech 2" and {fails}: sys.exit("gpu:0: lost")
print(*["step"] * int(steps), "bits", sep="\\n")
if place != "cpu" and served != {served}: print("elsewhere")
"""

SERVER = """#!/bin/sh
at="$CUDA_MPS_PIPE_DIRECTORY"
test -d "$CUDA_MPS_LOG_DIRECTORY" || exit 3
if [ "$1" = -d ]; then echo "$at" >> {log}; {starts}; touch "$at/control"; exit; fi
read -r asked; echo "$asked" >> {log}
case $asked in quit) rm "$at/control";; get_server_list) {lists};; esac
"""


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A function that says how a rank ends, and whether it wants a server; mpirun runs one."""
    (tmp_path / "mpirun").write_text('#!/bin/sh\nshift 2; exec "$@"\n')
    (tmp_path / "mpirun").chmod(0o755)
    monkeypatch.setattr(mpi_launch, "found_mpirun", lambda: str(tmp_path / "mpirun"))
    monkeypatch.setattr(gpu_ranks, "TRAINING", tmp_path / "rank.py")

    def become(served: bool, fails: bool = False) -> None:
        (tmp_path / "rank.py").write_text(RANK.format(served=served, fails=fails))

    return become


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A function that writes NVIDIA's program as it should be; it gives the program's log."""
    folder, log = tmp_path / "bin", tmp_path / "log"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    def become(starts: str = ":", lists: str = "echo 4711") -> Path:
        log.unlink(missing_ok=True)
        path = folder / gpu_ranks.SERVER
        path.write_text(SERVER.format(log=log, starts=starts, lists=lists))
        path.chmod(0o755)
        return log

    return become


def test_fingerprints_are_judged(ranks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ranks(served=False)
    found = gpu_ranks.time_sliced()
    assert found["ok"] and found["Deep Speech 1"] == "bits" and found["ranks"] == 4
    ranks(served=True)
    found = gpu_ranks.time_sliced()
    assert not found["ok"] and found["Deep Speech 1"] == "differs"
    ranks(served=False, fails=True)
    found = gpu_ranks.time_sliced()
    assert not found["ok"] and found["Deep Speech 2 on gpu:0"] == "gpu:0: lost"
    assert found["Deep Speech 1"] == "bits" and found["Deep Speech 2"] == "differs"
    monkeypatch.setattr(mpi_launch, "found_mpirun", lambda: None)
    assert gpu_ranks.time_sliced() == gpu_machine.not_run("there is no mpirun, or no mpi4py")


def test_ranks_under_a_server(ranks: Any, server: Any) -> None:
    ranks(served=True)
    log = server()
    found = gpu_ranks.served()
    assert found["ok"] and found["servers"] == 1, found
    pipes, *asked = log.read_text().splitlines()
    assert asked == ["get_server_list", "quit"] and not Path(pipes).exists()
    server(lists=":")
    found = gpu_ranks.served()
    assert not found["ok"] and found["servers"] == 0  # the ranks went past it
    ranks(served=False)
    log = server()
    assert not gpu_ranks.served()["ok"]
    assert log.read_text().splitlines()[-1] == "quit"
    log = server(starts="echo no GPU; exit 7")
    assert gpu_ranks.served() == {"ok": False, "code": 7, "said": "no GPU"}
    assert len(log.read_text().splitlines()) == 1


def test_without_a_server_there_is_a_reason(
    ranks: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = gpu_ranks.served()  # whose folder is empty
    assert found == gpu_machine.not_run(f"there is no {gpu_ranks.SERVER} on the PATH")
    log = server()
    monkeypatch.setattr(mpi_launch, "found_mpirun", lambda: None)
    assert "mpirun" in gpu_ranks.served()["not run"]
    assert log.read_text().splitlines()[-1] == "quit"
