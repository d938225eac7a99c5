"""Memory of a training: what the timing log tells, a pool too small, and no memory at all."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from mpi_launch import PATIENCE
from paths import ROOT
from training import (
    MAJEL,
    STEPS,
    Ground,
    Inside,
    assert_same,
    done,
    majel,
    network,
    own_lines,
    train,
    utterances,
    write_corpus,
    write_recipe,
)

from majelpy.memory.pool import SMALLEST
from majelpy.train.loop import Run
from majelpy.train.step import StepResult
from majelpy.train.trainer import Trainer
from majelpy.wording import byte_size, read_byte_size

pytest_plugins = ["training"]


def timings(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "timings.jsonl").read_text().splitlines()]


def of_pool(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if "pool on" in line]


def test_the_steady_state_takes_nothing_from_the_system(ground: Ground, tmp_path: Path) -> None:
    train(ground.recipe, tmp_path, "--no-prefetch", "--pool-bytes", str(1 << 30))
    lines = timings(tmp_path)
    assert len(lines) == STEPS
    assert {line["system_allocations"] for line in lines} == {1}, "the region, and nothing else"
    assert {line["fallbacks"] for line in lines} == {0}
    (peak,) = {line["pool_peak_bytes"] for line in lines}
    assert len({line["pool_in_use_bytes"] for line in lines}) == 1, "a step gives back what it took"
    allocations = [line["allocations"] for line in lines]
    assert all(b - a > 30 for a, b in itertools.pairwise(allocations))
    for line in lines:
        assert 0 < line["pool_in_use_bytes"] < peak
        free = (1 << 30) - line["pool_in_use_bytes"]
        assert line["pool_largest_free_bytes"] == 1 << 29
        assert line["pool_fragmentation"] == round(1 - (1 << 29) / free, 4)
        assert line["fallback_in_use_bytes"] == line["fallback_peak_bytes"] == 0


def test_a_step_takes_no_bulk_memory_from_numpy(
    tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path / "train.h5", utterances(48, features=81), features=81)
    recipe = write_recipe(
        tmp_path / "wide.toml", tmp_path / "train.h5", schedule__epochs=3, data__batch=20,
        model__layers=network([256, 256, 256], 256),
    )  # fmt: skip
    advance = Trainer.advance
    peaks: list[int] = []

    def watched(trainer: Trainer, *given: Any) -> StepResult:
        tracemalloc.start()
        result = advance(trainer, *given)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        return result

    monkeypatch.setattr(Trainer, "advance", watched)
    said = inside("train", recipe, "--out", tmp_path / "run", "--no-prefetch")
    assert said.code == 0, said.err
    lines = timings(tmp_path / "run")
    assert lines[-1]["pool_peak_bytes"] - lines[-1]["pool_in_use_bytes"] > 4 << 20
    assert max(peaks[4:]) < 64 << 10, "NumPy's arrays are counted here, the pool's are not"


WARNING = (
    r"pool on cpu: (.+) asked, (.+) free of (.+); using ordinary memory, which is slower "
    r"\(raise --pool-bytes\)"
)
COST = (
    r"pool on cpu: (\d+) of (\d+) allocations came from ordinary memory, (.+) at a time at most; "
    r"raise --pool-bytes above (.+)"
)


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.mpi)])
def test_half_the_pool_gives_the_same_answer(ranks: int, ground: Ground, tmp_path: Path) -> None:
    train(ground.recipe, tmp_path / "whole", ranks=ranks)
    peak = timings(tmp_path / "whole")[-1]["pool_peak_bytes"]
    ended = majel(
        *("train", ground.recipe, "--out", tmp_path / "half", "--pool-bytes", str(peak // 2)),
        ranks=ranks,
    )
    assert ended.returncode == 0, ended.stderr
    assert_same(done(tmp_path / "half", ended.stdout), ground.undisturbed)
    warning, cost = of_pool(ended.stderr)
    of_rank = "rank 0: " if ranks > 1 else ""
    found = re.fullmatch(of_rank + WARNING, warning)
    assert found is not None, warning
    asked, free, size = map(read_byte_size, found.groups())
    capacity = peak // 2 // SMALLEST * SMALLEST
    assert byte_size(capacity) == byte_size(size) and free < size
    last = timings(tmp_path / "half")[-1]
    assert 0 < asked <= last["fallback_peak_bytes"] and last["pool_peak_bytes"] <= capacity
    found = re.fullmatch(of_rank + COST, cost)
    assert found is not None, cost
    assert found.groups() == (
        *(str(last["fallbacks"]), str(last["allocations"])),
        *(byte_size(last["fallback_peak_bytes"]), byte_size(capacity)),
    )
    assert last["system_allocations"] == last["fallbacks"] + 1 > 1


def test_the_lowest_rank_concerned_speaks() -> None:
    said: list[str] = []
    run = Run.__new__(Run)  # only its world is needed
    progress: Any = SimpleNamespace(say=said.append)
    for texts, warned in ((["", "", ""], False), (["", "one", "two"], True), (["alone"], True)):
        world: Any = SimpleNamespace(all_gather=lambda mine, texts=texts: texts)
        run._world = world
        assert run._tell(progress, "mine") is warned
    assert said == ["rank 1: one", "alone"]


def test_a_pool_that_suffices_says_nothing(ground: Ground, tmp_path: Path) -> None:
    ended = majel("train", ground.recipe, "--out", tmp_path / "run", "--steps", "2")
    assert ended.returncode == 0 and of_pool(ended.stderr) == []


LIMITED = """
import resource, sys
import majelpy.train.loop
from majelpy.cli import main
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + (140 << 20)
resource.setrlimit(resource.RLIMIT_AS, (most, most))
sys.exit(main(sys.argv[1:]))
"""


WIDE = "model.layers=[" + '{layer="dense", units=2000}, ' * 3 + '{layer="birnn", units=16}]'


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (
            ["--pool-bytes", str(1 << 30)],
            r".+ asked, 1 GiB free of 1 GiB \(largest block 1 GiB\), no limit; the region of 1 "
            r"GiB cannot be had \(Cannot allocate memory\); lower --pool-bytes",
        ),
        (
            # Its gradients take 124 MiB, its parameters would take 31 more.
            ["--pool-bytes", "4096", "--set", WIDE],
            r"[\d.]+ MiB asked, 4 KiB free of 4 KiB \(largest block 4 KiB\), no limit; the "
            r"system has none left",
        ),
    ],
    ids=["region", "fallback"],
)
def test_no_memory_is_one_line(
    options: list[str], wanted: str, ground: Ground, tmp_path: Path
) -> None:
    words = ["train", str(ground.recipe), "--out", str(tmp_path / "run"), "--no-prefetch"]
    ended = subprocess.run(
        [MAJEL[0], "-c", LIMITED, *words, "--threads", "1", *options],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert own_lines(ended.stderr) == [line]
    assert re.fullmatch(f"majel train: pool on cpu: {wanted}", line), line


def test_info_tells_of_the_pool() -> None:
    ended = majel("info")
    assert ended.returncode == 0
    assert "\npool: 1 GiB by default, no limit; " in ended.stdout
    assert "majel train --pool-bytes N changes it\n" in ended.stdout
    assert "largest free block 1 GiB, fragmentation 0.00, fallback 0 bytes" in ended.stdout


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = ROOT / "benchmarks" / "allocations.py"
    spec = importlib.util.spec_from_file_location("allocations", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["allocations"] = module
    spec.loader.exec_module(module)
    return module


def test_the_allocation_log_of_a_training_balances(benchmark: ModuleType) -> None:
    log = benchmark.record(2)
    sizes: dict[int, int] = {}
    for number, nbytes in log:
        if nbytes >= 0:
            assert number not in sizes
            sizes[number] = nbytes
        else:
            assert sizes[number] >= 0
            sizes[number] = -1
    assert set(sizes.values()) == {-1} and sorted(sizes) == list(range(len(sizes)))
    assert len(sizes) > 100
    assert 4 << 20 < benchmark.asked_peak(log) < 1 << 30


def test_a_replay_measures_every_allocator(
    benchmark: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = benchmark.main(steps=1, rounds=1)
    assert [row["what"] for row in rows] == ["our pool", "malloc", "numpy.empty"]
    assert all(row["us_per_pair_written"] > 0 and row["us_per_pair"] > 0 for row in rows)
    assert rows[0]["peak_bytes"] >= rows[0]["asked_peak_bytes"] and rows[0]["ratio"] == 1
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(rows)
