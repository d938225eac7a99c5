"""The reducer's bits are the serial tree's: any ranks, hosts, leaves, buckets, memory, moment."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from extras import extra
from mpi_launch import launch
from reductions import PUSHES, STEPS, expected
from touchy import digest, touchy_leaf

from majelpy.comm.reduce import TreeReducer, contiguous
from majelpy.comm.world import World
from majelpy.errors import ShapeError, WorldError

SIZES = (1, 100, 5003)
BUCKETS = (64, 4096, 1 << 20)


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
        rounded = task.get("rounded", 0)
        sums = expected(task["leaves"], task["size"], "pushes" in task, rounded)
        assert line["digests"] == [[one] for one in sums], task
    return printed


@pytest.mark.parametrize("leaves", [8, 6, 5])
def test_touchy_leaves_show_another_order(leaves: int) -> None:
    for size in SIZES[1:]:
        total = touchy_leaf(0, size)
        for leaf in range(1, leaves):
            total = total + touchy_leaf(leaf, size)
        assert digest(total) != expected(leaves, size)[0]


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [3, 8, *extra(1, 2, 4, 5)])
def test_any_number_of_ranks_gives_the_same_bits(ranks: int) -> None:
    tasks = cases(ranks, (True, False))
    for task, line in zip(tasks, run(ranks, tasks), strict=True):
        assert (sum(line["sent_bytes"]) > 0) == (ranks > 1 and not task["shared_memory"])


@pytest.mark.mpi
@pytest.mark.parametrize(
    "hosts",
    [
        [[0, 2], [1, 3]],
        [[0], [1, 2, 3], [4]],
        *extra([[0, 1], [2, 3]], [[0, 1], [2, 3, 4]], [[0, 1], [2, 3], [4, 5], [6, 7]]),
    ],
    ids=str,
)
def test_hosts_of_several_ranks_give_the_same_bits(hosts: list[list[int]]) -> None:
    ranks = sum(map(len, hosts))
    run(ranks, cases(ranks, (True,)), hosts)


def overlapped(**task: Any) -> dict[str, Any]:
    """Return a case of pushes that leave while others are to come, on ranks that dawdle."""
    common = {"leaves": 8, "size": 5003, "bucket_bytes": 1024, "shared_memory": True}
    return common | {"pushes": PUSHES, "overlap": True, "delays": 1} | task


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("ranks", "hosts"), [(3, [[0, 1], [2]]), *extra((2, None), (4, [[0, 2], [1, 3]]))], ids=str
)
def test_overlap_gives_the_same_bits(ranks: int, hosts: Any) -> None:
    tasks = [
        overlapped(leaves=leaves, bucket_bytes=bytes_, shared_memory=shared, overlap=overlap)
        for leaves in (8, 5)
        for bytes_ in (64, 1024, 1 << 20)
        for shared in (True, False)
        for overlap in (True, False)
        if overlap or bytes_ == 1024
    ]
    for task, line in zip(tasks, run(ranks, tasks, hosts), strict=True):
        several = task["bucket_bytes"] < 4 * task["size"]
        assert line["hidden"] == [task["overlap"] and several] * ranks


# Leaves with gaps: 4 leaves of 2 parts, a part of each of a host's leaves on each of its ranks;
# the same with the parts on different hosts; and what no one would choose.
GAPS: list[tuple[list[list[int]], list[list[list[int]]]]] = [
    ([[0, 1], [2, 3]], [[[0, 1], [2, 3]], [[1, 2], [3, 4]], [[4, 5], [6, 7]], [[5, 6], [7, 8]]]),
    ([[0, 2], [1, 3]], [[[0, 1], [2, 3]], [[1, 2], [3, 4]], [[4, 5], [6, 7]], [[5, 6], [7, 8]]]),
    ([[0], [1, 2]], [[[3, 4], [6, 8]], [[0, 2], [4, 5]], [[2, 3], [5, 6]]]),
    ([[0], [1]], [[[1, 3], [4, 6], [7, 8]], [[0, 1], [3, 4], [6, 7]]]),
]


@pytest.mark.mpi
@pytest.mark.parametrize(("hosts", "ranges"), [GAPS[1], GAPS[2], *extra(GAPS[0], GAPS[3])])
def test_leaves_with_gaps_give_the_same_bits(hosts: Any, ranges: Any) -> None:
    tasks = [
        overlapped(ranges=ranges, shared_memory=shared, overlap=overlap)
        for shared in (True, False)
        for overlap in (True, False)
    ]
    run(len(ranges), tasks, hosts)


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("ranks", "hosts"),
    [(3, [[0, 1], [2]]), *extra((1, None), (2, None), (4, [[0, 2], [1, 3]]))],
    ids=str,
)
def test_sums_in_bfloat16_have_the_same_bits_too(ranks: int, hosts: Any) -> None:
    tasks = [
        overlapped(leaves=5, bucket_bytes=bytes_, shared_memory=shared, rounded=rounded)
        for rounded in (5003, 4992, 2899)  # all, up to a push's first, within a line
        for bytes_ in (64, 1 << 20)
        for shared in (True, False)
    ]
    if ranks == len(GAPS[2][1]):
        tasks += [overlapped(ranges=GAPS[2][1], rounded=4992)]
    run(ranks, tasks, hosts)


@pytest.mark.mpi
def test_groups_of_ranks_add_by_themselves() -> None:
    tasks = [
        overlapped(groups=groups, shared_memory=shared)
        for groups in ([[0, 2], [1, 3]], [[0, 1], [2, 3]], [[0, 1, 3], [2]])
        for shared in (True, False)
    ]
    run(4, tasks, [[0, 1], [2, 3]])


@pytest.mark.mpi
@pytest.mark.parametrize("how", ["killed", "raises"])
def test_a_rank_that_dies_amid_its_pushes_ends_the_world(how: str) -> None:
    task = overlapped(dies=[1, how], groups=[[0, 1], [2]])
    done = launch("reduce_program.py", 3, json.dumps({"hosts": None, "cases": [task]}))
    assert done.returncode == (1 if how == "raises" else 137)
    assert ("majel: rank 1 on" in done.stderr) == (how == "raises")


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("ranks", "hosts", "more"),
    [
        (4, [[0, 1], [2, 3]], {}),
        (4, None, {"shared_memory": False, "groups": [[0, 2], [1, 3]]}),
        (4, *GAPS[0][:1], {"ranges": GAPS[0][1]}),
        (2, None, {"shared_memory": False, "rounded": 3200}),
        *extra(
            (2, None, {"shared_memory": False}),
            (4, None, {"shared_memory": False}),
            (4, [[0, 1], [2, 3]], {"rounded": 6400}),
            (2, None, {"shared_memory": False, "rounded": 6400}),
        ),
    ],
)
def test_no_rank_sends_more_than_a_ring_would(ranks: int, hosts: Any, more: Any) -> None:
    size = 6400
    pushes = [[low, low + 640] for low in range(0, size, 640)]
    common = {"leaves": 8, "size": size, "shared_memory": True}
    tasks = [
        common | {"bucket_bytes": 6400} | more,
        common | {"bucket_bytes": 2560, "overlap": True, "pushes": pushes} | more,
    ]
    together = len(more["groups"][0]) if "groups" in more else ranks
    on_host = 1 if not more.get("shared_memory", True) else 2
    machines = together // on_host
    whole = 4 * size - 2 * more.get("rounded", 0)  # bytes of a vector in messages
    ring = 2 * whole * (machines - 1) // machines // on_host
    done = launch("reduce_program.py", ranks, json.dumps({"hosts": hosts, "cases": tasks}))
    assert done.returncode == 0, done.stderr
    for line in map(json.loads, done.stdout.splitlines()):
        assert line["sent_bytes"] == [STEPS * ring] * ranks


@pytest.mark.mpi
def test_too_little_shared_memory_is_an_error_and_no_hang() -> None:
    task = {"leaves": 8, "size": 10**13, "bucket_bytes": 1 << 44, "shared_memory": True}
    done = launch("reduce_program.py", 2, json.dumps({"hosts": None, "cases": [task]}))
    assert done.returncode == 2
    assert "majel: rank 0" in done.stderr
    assert "shared memory: 2 ranks need 255 TiB" in done.stderr
    assert "give --no-shared-memory" in done.stderr


def test_one_rank_does_not_copy() -> None:
    reducer = TreeReducer(World.start(), 6, 100, bucket_bytes=1 << 20)
    assert reducer.slots.shape == (3, 100) and reducer.slots.dtype == np.float32
    assert (reducer.first, reducer.last) == (0, 6)
    assert reducer.merges.dtype == np.int32 and list(reducer.merges) == [0, 1, 0, 2, 0, 2]
    total = reducer.reduce()
    assert np.shares_memory(total, reducer.slots[0]) and not total.flags.writeable
    assert reducer.sent_bytes == 0
    reducer.close()


def test_a_rank_alone_may_push() -> None:
    reducer = TreeReducer(World.start(), 6, 100, bucket_bytes=64, overlap=True)
    for _ in range(2):
        reducer.slots[0] = touchy_leaf(0, 100)
        reducer.pushed(0, 100)
        assert digest(reducer.reduce()) == digest(touchy_leaf(0, 100))
    reducer.close()


def test_leaves_follow_hosts() -> None:
    assert contiguous(8, ((0, 2), (1, 3))) == [[(0, 2)], [(4, 6)], [(2, 4)], [(6, 8)]]


def test_errors_say_what_is_needed() -> None:
    message = "train: 1 rank for 0 leaves; start at most 0 or raise leaves in the recipe"
    with pytest.raises(WorldError, match=message):
        TreeReducer(World.start(), 0, 100, bucket_bytes=64)
    with pytest.raises(ShapeError, match="buckets: 0 floats"):
        TreeReducer(World.start(), 8, 0, bucket_bytes=64)
    with pytest.raises(ShapeError, match="buckets of 63 bytes"):
        TreeReducer(World.start(), 8, 10, bucket_bytes=63)
    for ranges in (
        [],
        [[]],
        [[(0, 4)]],
        [[(4, 8), (0, 4)]],
        [[(0, 5), (4, 8)]],
        [[(0, 8), (8, 8)]],
    ):
        with pytest.raises(WorldError, match="for 1 ranks and 8 leaves; needs ascending"):
            TreeReducer(World.start(), 8, 10, bucket_bytes=64, ranges=ranges)
