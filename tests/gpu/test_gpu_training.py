"""Training, evaluation and transcription on a GPU place, on the emulation: the CPU's bits."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import device_training
import numpy as np
import pytest
from extras import extra
from gpu_place import GPU, EmulatedDevice, emulated_gpu
from makers import same_bits, touchy_data
from mpi_launch import PATIENCE, environment, mpirun
from paths import HELPERS, PROGRAMS
from training import MAJEL, Ground, Inside, majel, utterances, write_corpus, write_recipe

from majelpy.comm import device_memory
from majelpy.comm.staging import Staging
from majelpy.comm.world import World
from majelpy.gpu import device as gpu
from majelpy.gpu import rnn
from majelpy.memory import CPU
from majelpy.memory import Place as Where
from majelpy.memory.pool import pool, set_pool
from majelpy.train import places

pytest_plugins = ["training"]

STEPS = 3  # an epoch with its evaluation, and one step more
EMULATED = (sys.executable, str(PROGRAMS / "emulated_majel.py"))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe with epochs of two steps."""
    folder = tmp_path_factory.mktemp("short")
    write_corpus(folder / "c.h5", utterances(18))
    return write_recipe(folder / "r.toml", folder / "c.h5", data__holdout=4)


@pytest.fixture(scope="module")
def short(recipe: Path) -> Path:
    """A run of some steps on the CPU; nobody may write to it."""
    folder = recipe.parent / "run"
    ended = majel("train", recipe, "--out", folder, "--steps", str(STEPS))
    assert ended.returncode == 0, ended.stderr
    return folder


def assert_same(found: Path, expected: Path) -> None:
    """Fail unless ledgers and the newest checkpoints are equal byte for byte."""
    for name in ("ledger.jsonl", f"checkpoints/step-{STEPS}.h5"):
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name


def train(inside: Inside, recipe: Path, folder: Path, *options: str) -> str:
    said = inside("train", recipe, "--out", folder, *options)
    assert said.code == 0, said.err
    return said.err


TO_END = ("--steps", str(STEPS))
ON_GPU = ("--place", "gpu", *TO_END)


def test_one_rank(recipe: Path, short: Path, tmp_path: Path, inside: Inside) -> None:
    with emulated_gpu() as on:
        train(inside, recipe, tmp_path, *ON_GPU)
        assert not pool(GPU).statistics.fallbacks
    assert_same(tmp_path, short)
    assert sum("persistent" in kernel for kernel in on.launched) > 2 * STEPS
    assert not on.pinned and not on.copied_out  # alone, it has nothing to send


def test_recurrent_layers_step_by_step(
    recipe: Path, short: Path, tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rnn, "persistent_shape", lambda *_: None)
    with emulated_gpu() as on:
        train(inside, recipe, tmp_path, *ON_GPU, "--no-prefetch")
    assert_same(tmp_path, short)
    assert not any("persistent" in kernel for kernel in on.launched)


@pytest.mark.parametrize("nbytes", ["65536", *extra("0")])
def test_a_pool_that_is_too_small(
    nbytes: str, recipe: Path, short: Path, tmp_path: Path, inside: Inside
) -> None:
    with emulated_gpu():
        train(inside, recipe, tmp_path, *ON_GPU, "--pool-bytes", nbytes)
    last = (tmp_path / "timings.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["fallbacks"] > 0
    assert_same(tmp_path, short)


@pytest.mark.parametrize("first", ["cpu", "gpu"])
def test_resumed_on_the_other_place(
    first: str, recipe: Path, short: Path, tmp_path: Path, inside: Inside
) -> None:
    second = "cpu" if first == "gpu" else "gpu:0"
    with emulated_gpu():
        train(inside, recipe, tmp_path, "--place", first, "--steps", "2")
        said = train(inside, recipe, tmp_path, "--place", second, *TO_END)
    assert "resuming after step 2" in said
    assert_same(tmp_path, short)


WORLDS = {
    "2 ranks": [[*EMULATED]] * 2,
    "3 ranks by messages": [[*EMULATED]] * 3,
    "CPU and GPU": [[*MAJEL], [*EMULATED]],
}
MORE = {
    "3 ranks": [[*EMULATED]] * 3,
    "GPU and CPU by messages": [[*EMULATED], [*MAJEL]],
    "two kinds of kernels": [[*EMULATED, "stepwise"], [*EMULATED]],
}


@pytest.mark.mpi
@pytest.mark.parametrize("name", [*WORLDS, *extra(*MORE)])
def test_several_ranks(name: str, recipe: Path, short: Path, tmp_path: Path) -> None:
    options = ["--no-shared-memory"] if "messages" in name else []
    if name != "3 ranks":  # else all gradients are one bucket, which leaves at the end
        options += ["--bucket-bytes", "1000"]
    assert not train_together((WORLDS | MORE)[name], recipe, tmp_path, *options)
    assert_same(tmp_path, short)


def train_together(
    programs: list[list[str]], recipe: Path, folder: Path, *options: str
) -> list[tuple[int, int]]:
    """Train on these ranks; return the aware ones' sums on their GPUs and copies to the host."""
    words = [mpirun()]
    for program in programs:
        words += [] if len(words) == 1 else [":"]
        where = ["--place", "gpu"] if program[1] == EMULATED[1] else []
        run = ["train", str(recipe), "--out", str(folder), *TO_END, *where, *options]
        words += ["-n", "1", *program, *run]
    ended = subprocess.run(
        words, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode == 0, ended.stderr
    said = re.findall(r"(\d+) sums on the GPU, (\d+) copies to the host", ended.stderr)
    return [(int(sums), int(copies)) for sums, copies in said]


def test_what_stands_for_device_memory_is_cut_but_not_read() -> None:
    memory: Any = SimpleNamespace(pointer=4096, size=64)  # where nothing is: reading it would fault
    part = device_memory.addresses(memory)[16:48]
    assert (part.ctypes.data, part.nbytes, part.dtype) == (4096 + 64, 128, np.float32)
    assert part.flags.c_contiguous and part.flags.writeable


AWARE = [*EMULATED, "aware"]


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("ranks", "overlap"),
    [
        (2, True),
        (3, False),
        *extra((2, False), (3, True)),
    ],
)
def test_messages_from_gpu_to_gpu(
    ranks: int, overlap: bool, recipe: Path, short: Path, tmp_path: Path
) -> None:
    options = ["--bucket-bytes", "1000", *([] if overlap else ["--no-overlap"])]
    said = train_together([AWARE] * ranks, recipe, tmp_path, *options)
    assert_same(tmp_path, short)
    assert len(said) == ranks
    for sums, copies in said:
        assert sums >= STEPS and not copies


@pytest.mark.mpi
@pytest.mark.parametrize(
    "other",
    [
        pytest.param([*MAJEL], id="on a CPU", marks=pytest.mark.extra),
        pytest.param([*EMULATED], id="of another library"),
    ],
)
def test_one_rank_that_cannot_send_from_a_gpu_lets_all_copy(
    other: list[str], recipe: Path, short: Path, tmp_path: Path
) -> None:
    said = train_together([AWARE, other], recipe, tmp_path)
    assert_same(tmp_path, short)
    ((sums, copies),) = said
    assert not sums and copies >= STEPS


def test_evaluation_and_transcription(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    folder = ground.undisturbed.folder
    paths = [tmp_path / f"{i}.npy" for i in range(3)]
    for path, (frames, _, _) in zip(paths, utterances(3, seed=5), strict=True):
        np.save(path, frames)
    commands: list[list[Any]] = [["eval", folder, ground.corpus], ["transcribe", folder, *paths]]
    for command in commands:
        expected = inside(*command)
        with emulated_gpu() as on:
            found = inside(*command, "--place", "gpu")
        assert (found.code, found.out) == (0, expected.out), found.err
        assert on.launched


def test_another_seed_gives_other_bits(
    recipe: Path, short: Path, tmp_path: Path, inside: Inside
) -> None:
    with emulated_gpu():
        train(inside, recipe, tmp_path, "--place", "gpu", "--steps", "1", "--set", "seed=4")
    first, *_ = (short / "ledger.jsonl").read_text().splitlines()
    assert (tmp_path / "ledger.jsonl").read_text() != first + "\n"


@pytest.mark.parametrize("name", device_training.TINY)
def test_the_program_for_machines_with_few_packages(name: str, tmp_path: Path) -> None:
    device_training.write_corpus(tmp_path / "train.h5")

    def bits(place: str) -> list[str]:
        before = pool()
        try:
            return device_training.bits(
                tmp_path / "train.h5", place, 2, World.alone(), device_training.TINY[name]
            )
        finally:
            set_pool(before)

    with emulated_gpu():
        assert bits("gpu") == bits("cpu")


def test_that_program_needs_few_packages() -> None:
    program = "import sys; sys.path.insert(0, sys.argv[1]); import device_training as d; "
    program += "print(d.__name__, *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program, str(HELPERS)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not {"tqdm", "rapidfuzz", "tomli_w", "soundfile", "soxr", "cupy"} & loaded


# --- choosing a GPU and its memory ----------------------------------------------------------


def test_without_a_gpu_it_is_one_line(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    with patch.dict(sys.modules, {"cupy": None}):
        for command in (
            ["train", ground.recipe, "--out", tmp_path],
            ["eval", ground.undisturbed.folder, ground.corpus],
            ["transcribe", ground.undisturbed.folder, tmp_path / "none.npy"],
        ):
            for where in ("gpu", "gpu:1"):
                said = inside(*command, "--place", where)
                assert said.code == 2
                assert said.err.splitlines() == [
                    f"majel {command[0]}: gpu: cupy is not installed; "
                    "needs pip install '.[gpu]' in the folder of majelpy's sources"
                ]


def test_a_place_that_is_none(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    said = inside("train", ground.recipe, "--out", tmp_path, "--place", "tpu")
    assert said.code == 2 and "place: 'tpu' is not available" in said.err


def test_ranks_of_a_host_take_turns() -> None:
    with (
        patch.object(gpu, "count", lambda: 3),
        patch.object(gpu, "device", lambda place: place),
    ):
        chosen = [places.choose("gpu", local_rank).number for local_rank in range(7)]
        assert chosen == [0, 1, 2, 0, 1, 2, 0]
        assert places.choose("gpu:1", 5) == Where("gpu", 1)
        assert places.choose("cpu", 5) == CPU


@pytest.mark.parametrize(
    ("others", "share"),
    [
        ([], 0.9),
        ([("emulated", 1 << 24)], 0.225),  # also from a container with another host's name
        ([("another", 1), ("here", 0)], 0.9),
    ],
)
def test_ranks_on_one_gpu_divide_its_memory(others: list[Any], share: float) -> None:
    world: Any = SimpleNamespace(host="here", all_gather=lambda mine: [mine, *others])
    with emulated_gpu():
        taken = []
        with patch.object(
            places, "Pool", lambda nbytes, place, report: taken.append(nbytes) or pool(GPU)
        ):
            places.take_pool(GPU, world)
            places.take_pool(GPU, world, 4096)
    assert taken == [int(share * EmulatedDevice.free_bytes), 4096]


def test_ranks_on_the_cpus_of_a_host_divide_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [("here", 80 << 20), ("here gpu", 5), ("there", 6)]
    world: Any = SimpleNamespace(host="here", all_gather=lambda mine: [mine, *others])
    monkeypatch.setattr(places, "free_bytes", lambda: 100 << 20)
    before = pool()
    try:
        assert places.take_pool(CPU, world).capacity == 36 << 20
    finally:
        set_pool(before)


# --- copies beside kernels ------------------------------------------------------------------


class TwoRanks:
    """What `Staging` knows of a reducer, of 2 nodes in 3 slots."""

    ranks, nodes = 2, 2

    def __init__(self) -> None:
        self.slots = np.zeros((3, 32), np.float32)
        self.touched = [self.slots.view(np.uint8)]
        self.result = np.arange(32, dtype=np.float32)
        self.told: list[tuple[int, int]] = []

    def pushed(self, first: int, last: int) -> None:
        assert not np.isnan(self.slots[:2, first:last]).any()
        self.told.append((first, last))

    def poll(self) -> None:
        pass

    def reduce(self) -> np.ndarray:
        self.seen = self.slots.copy()
        return self.result


def test_gradients_arrive_as_they_are_pushed() -> None:
    with emulated_gpu() as on:
        reducer: Any = TwoRanks()
        numbers = touchy_data((3, 32), 1)
        staging = Staging(reducer, GPU)
        assert len(on.pinned) == 1
        on.copy_in(numbers, staging.slots.pointer)
        staging.pushed(16, 20)
        assert np.isnan(reducer.slots[:2, 16:20]).all()  # not there yet, for anyone to see
        assert not reducer.told
        staging.pushed(0, 16)
        assert reducer.told == [(16, 20)]
        total = staging.reduce()
        assert reducer.told == [(16, 20), (0, 16)]
        expected = np.zeros((3, 32), np.float32)  # all else is as it was
        expected[:2, :20] = numbers[:2, :20]
        assert same_bits(reducer.seen, expected)
        assert total.place == GPU
        assert (total.to_device(CPU).numpy() == reducer.result).all()
        staging.close()
        assert not on.pinned


def test_writing_a_pushed_gradient_again_is_seen() -> None:
    with emulated_gpu() as on:
        staging = Staging(TwoRanks(), GPU)  # type: ignore[arg-type]
        staging.pushed(0, 16)
        on.copy_in(np.ones(1, np.float32), staging.slots.pointer + 4 * 3)
        with pytest.raises(AssertionError, match="changed during the copy"):
            staging.reduce()


def test_without_pinned_memory_it_goes_on() -> None:
    with emulated_gpu() as on, patch.object(on, "pin", lambda *_: False):
        staging = Staging(TwoRanks(), GPU)  # type: ignore[arg-type]
        staging.pushed(0, 32)
        staging.reduce()
        staging.close()
