"""The buddy pool and its fallback."""

from __future__ import annotations

import gc
import heapq
import itertools
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from makers import digest, level_data, words

from majelpy import ops
from majelpy.errors import PoolError
from majelpy.memory import pool as memory
from majelpy.memory import system
from majelpy.memory.buddy import Buddies
from majelpy.memory.pool import Allocation, Pool

KIB = 1024


def start(allocation: Allocation) -> int:
    return int(allocation.bytes.ctypes.data)


def test_sizes_are_rounded_to_powers_of_two() -> None:
    pool = Pool(64 * KIB)
    for nbytes, block in ((0, 256), (1, 256), (256, 256), (257, 512), (5000, 8192)):
        allocation = pool.allocate(nbytes)
        assert allocation.bytes.nbytes == nbytes
        assert pool.statistics.in_use == block
        assert start(allocation) % memory.SMALLEST == 0
        del allocation
        assert pool.statistics.in_use == 0
    assert Pool(100 * KIB + 255).capacity == 100 * KIB and Pool(255).capacity == 0


def test_the_same_blocks_are_found_again() -> None:
    pool = Pool(64 * KIB)
    sizes = [300, 9000, 256, 4000, 20000]

    def step() -> list[int]:
        held = [pool.allocate(size) for size in sizes]
        return [start(a) for a in held]

    assert step() == step() == step()


def test_freed_buddies_merge() -> None:
    pool = Pool(64 * KIB)
    held = [pool.allocate(KIB) for _ in range(64)]
    assert pool.statistics.in_use == 64 * KIB == pool.statistics.peak
    assert len({start(a) for a in held}) == 64
    for position in np.argsort(words(64, 1)):  # in a random order
        held[position] = None  # type: ignore[call-overload]
    whole = pool.allocate(64 * KIB)
    assert pool.statistics.fallbacks == 0 and whole.bytes.nbytes == 64 * KIB


@pytest.mark.parametrize("seed", range(5))
def test_any_sequence_keeps_blocks_apart(seed: int) -> None:
    pool = Pool(256 * KIB)
    held: list[tuple[Allocation, int]] = []
    allocation: Allocation | None
    for i, (size, act) in enumerate(words((600, 2), seed).tolist()):
        if act % 5 < 2 and held:
            allocation, mark = held.pop(act % len(held))
            assert (allocation.bytes == mark).all(), "somebody else wrote here"
            allocation = None
        else:
            allocation = pool.allocate(size % (1 << (size >> 20) % 16))
            allocation.bytes[...] = i % 251
            held.append((allocation, i % 251))
        statistics = pool.statistics
        assert 0 <= statistics.in_use <= statistics.peak <= pool.capacity
    spans = sorted((start(a), start(a) + a.bytes.nbytes) for a, _ in held if a.bytes.nbytes)
    assert all(one[1] <= two[0] for one, two in itertools.pairwise(spans))
    assert all((a.bytes == mark).all() for a, mark in held)
    held.clear()
    allocation = None
    gc.collect()
    assert pool.statistics.in_use == pool.statistics.fallback_in_use == 0
    fallbacks = pool.statistics.fallbacks
    whole = pool.allocate(pool.capacity)
    assert pool.statistics.fallbacks == fallbacks, "freed blocks did not merge"
    del whole


def test_a_full_pool_falls_back_and_says_so_once(capsys: pytest.CaptureFixture[str]) -> None:
    pool = Pool(4 * KIB)
    first = pool.allocate(3 * KIB)
    assert capsys.readouterr().err == ""
    held = [pool.allocate(5000), pool.allocate(100)]
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "pool on cpu: 4.88 KiB asked, 0 bytes free of 4 KiB; using ordinary memory, which is "
        "slower (raise --pool-bytes)"
    ]
    statistics = pool.statistics
    assert (statistics.fallbacks, statistics.fallback_in_use) == (2, 5100)
    for allocation in held:
        allocation.bytes[...] = 1
        assert start(allocation) % memory.SMALLEST == 0
    held.clear()
    del allocation, first
    assert (statistics.fallback_in_use, statistics.fallback_peak, statistics.in_use) == (0, 5100, 0)
    again = pool.allocate(4 * KIB)
    assert statistics.fallbacks == 2 and statistics.allocations == 4
    del again


def test_the_cost_of_the_fallback_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    pool = Pool(4 * KIB, report=lines.append)
    held = [pool.allocate(3 * KIB)]
    assert pool.fallback_cost() == "" and lines == []
    held += [pool.allocate(5000), pool.allocate(100)]
    held.clear()
    assert pool.fallback_cost() == (
        "pool on cpu: 2 of 3 allocations came from ordinary memory, 4.98 KiB at a time at most; "
        "raise --pool-bytes above 4 KiB"
    )
    assert len(lines) == 1 and lines[0].startswith("pool on cpu: 4.88 KiB asked, 0 bytes free of 4")
    assert capsys.readouterr().err == "", "a pool with a report prints nothing"
    assert pool.statistics.system_allocations == 3  # the region and two pieces


def test_a_pool_of_nothing_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    pool = Pool(0)
    held = pool.allocate(1000)
    assert pool.statistics.fallback_in_use == 1000 and capsys.readouterr().err == ""
    assert pool.fallback_cost() == ""
    del held


def test_the_pool_changes_no_bit(own_pool: Pool) -> None:
    def results() -> str:
        a, b = level_data((50, 300), 1), level_data((300, 70), 2)
        lp = ops.log_softmax(ops.gemm(a, b))
        return digest(lp, *ops.ctc_loss(lp, [0, 20, 50], [[1, 2], [3]]))

    small, before = results(), own_pool.statistics.allocations
    assert before >= 4
    for nbytes in (0, 256, 1 << 14, 1 << 24):
        memory.set_pool(Pool(nbytes))
        assert results() == small


def test_errors_of_the_pool() -> None:
    with pytest.raises(PoolError, match=r"^pool: -1 bytes asked; needs 0 or more$"):
        Pool(-1)
    pool = Pool(4 * KIB)
    held = pool.allocate(600)
    with pytest.raises(
        PoolError,
        match=r"^pool on cpu: 1 EiB asked, 3 KiB free of 4 KiB \(largest block 2 KiB\), no limit; "
        r"the system has none left$",
    ) as caught:
        pool.allocate(1 << 60)
    assert isinstance(caught.value, MemoryError)
    del held


def test_threads_share_a_pool() -> None:
    pool = Pool(64 * KIB)
    wrong: list[int] = []

    def work(mark: int) -> None:
        for size, keep in words((400, 2), mark).tolist():
            held = [pool.allocate(size % 3000) for _ in range(keep % 4)]
            for allocation in held:
                allocation.bytes[...] = mark
            if not all((allocation.bytes == mark).all() for allocation in held):
                wrong.append(mark)

    team = [threading.Thread(target=work, args=(mark,)) for mark in range(1, 5)]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join()
    assert not wrong
    assert pool.statistics.in_use == pool.statistics.fallback_in_use == 0
    fallbacks = pool.statistics.fallbacks
    whole = pool.allocate(pool.capacity)
    assert pool.statistics.fallbacks == fallbacks
    del whole


def test_a_collection_within_allocate_may_free(monkeypatch: pytest.MonkeyPatch) -> None:
    # The garbage collector may run anywhere, so also free an allocation while another is cut.
    pool = Pool(4 * KIB)
    left, right = pool.allocate(KIB), [pool.allocate(KIB)]
    del left
    pop = heapq.heappop

    def pop_and_collect(heap: list[int]) -> int:
        found = pop(heap)
        right.clear()
        return found

    monkeypatch.setattr(heapq, "heappop", pop_and_collect)
    again = pool.allocate(KIB)
    monkeypatch.undo()
    assert pool.statistics.in_use == KIB
    del again
    whole = pool.allocate(4 * KIB)
    assert pool.statistics.fallbacks == 0
    del whole


def test_the_lowest_block_of_a_size_is_taken() -> None:
    blocks = Buddies(64 * KIB, 256)
    taken = [blocks.take(256) for _ in range(64)]
    assert taken == list(range(0, 64 * 256, 256))
    for offset in (40 * 256, 2 * 256, 21 * 256):  # none is a buddy of another
        blocks.put_back(256, offset)
    assert [blocks.take(256) for _ in range(4)] == [512, 21 * 256, 40 * 256, 64 * 256]
    # A block that went up into a larger one and was cut off again is found once.
    for offset in (0, 256, 512, 768):
        blocks.put_back(256, offset)
    assert blocks.take(1024) == 0
    blocks.put_back(1024, 0)
    rest_of_a_larger_one = [65 * 256, 66 * 256, 67 * 256]
    assert [blocks.take(256) for _ in range(7)] == [*rest_of_a_larger_one, 0, 256, 512, 768]


@pytest.mark.parametrize("advice", ["granted", "refused", "unknown"])
def test_the_region_lies_on_a_huge_page_and_costs_what_is_touched(
    advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    if advice == "refused":
        monkeypatch.setattr(system.mmap, "MADV_HUGEPAGE", 9999)
    elif advice == "unknown":
        monkeypatch.delattr(system.mmap, "MADV_HUGEPAGE")
    before = resident()
    pool = Pool(1 << 30)
    held = pool.allocate(KIB)
    held.bytes[...] = 1
    assert held.pointer % system.HUGE_PAGE == 0
    assert resident() - before < 16 << 20
    del held
    again = pool.allocate(1 << 30)
    assert pool.statistics.fallbacks == 0 and again.pointer % system.HUGE_PAGE == 0
