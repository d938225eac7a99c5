"""Reading ahead: who reads what when, what errors become of, and how much memory it takes."""

from __future__ import annotations

import threading
import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from majelpy.array import Array, empty
from majelpy.data import loader as loading
from majelpy.data.augment import Augmentation
from majelpy.data.loader import ReadAhead
from majelpy.data.minibatches import minibatches
from majelpy.data.utterances import Utterances
from majelpy.memory.pool import Pool, set_pool
from majelpy.recipes.tables import Augment
from majelpy.speech.corpus_writer import CorpusWriter
from majelpy.speech.joined import open_corpora
from majelpy.speech.text import Alphabet


class Reading:
    """Notes which thread begins and reads what."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.readers: dict[int, threading.Thread] = {}

    def begin(self, step: int) -> Callable[[], int]:
        assert threading.current_thread() is threading.main_thread()
        self.begun.append(step)

        def read() -> int:
            self.readers[step] = threading.current_thread()
            if step == 5:
                raise ValueError("step 5")
            return 10 * step

        return read


@pytest.mark.parametrize("ahead", [0, 1, 2, 7])
def test_each_step_is_read_once_and_no_further_than_asked(ahead: int) -> None:
    reading = Reading()
    loader = ReadAhead(reading.begin, ahead)
    for step in range(2, 5):
        assert loader.take(step, 8) == 10 * step
        assert reading.begun == list(range(2, min(step + 1 + ahead, 8)))
    with pytest.raises(ValueError, match="step 5"):
        loader.take(5, 8)
    loader.close()
    main = threading.main_thread()
    assert reading.readers[2] is main
    assert all((reading.readers[step] is main) == (ahead == 0) for step in (3, 4, 5))


class Clock:
    """Stands still but for readings, which take 3 seconds."""

    def __init__(self) -> None:
        self.now, self.seen = 0.0, threading.Event()

    def __call__(self) -> float:
        now = self.now
        self.seen.set()
        return now

    def begin(self, step: int) -> Callable[[], None]:
        self.seen.clear()

        def read() -> None:
            if step == 2:
                assert self.seen.wait(60)
            self.now += 3.0

        return read


def test_what_is_waited_for_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(loading, "time", SimpleNamespace(perf_counter=clock))
    loader = ReadAhead(clock.begin, 1)
    loader.take(0, 9)
    assert loader.waited_seconds == 3, "read by itself"
    loader._coming[1][1].result()
    loader.take(1, 9)
    assert loader.waited_seconds == 0, "read before"
    loader.take(2, 3)
    assert loader.waited_seconds == 3, "read when it was waited for"
    loader.close()


def test_readers_read_at_the_same_time() -> None:
    """Four readings that wait for one another."""
    together = threading.Barrier(4)

    def begin(step: int) -> Callable[[], int]:
        return (lambda: together.wait(20)) if step else (lambda: 9)

    loader = ReadAhead(begin, 4)
    loader.take(0, 5)
    assert sorted(loader.take(step, 5) for step in range(1, 5)) == [0, 1, 2, 3]
    loader.close()


KIB = 256  # numbers of 4 bytes


def test_readers_take_nothing_of_the_pool(own_pool: Pool) -> None:
    """Four that hold 8 KiB each at the same time, besides what was made for them."""
    together = threading.Barrier(4)

    def begin(step: int) -> Callable[[], Array]:
        room = empty(KIB)

        def read() -> Array:
            held = empty(8 * KIB)
            if step:
                together.wait(60)
            del held
            return room

        return read

    loader = ReadAhead(begin, 4)
    first = loader.take(0, 5)
    rest = [loader.take(step, 5) for step in range(1, 5)]
    loader.close()
    assert own_pool.statistics.in_use == own_pool.statistics.peak == 5 * 1024
    assert loader.pool.statistics.peak == 4 * 8 * 1024 and loader.pool.statistics.in_use == 0
    del first, rest
    assert own_pool.statistics.in_use == 0
    assert empty(KIB).numpy().nbytes == 1024 and loader.pool.statistics.allocations == 5


def test_what_is_taken_is_nobody_elses() -> None:
    """However long a reader takes to come back, it holds neither result nor function."""
    functions = []

    def begin(step: int) -> Callable[[], np.ndarray]:
        read = lambda: np.zeros(4)  # noqa: E731
        functions.append(weakref.ref(read))
        return read

    loader = ReadAhead(begin, 3)
    for step in range(500):
        found = loader.take(step, 500)
        held = weakref.ref(found)
        del found
        assert held() is None and functions[step]() is None, step
    loader.close()


def large(path: Path, kind: str) -> Path:
    """Write a corpus of 24 MB: utterances of 2 s, or of features of that size."""
    random = np.random.default_rng(0)
    with CorpusWriter(path, features=161, rate=16000, window=320, hop=160, kind=kind) as writer:
        for i in range(375):
            if kind == "samples":
                content = random.integers(-9000, 9000, 32_000).astype(np.int16)
            else:
                content = random.integers(-9, 9, (100, 161)).astype(np.float32)
            writer.append(content, "a", str(i))
        writer.finish(np.zeros(161, np.float32), np.ones(161, np.float32))
    assert path.stat().st_size > 23e6
    return path


class Passes:
    """Reads a corpus in minibatches of 8, four ahead, and counts the bytes held meanwhile."""

    def __init__(self, path: Path, cache_bytes: int) -> None:
        self.corpus = open_corpora(str(path))
        sound = self.corpus.kind == "samples"
        changes = {"speeds": (0.9, 1.1), "gain_decibels": (-3.0, 3.0)} if sound else {}
        self.data = Utterances(
            *(self.corpus, np.arange(len(self.corpus)), Alphabet.from_characters("a"), "error"),
            *(self.corpus.mean, self.corpus.scale, cache_bytes),
            Augmentation(Augment(**changes or {"time_masks": 1}), 1, self.corpus),
        )
        self.batches = minibatches(self.data.lengths, 8, 4, seed=1, epoch=0)
        self.loader = ReadAhead(self.begin, 4)

    def begin(self, step: int) -> Callable[[], Array]:
        batch = [self.batches[step]]
        room = empty((int(self.data.lengths_in(0, batch[0]).sum()), self.data.features))
        return lambda: self.data.batch(batch, np.zeros(1, np.int32), 0, room).frames

    def peaks(self, pool: Pool) -> tuple[int, int, int]:
        """Bytes of NumPy, of readers and of the pool, at most; once through the corpus."""
        self.loader.take(0, 1)
        tracemalloc.start()
        for step in range(1, len(self.batches)):
            self.loader.take(step, len(self.batches))
        numpy = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        self.loader.close()
        return numpy, self.loader.pool.statistics.asked_peak, pool.statistics.asked_peak


@pytest.mark.parametrize("kind", ["features", "samples"])
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path, own_pool: Pool, kind: str) -> None:
    """Without a cache at most five minibatches are there, and an utterance for each reader."""
    path = large(tmp_path / "c.h5", kind)
    features = 4 * 161
    frames, samples = (221, 35_556) if kind == "samples" else (100, 0)  # the slowest have
    large_enough = Pool(16 << 20)  # what goes beyond is NumPy's
    set_pool(large_enough)
    alone, readers, pool = Passes(path, 0).peaks(large_enough)
    assert pool <= 5 * 8 * frames * features
    # Sound as it is, slower and louder; then its features, and these normalised.
    assert 0 < readers <= 4 * (4 * (32_000 + 2 * samples) * bool(samples) + 2 * frames * features)
    assert alone < 4 << 20, "pieces of the file, and Python's own"
    kept, _, _ = Passes(path, 1 << 30).peaks(large_enough)
    assert kept > 20e6
