"""The reducer's bits are the serial tree's, for any ranks, hosts, buckets and memory."""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi_launch import launch

from majelpy.comm import tree
from majelpy.comm.reduce import TreeReducer
from majelpy.comm.world import World
from majelpy.errors import ShapeError, WorldError

sys.path.insert(0, str(Path(__file__).parent / "mpi_programs"))

from touchy import digest, touchy_leaf

SIZES = (1, 100, 5003)
BUCKETS = (64, 4096, 1 << 20)


def tree_sum(size: int, first: int, last: int) -> np.ndarray:
    """Return the sum by the tree's definition; NumPy's adds round as IEEE says."""
    if last - first == 1:
        return touchy_leaf(first, size)
    middle = first + tree.split(last - first)
    return tree_sum(size, first, middle) + tree_sum(size, middle, last)


@cache
def expected(leaves: int, size: int) -> str:
    return digest(tree_sum(size, 0, leaves))


def cases(ranks: int, shared_memory: tuple[bool, ...]) -> list[dict[str, Any]]:
    return [
        {"leaves": leaves, "size": size, "bucket_bytes": bytes_, "shared_memory": shared}
        for leaves in (8, 6, 5)
        for size in SIZES
        for bytes_ in BUCKETS
        for shared in shared_memory
        if ranks <= leaves
    ]


def run(ranks: int, tasks: list[dict[str, Any]], hosts: Any = None) -> list[dict[str, Any]]:
    """Run the tasks on a world, check the bits of each, and return what it printed."""
    done = launch("reduce_program.py", ranks, json.dumps({"hosts": hosts, "cases": tasks}))
    assert done.returncode == 0, done.stderr
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(printed) == len(tasks)
    for task, line in zip(tasks, printed, strict=True):
        assert line["digests"] == [expected(task["leaves"], task["size"])], task
    return printed


@pytest.mark.parametrize("leaves", [8, 6, 5])
def test_touchy_leaves_show_another_order(leaves: int) -> None:
    for size in SIZES[1:]:
        total = touchy_leaf(0, size)
        for leaf in range(1, leaves):
            total = total + touchy_leaf(leaf, size)
        assert digest(total) != expected(leaves, size)


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 5, 8])
def test_any_number_of_ranks_gives_the_same_bits(ranks: int) -> None:
    tasks = cases(ranks, (True, False))
    for task, line in zip(tasks, run(ranks, tasks), strict=True):
        assert (line["sent_bytes"] > 0) == (ranks > 1 and not task["shared_memory"])


@pytest.mark.mpi
@pytest.mark.parametrize(
    "hosts",
    [
        [[0, 1], [2, 3]],
        [[0, 2], [1, 3]],
        [[0, 1], [2, 3, 4]],
        [[0], [1, 2, 3], [4]],
        [[0, 1], [2, 3], [4, 5], [6, 7]],
    ],
    ids=str,
)
def test_hosts_of_several_ranks_give_the_same_bits(hosts: list[list[int]]) -> None:
    ranks = sum(map(len, hosts))
    run(ranks, cases(ranks, (True,)), hosts)


@pytest.mark.mpi
def test_two_hosts_send_what_a_ring_would() -> None:
    task = {"leaves": 8, "size": 6400, "bucket_bytes": 6400, "shared_memory": True}
    (line,) = run(4, [task], [[0, 1], [2, 3]])
    rounds, hosts = 2, 2
    assert line["sent_bytes"] == rounds * hosts * (2 * 6400 * 4 * (hosts - 1) // hosts)


@pytest.mark.mpi
def test_too_little_shared_memory_is_an_error_and_no_hang() -> None:
    task = {"leaves": 8, "size": 10**13, "bucket_bytes": 1 << 44, "shared_memory": True}
    done = launch("reduce_program.py", 2, json.dumps({"hosts": None, "cases": [task]}), timeout=30)
    assert done.returncode == 2
    assert "majel: rank 0" in done.stderr
    assert "shared memory: 2 ranks need 280000004194304 bytes" in done.stderr
    assert "launch without shared memory" in done.stderr


def test_one_rank_does_not_copy() -> None:
    reducer = TreeReducer(World.start(), 6, 100, bucket_bytes=1 << 20)
    assert reducer.slots.shape == (3, 100) and reducer.slots.dtype == np.float32
    assert (reducer.first, reducer.last) == (0, 6)
    assert reducer.merges.dtype == np.int32 and list(reducer.merges) == [0, 1, 0, 2, 0, 2]
    total = reducer.reduce()
    assert np.shares_memory(total, reducer.slots[0]) and not total.flags.writeable
    assert reducer.sent_bytes == 0
    reducer.close()


def test_errors_say_what_is_needed() -> None:
    message = "train: 1 ranks for 0 leaves; start at most 0 ranks or raise leaves in the recipe"
    with pytest.raises(WorldError, match=message):
        TreeReducer(World.start(), 0, 100, bucket_bytes=64)
    with pytest.raises(ShapeError, match="buckets: 0 floats"):
        TreeReducer(World.start(), 8, 0, bucket_bytes=64)
    with pytest.raises(ShapeError, match="buckets of 63 bytes"):
        TreeReducer(World.start(), 8, 10, bucket_bytes=63)
