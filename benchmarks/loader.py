"""How long training waits for its minibatches, with all augmentation on.

    python benchmarks/loader.py [--minibatches N] [--batch N] [--step S ...] [--json FILE]

Makes a corpus of samples at 16 kHz and one of noise, and reads minibatches of it as training does.
First how long a minibatch takes one reader, from the file and from memory. Then the share of the
time that is spent waiting, for steps of some seconds and some numbers of readers. The steps sleep,
as those of a GPU do for the host: on a CPU readers and kernels share the cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from majelpy.data.augment import Augmentation
from majelpy.data.loader import ReadAhead
from majelpy.data.minibatches import minibatches
from majelpy.data.utterances import Utterances
from majelpy.memory.pool import Pool, set_pool
from majelpy.native import isa
from majelpy.recipes.tables import Augment
from majelpy.speech.corpus_writer import CorpusWriter
from majelpy.speech.joined import Joined, open_corpora
from majelpy.speech.text import Alphabet

RATE = 16000
KINDS = {
    "no augmentation": Augment(),
    "speed": Augment(speeds=(0.9, 1.0, 1.1)),
    "noise": Augment(noise="noise.h5", noise_share=1.0),
    "masks": Augment(frequency_masks=2, time_masks=2),
    "all": Augment(
        noise="noise.h5", noise_share=1.0, gain_decibels=(-10.0, 10.0), speeds=(0.9, 1.0, 1.1),
        frequency_masks=2, time_masks=2,
    ),
}  # fmt: skip


def write(path: Path, kind: str, count: int, seconds: tuple[float, float]) -> Joined:
    """Write recordings of noise of some seconds each, and open them."""
    random = np.random.default_rng(0)
    with CorpusWriter(path, features=161, rate=RATE, window=320, hop=160, kind=kind) as writer:
        for i in range(count):
            size = int(random.uniform(*seconds) * RATE)
            samples = random.integers(-5000, 5000, size).astype(np.int16)
            writer.append(samples, "a" if kind == "samples" else "", str(i))
        writer.finish(np.zeros(161, np.float32), np.ones(161, np.float32))
    return open_corpora(str(path), noise=kind == "noise")


class Reader:
    """Minibatches of a corpus under some augmentation."""

    def __init__(
        self, corpus: Joined, noise: Joined, settings: Augment, batch: int, cache_bytes: int
    ) -> None:
        changes = Augmentation(settings, 1, corpus, noise if settings.noise else None)
        self.data = Utterances(
            corpus, np.arange(len(corpus)), Alphabet.from_characters("a"), "error",
            corpus.mean, corpus.scale, cache_bytes, changes,
        )  # fmt: skip
        self._batch = batch
        self._per_epoch = -(-len(corpus) // batch)

    def read(self, step: int) -> int:
        """Return the frames of the minibatch of a step."""
        epoch, at = divmod(step, self._per_epoch)
        members = minibatches(self.data.lengths, self._batch, 4, seed=1, epoch=epoch)[at]
        found = self.data.batch([members], np.zeros(1, np.int32), epoch)
        return int(found.offsets[-1])

    def seconds(self, steps: range) -> list[float]:
        """Return how long each minibatch takes, one after another."""
        taken = []
        for step in steps:
            start = time.perf_counter()
            self.read(step)
            taken.append(time.perf_counter() - start)
        return taken

    def waiting(self, step_seconds: float, ahead: int, steps: int) -> float:
        """Return the share of the time that steps of that length wait."""
        loader = ReadAhead(lambda step: lambda: self.read(step), ahead)
        loader.take(0, steps + 1)  # none is ready before the first step
        waited, start = 0.0, time.perf_counter()
        time.sleep(step_seconds)
        for step in range(1, steps + 1):
            loader.take(step, steps + 1)
            waited += loader.waited_seconds
            time.sleep(step_seconds)
        whole = time.perf_counter() - start
        loader.close()
        return waited / whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minibatches", type=int, default=12)
    parser.add_argument("--batch", type=int, default=16, help="utterances of 3 to 15 s")
    parser.add_argument("--step", type=float, nargs="+", default=[0.05, 0.1, 0.2])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    set_pool(Pool())
    found: dict[str, object] = {"cores": os.cpu_count(), "isa": isa()}
    with tempfile.TemporaryDirectory() as folder:
        corpus = write(Path(folder, "c.h5"), "samples", 12 * options.batch, (3, 15))
        noise = write(Path(folder, "n.h5"), "noise", 20, (2, 30))
        each: dict[str, dict[str, float]] = {}
        print(f"seconds a minibatch of {options.batch} utterances of 3 to 15 s, one reader")
        for name, settings in KINDS.items():
            cold = Reader(corpus, noise, settings, options.batch, 0)
            warm = Reader(corpus, noise, settings, options.batch, 1 << 30)
            warm.seconds(range(12))  # an epoch fills the cache
            each[name] = {
                "from the file": statistics.median(cold.seconds(range(options.minibatches))),
                "from memory": statistics.median(warm.seconds(range(12, 12 + options.minibatches))),
            }
            print(f"  {name:16}", *(f"{k} {v:.4f}" for k, v in each[name].items()), sep="  ")
        found["seconds"] = each
        print("share of time spent waiting, all augmentation, from the file")
        shares: dict[str, float] = {}
        for seconds in options.step:
            for ahead in (0, 1, 2, 4):
                cold = Reader(corpus, noise, KINDS["all"], options.batch, 0)
                share = cold.waiting(seconds, ahead, options.minibatches)
                shares[f"{seconds:g} s, {ahead} ahead"] = round(share, 4)
                print(f"  steps of {seconds:5.2f} s  {ahead} read ahead  {share:6.1%}")
        found["waiting"] = shares
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
