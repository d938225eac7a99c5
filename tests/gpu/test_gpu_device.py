"""Every kernel, and a training, on a GPU: the CPU's bits, and the golden digests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import device_training
import gpu_cases
import needs
import numpy as np
import one_case
import pytest
from gpu_cases import all_cases
from makers import digest, touchy_data
from mpi_launch import PATIENCE, environment, found_mpirun
from one_case import Case, on_device
from paths import GOLDEN, HELPERS

from majelpy.comm.world import World
from majelpy.gpu import gemm, rnn
from majelpy.gpu.launches import LAUNCHES
from majelpy.memory.place import Place
from majelpy.memory.pool import Pool

pytestmark = pytest.mark.gpu

GPU = Place("gpu", 0)
EVERY_PLACE = GOLDEN / "every_place.json"


@pytest.fixture(scope="module")
def on() -> Any:
    needs.module("gpu", "cupy")
    from majelpy.errors import PoolError
    from majelpy.gpu.device import device

    try:
        return device(GPU)
    except PoolError as error:
        needs.lacking("gpu", str(error))


@pytest.mark.parametrize("case", all_cases(), ids=lambda c: c.name)
def test_equal_bits(case: Case, on: Any) -> None:
    one_case.check(case, on, LAUNCHES[case.entry])
    golden = json.loads(EVERY_PLACE.read_text())
    assert digest(*on_device(case, on, LAUNCHES[case.entry])) == golden[case.name]


@pytest.mark.parametrize("way", gemm.WAYS, ids=lambda w: w.name)
@pytest.mark.parametrize("case", list(gpu_cases.products()), ids=lambda c: c.name)
def test_every_way_of_a_product(
    case: Case, way: gemm.Way, on: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gemm, "choose", gpu_cases.only(way))
    one_case.check(case, on, LAUNCHES[case.entry])


@pytest.mark.parametrize(
    "case", [*gpu_cases.recurrences(), *gpu_cases.cells()], ids=lambda c: c.name
)
def test_layers_step_by_step(case: Case, on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rnn, "persistent_shape", lambda *_: None)
    one_case.check(case, on, LAUNCHES[case.entry])


def test_the_pool_and_its_fallback_hold_the_same_numbers(on: Any) -> None:
    pool = Pool(1 << 20, GPU, poison=True)
    numbers = touchy_data(1000, 1)
    for held in (pool.allocate(4000), pool.allocate(2 << 20)):
        raw = np.empty(4000, np.uint8)
        on.download(held.pointer, raw)
        assert (raw == 0xFF).all()
        source = on.upload(numbers)
        LAUNCHES["mj_add_arrays"](on, 1000, source.pointer, source.pointer, held.pointer)
        out = np.empty(1000, np.float32)
        on.download(held.pointer, out)
        assert (out == numbers + numbers).all()
    assert pool.statistics.fallbacks == 1
    del held
    assert pool.leaks() == ""


# --- training -------------------------------------------------------------------------------

STEPS = 30


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("device") / "train.h5"
    device_training.write_corpus(path)
    return path


@pytest.fixture(scope="module")
def expected(corpus: Path) -> dict[str, list[str]]:
    """Bits of each recipe's training on the CPU."""
    return {
        name: device_training.bits(corpus, "cpu", STEPS, World.alone(), recipe)
        for name, recipe in device_training.RECIPES.items()
    }


@pytest.mark.parametrize("way", ["persistent", "stepwise"])
@pytest.mark.parametrize("name", device_training.RECIPES)
def test_a_training(
    name: str,
    way: str,
    corpus: Path,
    expected: dict[str, list[str]],
    on: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if way == "stepwise":
        monkeypatch.setattr(rnn, "persistent_shape", lambda *_: None)
    recipe = device_training.RECIPES[name]
    assert device_training.bits(corpus, "gpu:0", STEPS, World.alone(), recipe) == expected[name]


def test_host_memory_can_be_pinned(on: Any) -> None:
    host = np.zeros(1 << 16, np.uint8)
    assert on.pin(host.ctypes.data, host.nbytes)
    source = on.upload(np.arange(1 << 16, dtype=np.uint8))
    on.copy_out(source.pointer, host)
    on.finish_copies()
    assert (host == np.arange(1 << 16, dtype=np.uint8)).all()
    on.unpin(host.ctypes.data)


# Worlds on one GPU, where there is MPI: the place of each rank.
WORLDS = [["gpu:0"] * 2, ["gpu"] * 3, ["cpu", "gpu:0"]] if found_mpirun() else []


@pytest.mark.parametrize("world", WORLDS, ids=" ".join)
def test_a_training_of_several_ranks(
    world: list[str], expected: dict[str, list[str]], on: Any
) -> None:
    words = [str(found_mpirun())]
    for place in world:
        words += [] if len(words) == 1 else [":"]
        words += ["-n", "1", sys.executable, str(HELPERS / "device_training.py"), place, str(STEPS)]
    paths = os.pathsep.join(sys.path)
    ended = subprocess.run(
        words, env=environment() | {"PYTHONPATH": paths},
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == expected["Deep Speech 1"]
