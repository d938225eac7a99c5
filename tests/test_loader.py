"""Reading ahead: who reads what when, what errors become of, and how much memory it takes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from majelpy.data.loader import ReadAhead
from majelpy.speech.corpus_writer import CorpusWriter


class Reading:
    """Notes which thread begins and reads what."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.begun: list[int] = []
        self.readers: dict[int, threading.Thread] = {}
        self.seconds = seconds

    def begin(self, step: int) -> Callable[[], int]:
        assert threading.current_thread() is threading.main_thread()
        self.begun.append(step)

        def read() -> int:
            self.readers[step] = threading.current_thread()
            time.sleep(self.seconds)
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


def test_what_is_waited_for_is_told() -> None:
    loader = ReadAhead(Reading(0.2).begin, 1)
    loader.take(0, 9)
    assert loader.waited_seconds >= 0.2
    time.sleep(0.4)
    loader.take(1, 9)
    assert loader.waited_seconds < 0.1
    loader.take(2, 9)
    assert loader.waited_seconds > 0.1
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


_PASS = """
import os, sys
import numpy as np
from majelpy.speech.joined import open_corpora
from majelpy.data.minibatches import minibatches
from majelpy.speech.text import Alphabet
from majelpy.data.augment import Augmentation
from majelpy.data.utterances import Utterances
from majelpy.data.loader import ReadAhead
from majelpy.recipes.recipe import Augment

corpus = open_corpora(sys.argv[1])
changes = Augmentation(
    Augment(speeds=(0.9, 1.1), gain_decibels=(-3.0, 3.0)) if corpus.kind == "samples" else
    Augment(time_masks=1), 1, corpus)
data = Utterances(corpus, np.arange(len(corpus)), Alphabet.from_characters("a"), "error",
                  corpus.mean, corpus.scale, int(sys.argv[2]), changes)
batches = minibatches(data.lengths, 8, 4, seed=1, epoch=0)
loader = ReadAhead(
    lambda step: lambda: data.batch([batches[step]], np.zeros(1, np.int32), 0).offsets[-1], 4)

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

frames, most = int(loader.take(0, 1)), 0
start = resident()
for step in range(1, len(batches)):
    frames += int(loader.take(step, len(batches)))
    most = max(most, resident())
print(most - start)
"""


def large(path: Path, kind: str) -> Path:
    """Write a corpus of 48 MB: utterances of 2 s, or of features of that size."""
    random = np.random.default_rng(0)
    with CorpusWriter(path, features=161, rate=16000, window=320, hop=160, kind=kind) as writer:
        for i in range(750):
            if kind == "samples":
                content = random.integers(-9000, 9000, 32_000).astype(np.int16)
            else:
                content = random.integers(-9, 9, (100, 161)).astype(np.float32)
            writer.append(content, "a", str(i))
        writer.finish(np.zeros(161, np.float32), np.ones(161, np.float32))
    assert path.stat().st_size > 47e6
    return path


@pytest.mark.parametrize("kind", ["features", "samples"])
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path, kind: str) -> None:
    """An epoch takes less than 20 MB without a cache; with one it holds the corpus."""
    path = large(tmp_path / "c.h5", kind)
    grown = []  # of 8 utterances each, five minibatches are there at a time
    for cache_bytes in (0, 1 << 30):
        ended = subprocess.run(
            [sys.executable, "-c", _PASS, str(path), str(cache_bytes)],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        grown.append(int(ended.stdout))
    assert grown[0] < 20e6
    assert grown[1] > 40e6
