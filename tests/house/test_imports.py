"""Right: no circles of imports, one door a library, importing starts nothing."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from floors import MODULES, imported

DOORS = {
    "mpi4py": {"majelpy.comm.mpi", "majelpy.comm.world", "majelpy.comm.shared_memory"},
    "h5py": {
        *("majelpy.hdf5", "majelpy.speech.corpus_writer", "majelpy.runs.checkpoint"),
        *("majelpy.distributed.file", "majelpy.cli.info"),
    },
    "tomllib": {"majelpy.parsing"},
    "soundfile": {"majelpy.sound.sound_file", "majelpy.sound.synth", "majelpy.cli.info"},
    "soxr": {"majelpy.sound.audio", "majelpy.sound.synth"},
    "espeakng_loader": {"majelpy.sound.espeak"},
    "kenlm": {"majelpy.decoding.kenlm"},
    "rapidfuzz": {"majelpy.decoding.metrics"},
    "ctypes": {
        *("majelpy.native", "majelpy.sound.espeak", "majelpy.array.dlpack"),
        *("majelpy.gpu.nvrtc", "majelpy.gpu.launcher", "majelpy.gpu.uploads", "majelpy.comm.mpi"),
    },
    "cupy": {"majelpy.memory.system", "majelpy.gpu.device"},
    "matplotlib": {"majelpy.plan.table"},
    "torch": set[str](),
    "scipy": set[str](),
    "pickle": set[str](),
}
"""Who may import what; `hdf5` is h5py's door for reading, `cli.info` tells its version. Beside
`comm.mpi` only types of mpi4py are named."""


def without_types(tree: ast.Module) -> ast.Module:
    """Return a file without what stands under ``if TYPE_CHECKING``."""
    kept = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    return ast.Module(kept, [])


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


def test_a_training_on_cpus_reads_no_gpu_kernels() -> None:
    loaded = loaded_after("import majelpy.train.loop")
    assert "majelpy.gpu.device" in loaded and "majelpy.gpu.launches" not in loaded


def test_importing_the_command_line_is_light() -> None:
    assert not {"mpi4py", "h5py", "numpy", "cupy"} & loaded_after("import majelpy.cli")
