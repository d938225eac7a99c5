"""What every allocator promises: one suite for the system, the pool, a limit, poison, and a GPU."""

from __future__ import annotations

import gc
import itertools
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import needs
import pytest
from makers import words

from majelpy.errors import PoolError
from majelpy.memory.place import CPU, Place
from majelpy.memory.pool import POISON, SMALLEST, Allocation, Pool
from majelpy.memory.system import CpuSystem, Piece, cupy_allocator

KIB = 1024


class Streams(CpuSystem):
    """A place with streams: ``now`` is the current one, ``log`` what was asked for.

    Each stream has a clock of what it surely comes after: its own work and that of the streams it
    waited for.
    """

    def __init__(self, now: str | None = None) -> None:
        self.now, self.log = now, list[str]()
        self.clocks: dict[str | None, Counter[str | None]] = defaultdict(Counter)

    def work(self) -> int:
        """Give work to the current stream and return its time there."""
        self.clocks[self.now][self.now] += 1
        return self.clocks[self.now][self.now]

    def stream(self) -> Any:
        return self.now

    def wait(self, later: Any, earlier: Any) -> None:
        self.log.append(f"{later} waits for {earlier}")
        self.clocks[later] |= self.clocks[earlier]

    def fill(self, piece: Piece, nbytes: int, value: int) -> None:
        self.log.append("fill at home")
        super().fill(piece, nbytes, value)

    def finish(self) -> None:
        self.log.append("finish")


def gpu(nbytes: int) -> Pool:
    needs.module("gpu", "cupy")
    try:
        return Pool(nbytes, Place("gpu", 0))
    except PoolError as error:
        needs.lacking("gpu", str(error))


MAKERS = {
    "system": lambda: Pool(0),
    "pool": lambda: Pool(256 * KIB),
    "small pool": lambda: Pool(4 * KIB),
    "limit": lambda: Pool(256 * KIB, limit=1 << 20),
    "poison": lambda: Pool(256 * KIB, poison=True),
    "other streams": lambda: Pool(256 * KIB, system=Streams("a")),
    "other streams, full": lambda: Pool(0, system=Streams("a")),
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
    assert pool.leaks().startswith(f"pool on {pool.place}: 40 allocations still held, ")
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
    for nbytes, said in ((-1, "-1 bytes"), (1 << 60, "1 EiB")):
        with pytest.raises(PoolError, match=rf"^pool on {pool.place}: {said} asked") as e:
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
        match=r"^pool on cpu: 1.95 KiB asked, 0 bytes free of 4 KiB \(largest block 0 bytes\), "
        r"limit 8 KiB; 7 KiB in use and 1.95 KiB more would pass the limit$",
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
            PoolError,
            match=r"^pool on cpu: 1 byte asked, 1 EiB free of 1 EiB \(largest block 1 EiB\), no "
            r"limit; the region of 1 EiB cannot be had \(Cannot allocate memory\); lower "
            r"--pool-bytes$",
        ):
            pool.allocate(1)
    assert pool.free == pool.largest_free == pool.capacity


class Nothing(CpuSystem):
    """A system that has no memory left."""

    def region(self, nbytes: int) -> Piece:
        raise MemoryError("no region")

    def fallback(self, nbytes: int) -> Piece:
        raise MemoryError("no piece")


def test_each_refusal_says_asked_free_limit_and_largest_block() -> None:
    head = r"^pool on cpu: 300 bytes asked, {} free of {} \(largest block {}\), {}; {}$"
    full = Pool(1 * KIB, system=Nothing())
    full._system = CpuSystem()  # gives the region
    held = full.allocate(700)
    full._system = Nothing()
    cases = {
        (*["4 KiB"] * 3, "no limit", r"the region of 4 KiB cannot .* \(no region\); lower --p.*"):
            Pool(4 * KIB, system=Nothing()),
        (*["0 bytes"] * 3, "no limit", "the system has none left"): Pool(0, system=Nothing()),
        ("0 bytes", "1 KiB", "0 bytes", "no limit", "the system has none left"): full,
        (*["4 KiB"] * 3, "limit 500 bytes", "0 bytes in use and 512 bytes more would pass the .*"):
            Pool(4 * KIB, limit=500),
        (*["0 bytes"] * 3, "limit 200 bytes", "0 bytes in use and 300 bytes more would pass .*"):
            Pool(0, limit=200),
    }  # fmt: skip
    for words_of, refusing in cases.items():
        before = refusing.statistics.allocations
        for _ in range(2):
            with pytest.raises(PoolError, match=head.format(*words_of)):
                refusing.allocate(300)
        assert refusing.statistics.allocations == before
    del held
    assert full.leaks() == ""


def test_work_at_home_waits_for_nothing() -> None:
    streams = Streams()
    pool = Pool(4 * KIB, system=streams)
    held = pool.allocate(100)
    held.record_use()
    del held
    assert streams.log == []


def test_blocks_go_between_streams_by_way_of_home() -> None:
    streams = Streams("a")
    pool = Pool(4 * KIB, system=streams, poison=True)
    held = pool.allocate(100)
    assert streams.log == ["fill at home", "a waits for None"]
    streams.now = "b"
    held.record_use()
    streams.log.clear()
    del held
    assert streams.log == ["None waits for a", "None waits for b", "fill at home"]


def test_a_piece_of_the_fallback_goes_when_all_work_is_done() -> None:
    streams = Streams("a")
    pool = Pool(0, system=streams)
    held = pool.allocate(100)
    streams.log.clear()
    del held
    assert streams.log == ["finish"]


@pytest.mark.parametrize("seed", range(4))
def test_no_stream_writes_what_another_may_still_use(seed: int) -> None:
    streams = Streams()
    pool = Pool(8 * KIB, system=streams)
    users: dict[int, dict[str | None, int]] = defaultdict(dict)  # of 256 bytes: stream and time
    held: list[Allocation] = []
    reused_elsewhere = 0

    def use(allocation: Allocation) -> None:
        time = streams.work()
        for at in range(allocation.pointer, allocation.pointer + allocation.nbytes, SMALLEST):
            users[at][streams.now] = time

    for size, act, which in words((400, 3), seed).tolist():
        streams.now = (None, "a", "b", "c")[which % 4]
        if act % 3 == 0 and held:
            held.pop(act % len(held))
        elif act % 3 == 1 and held:
            held[act % len(held)].record_use()
            use(held[act % len(held)])
        elif pool.largest_free > 0:
            size = 1 + size % pool.largest_free
            new = pool.allocate(size)
            clock = streams.clocks[streams.now]
            for at in range(new.pointer, new.pointer + size, SMALLEST):
                for stream, time in users.pop(at, {}).items():
                    assert clock[stream] >= time, f"{streams.now} may run before {stream}"
                    reused_elsewhere += stream != streams.now
            use(new)
            held.append(new)
            del new
    assert pool.statistics.fallbacks == 0 and reused_elsewhere > 50


def test_cupy_takes_its_memory_from_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    current = 0
    cuda = SimpleNamespace(
        runtime=SimpleNamespace(getDevice=lambda: current),
        UnownedMemory=lambda pointer, size, owner, device: (pointer, size, owner, device),
        MemoryPointer=lambda memory, offset: memory,
    )
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))
    streams = Streams("a")
    pool = Pool(4 * KIB, Place("gpu", 0), system=streams)
    allocate = cupy_allocator(pool)
    memory = allocate(1000)
    assert memory[1] == 1000 and memory[3] == 0 and memory[0] == memory[2].pointer
    assert pool.statistics.in_use == 1024
    streams.now = "b"
    del memory
    assert pool.leaks() == "" and streams.log == ["a waits for None", "None waits for a"]
    current = 1
    with pytest.raises(PoolError, match=r"^pool on gpu:0: 10 bytes asked with gpu:1 current; "):
        allocate(10)


def test_a_gpu_asks_cuda_for_the_right_things(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(log))
    pool = Pool(4 * KIB, Place("gpu", 0), poison=True)
    cuda = sys.modules["cupy"].cuda
    held = pool.allocate(100)
    assert log == ["malloc 4096", "memset 255 100 on 0"]
    outside = pool.allocate(8 * KIB)
    assert log[2:] == ["pinned 8192 flags 3", "memset 255 8192 on 0"]
    log.clear()
    del outside
    assert log == ["synchronize", "free pinned"]
    log.clear()
    del held
    cuda.current = cuda.Stream(7)
    held = pool.allocate(100)
    assert log[1:] == ["memset 255 100 on 0", "record 0", "7 waits for 0"]
    log.clear()
    cuda.current = cuda.Stream.null
    del held
    assert log == ["record 7", "0 waits for 7", "memset 255 100 on 0"]


@pytest.mark.gpu
def test_cupy_calculates_on_two_streams() -> None:
    pool = gpu(32 << 20)
    cupy = needs.module("cupy")
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
    kept: list[Any] = []
    with cupy.cuda.using_allocator(cupy_allocator(pool)):
        for turn in range(60):
            with streams[turn % 2]:
                x = cupy.arange(1 << 18, dtype=cupy.int64)
                for _ in range(4):  # each leaves memory behind that the other stream may get
                    x = x + turn
                kept = [*kept[-1:], (turn, x)]
                del x
                for held, array in kept:
                    if held % 2 == turn % 2:
                        assert int(array.sum()) == (1 << 18) * ((1 << 18) - 1) // 2 + 4 * held * (
                            1 << 18
                        )
    for stream in streams:
        stream.synchronize()
    kept.clear()
    array = None
    assert pool.leaks() == "" and pool.statistics.fallbacks == 0


def fake_cupy(log: list[str]) -> Any:
    """The part of CuPy that a pool uses, over host memory that nobody writes."""

    class Device:
        def __init__(self, number: int) -> None:
            assert number == 0

        def use(self) -> None:
            """Make it the thread's."""

    class Stream:
        null: Stream

        def __init__(self, ptr: int) -> None:
            self.ptr = ptr

        def wait_event(self, event: Event) -> None:
            log.append(f"{self.ptr} waits for {event.stream.ptr}")

    class Event:
        stream: Stream

        def __init__(self, disable_timing: bool) -> None:
            assert disable_timing

        def record(self, stream: Stream) -> None:
            self.stream = stream
            log.append(f"record {stream.ptr}")

    class Pinned:
        ptr = 1 << 32

        def __init__(self, nbytes: int, flags: int) -> None:
            log.append(f"pinned {nbytes} flags {flags}")

        def __del__(self) -> None:
            log.append("free pinned")

    def take(nbytes: int) -> Any:
        log.append(f"malloc {nbytes}")
        return SimpleNamespace(ptr=1 << 20)

    class RuntimeFailed(RuntimeError):
        pass

    Stream.null = Stream(0)
    runtime = SimpleNamespace(
        CUDARuntimeError=RuntimeFailed,
        hostAllocMapped=2,
        hostAllocPortable=1,
        getDeviceCount=lambda: 1,
        deviceSynchronize=lambda: log.append("synchronize"),
        memsetAsync=lambda p, v, n, stream: log.append(f"memset {v} {n} on {stream}"),
    )
    cuda = SimpleNamespace(
        runtime=runtime, Device=Device, Stream=Stream, Event=Event, PinnedMemory=Pinned,
        memory=SimpleNamespace(Memory=take, OutOfMemoryError=RuntimeFailed),
        current=Stream.null,
    )  # fmt: skip
    cuda.get_current_stream = lambda number: cuda.current
    return SimpleNamespace(cuda=cuda)


def test_places_have_pools_of_their_own() -> None:
    assert Pool().place == CPU and str(Place("gpu", 1)) == "gpu:1"
