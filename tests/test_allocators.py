"""What every allocator promises: one suite for the system, the pool, a limit, poison, and a GPU."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable

import pytest
from makers import words

from majelpy.array.memory import POISON, SMALLEST, Allocation, Pool
from majelpy.array.place import CPU, Place
from majelpy.errors import PoolError

KIB = 1024


def gpu(nbytes: int) -> Pool:
    pytest.importorskip("cupy")
    try:
        return Pool(nbytes, Place("gpu", 0))
    except PoolError as error:
        pytest.skip(str(error))


MAKERS = {
    "system": lambda: Pool(0),
    "pool": lambda: Pool(256 * KIB),
    "small pool": lambda: Pool(4 * KIB),
    "limit": lambda: Pool(256 * KIB, limit=1 << 20),
    "poison": lambda: Pool(256 * KIB, poison=True),
    "gpu": lambda: gpu(256 * KIB),
    "gpu, pinned": lambda: gpu(0),
}


@pytest.fixture(
    params=[
        pytest.param(make, id=name, marks=[pytest.mark.gpu] if "gpu" in name else [])
        for name, make in MAKERS.items()
    ]
)
def pool(request: pytest.FixtureRequest) -> Pool:
    make: Callable[[], Pool] = request.param
    return make()


def test_allocations_are_aligned_and_apart(pool: Pool) -> None:
    held: list[Allocation] = []
    for size in words(60, 3).tolist():
        held.append(pool.allocate(size % 3000))
        if size % 3 == 0:
            held.pop(size % len(held))
    spans = sorted((a.pointer, a.pointer + a.nbytes) for a in held if a.nbytes)
    assert all(start % SMALLEST == 0 for start, _ in spans)
    assert all(one[1] <= two[0] for one, two in itertools.pairwise(spans))


def test_counters_come_back_to_nothing(pool: Pool) -> None:
    held = [pool.allocate(size % 5000) for size in words(40, 5).tolist()]
    stats = pool.statistics
    assert stats.allocations == 40
    assert stats.in_use + stats.fallback_in_use >= sum(a.nbytes for a in held)
    assert pool.leaks().startswith(f"pool on {pool.place}: 40 allocations are still held, ")
    del held
    gc.collect()
    assert stats.in_use == stats.fallback_in_use == 0 and pool.leaks() == ""
    assert pool.free == pool.largest_free == pool.capacity and pool.fragmentation == 0
    assert stats.peak + stats.fallback_peak > 0


def test_a_step_finds_the_memory_of_the_step_before(pool: Pool) -> None:
    def step() -> list[int]:
        held = [pool.allocate(size) for size in (100, 900, 256)]
        return [a.pointer for a in held]

    if pool.capacity >= 4 * KIB:
        assert step() == step()
        assert pool.statistics.fallbacks == 0


def test_zero_bytes_are_an_allocation(pool: Pool) -> None:
    held = pool.allocate(0)
    assert held.nbytes == 0 and pool.leaks() != ""
    del held
    assert pool.leaks() == ""


def test_impossible_requests_change_nothing(pool: Pool) -> None:
    before = pool.allocate(10)
    for nbytes in (-1, 1 << 60):
        with pytest.raises(PoolError, match=rf"^pool on {pool.place}: {nbytes} bytes asked") as e:
            pool.allocate(nbytes)
        assert isinstance(e.value, MemoryError)
    del before
    assert pool.leaks() == "" and pool.statistics.allocations == 1


def test_fragmentation_is_what_lies_outside_the_largest_block() -> None:
    pool = Pool(64 * KIB)
    held = [pool.allocate(16 * KIB) for _ in range(4)]
    assert (pool.free, pool.largest_free, pool.fragmentation) == (0, 0, 0)
    held[0] = held[2] = None  # type: ignore[call-overload]
    assert (pool.free, pool.largest_free, pool.fragmentation) == (32 * KIB, 16 * KIB, 0.5)


def test_the_limit_counts_pool_and_fallback() -> None:
    pool = Pool(4 * KIB, limit=8 * KIB)
    held = [pool.allocate(4 * KIB), pool.allocate(3 * KIB)]
    with pytest.raises(
        PoolError,
        match=r"^pool on cpu: 2000 bytes asked, 0 free of 4096 \(largest block 0\), 7168 in use "
        r"with a limit of 8192$",
    ):
        pool.allocate(2000)
    held.pop(0)
    held.append(pool.allocate(2000))
    assert pool.statistics.fallbacks == 1


def test_poison_fills_new_memory_and_old() -> None:
    pool = Pool(4 * KIB, poison=True)
    held = pool.allocate(1000)
    seen = held.bytes
    assert (seen == POISON).all()
    seen[...] = 1
    del held
    assert (seen == POISON).all()
    outside = pool.allocate(5000)
    assert (outside.bytes == POISON).all()


def test_a_region_that_cannot_be_had() -> None:
    pool = Pool(1 << 60)
    for _ in range(2):
        with pytest.raises(
            PoolError, match=r"^pool on cpu: the region of \d+ bytes cannot be had .*lower --pool-"
        ):
            pool.allocate(1)
    assert pool.free == pool.largest_free == pool.capacity


def test_places_have_pools_of_their_own() -> None:
    assert Pool().place == CPU and str(Place("gpu", 1)) == "gpu:1"
