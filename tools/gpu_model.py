"""A model of Deep Speech steps on a GPU, from the machine code of the kernels.

    python tools/gpu_model.py [--utterances 32] [--frames 600]

Nothing here is measured. The model is written down so that a measurement can prove it wrong:

- a product or a convolution takes what `majelpy.gpu.gemm.cost` says: whole rounds of tiles, at the
  share of the peak that the inner loop's instructions allow (tools/gpu_machine_code.py), slower
  while a multiprocessor has fewer than 8 warps;
- a recurrent layer takes `Shape.cycles` (majelpy/gpu/rnn_shape.py) a step where one launch runs all
  steps, else a step's products by chunks and 3 launches;
- anything else moves its bytes at 85% of the memory's peak;
- a launch costs 3 microseconds;
- copies to the host, other ranks and the reading of data are hidden.

Deep Speech 1 (Hannun et al. 2014): 3 dense layers of 2048 over 19 frames of 161 features, a
bidirectional layer, a dense layer. Deep Speech 2 (Amodei et al. 2016): 2 convolutions of 32
channels, 7 bidirectional layers of 1760 with batch normalisation. Both over 29 symbols.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from majelpy.gpu import gemm
from majelpy.gpu.launcher import ceil_div
from majelpy.gpu.leaves import CHUNK
from majelpy.gpu.rnn_shape import persistent_shape

LAUNCH, BANDWIDTH = 3e-6, 0.85
FEATURES, SYMBOLS = 161, 29


@dataclass(frozen=True)
class Gpu:
    """A GPU: multiprocessors, multiply-adds of each a cycle, clock in Hz, bytes a second of its
    memory, shared memory of a block.
    """

    name: str
    multiprocessors: int
    lanes: int
    clock: float
    bandwidth: float
    shared_bytes: int

    @property
    def peak(self) -> float:
        """Multiply-adds a second."""
        return self.multiprocessors * self.lanes * self.clock

    def seconds(self, work: float) -> float:
        """Seconds of so many multiply-adds of a multiprocessor."""
        return work / self.lanes / self.clock


GPUS = (
    Gpu("A100 (sm_80)", 108, 64, 1.41e9, 2.0e12, 163 << 10),
    Gpu("H200 (sm_90)", 132, 128, 1.98e9, 4.8e12, 227 << 10),
    Gpu("B200 (sm_100)", 148, 128, 1.965e9, 8.0e12, 227 << 10),
)


@dataclass(frozen=True)
class Part:
    """A part of a step: seconds, multiply-adds, and what it is."""

    name: str
    seconds: float
    work: float


@dataclass(frozen=True)
class Model:
    """A GPU, and a minibatch of utterances of equal length."""

    gpu: Gpu
    utterances: int
    frames: int

    @property
    def rows(self) -> int:
        return self.utterances * self.frames

    def product(self, name: str, m: int, n: int, k: int) -> Part:
        """C (m, n) over k terms."""
        chunks = ceil_div(k, CHUNK)
        sizes = (self.gpu.multiprocessors, self.gpu.shared_bytes, m, n, k, chunks)
        cost = gemm.cost(gemm.choose(*sizes, gemm.WAYS), *sizes)
        return Part(name, self.gpu.seconds(cost) + LAUNCH, m * n * k)

    def moving(self, name: str, numbers: float) -> Part:
        """A kernel that reads and writes so many numbers."""
        return Part(name, 4 * numbers / (BANDWIDTH * self.gpu.bandwidth) + LAUNCH, 0)

    def dense(self, name: str, inputs: int, outputs: int, *, first: bool = False) -> Iterator[Part]:
        """A layer: forward, the weight's gradient, the input's unless it is the first."""
        rows = self.rows
        yield self.product(f"{name} forward", rows, outputs, inputs)
        yield self.product(f"{name} weight gradient", inputs, outputs, rows)
        if not first:
            yield self.product(f"{name} input gradient", rows, inputs, outputs)
        yield self.moving(f"{name} bias, rectifier", 7 * rows * outputs)

    def recurrent(self, name: str, hidden: int, directions: int = 2) -> Iterator[Part]:
        """All steps of a vanilla layer, forward and backward, and the weight's gradient."""
        gpu, n = self.gpu, self.utterances
        sizes = (gpu.multiprocessors, gpu.shared_bytes)
        work = directions * self.rows * hidden**2
        for way in ("forward", "backward"):
            shape = persistent_shape(*sizes, directions, n, hidden, 1, 1, 1)
            if shape is None:
                chunks = ceil_div(hidden, CHUNK)
                step = (*sizes, n, directions * hidden, hidden, chunks)
                cost = gemm.cost(gemm.choose(*step, gemm.BY_CHUNKS), *step)
                seconds = self.frames * (gpu.seconds(cost) + 3 * LAUNCH)
            else:
                launches = ceil_div(directions, shape.at_once)
                # The estimate is for 128 multiply-adds a cycle.
                cycles = self.frames * shape.cycles(gpu.multiprocessors) * 128 // gpu.lanes
                seconds = launches * (cycles / gpu.clock + LAUNCH)
            yield Part(f"{name} steps {way}", seconds, work)
        for _ in range(directions):
            yield self.product(f"{name} recurrent weight gradient", hidden, hidden, self.rows)

    def convolution(
        self, name: str, taps: int, inputs: int, outputs: int, places: int, *, first: bool = False
    ) -> Iterator[Part]:
        """A layer of `places` outputs a frame, each a sum of `taps` x `inputs` terms."""
        positions, terms, m = self.rows * places, taps * inputs, self.gpu.multiprocessors

        def part(what: str, tile: gemm.Tile, share: float, blocks: int, k: int) -> Part:
            cost = ceil_div(blocks, m) * tile.rows * tile.columns * k / share
            return Part(
                f"{name} {what}", self.gpu.seconds(cost) + LAUNCH, positions * outputs * terms
            )

        # The bounds of the inner loops on sm_90 (tools/gpu_machine_code.py).
        yield part("forward", gemm.TALL, 0.52, gemm.TALL.grid(positions, outputs), terms)
        chunks = ceil_div(positions, CHUNK)
        blocks = gemm.WIDE.grid(outputs, terms) * chunks
        yield part("weight gradient", gemm.WIDE, 0.63, blocks, CHUNK)
        yield self.moving(f"{name} sums of chunks", 2 * chunks * outputs * terms)
        if not first:
            # Twice as many positions, each of half the taps.
            blocks = gemm.TALL.grid(positions * 2, inputs)
            yield part("input gradient", gemm.TALL, 0.52, blocks, taps * outputs // 2)
        yield self.moving(f"{name} norm, rectifier", 12 * positions * outputs)

    def rest(self, parameters: int) -> Iterator[Part]:
        """CTC, the gradient's tree and norm, the optimizer."""
        yield self.moving("softmax, CTC", 40 * self.rows * SYMBOLS)
        yield Part("CTC's steps over frames", 2 * self.frames * 1e-6, 0)
        yield self.moving("gradient's sum and norm, optimizer", 10 * parameters)


def deep_speech_1(model: Model, hidden: int = 2048) -> list[Part]:
    """Parts of a step."""
    context = 19 * FEATURES
    parts = [*model.dense("dense 1", context, hidden, first=True)]
    for layer in (2, 3, 5):
        parts += model.dense(f"dense {layer}", hidden, hidden)
    parts += model.dense("recurrent input", hidden, 2 * hidden)
    parts += model.recurrent("recurrent", hidden)
    parts += model.dense("symbols", hidden, SYMBOLS)
    return [*parts, *model.rest(context * hidden + 8 * hidden**2)]


def deep_speech_2(model: Model, hidden: int = 1760) -> list[Part]:
    """Parts of a step; the first convolution halves the frames."""
    half = replace(model, frames=model.frames // 2)
    parts = [*half.convolution("conv 1", 41 * 11, 1, 32, 81, first=True)]
    parts += half.convolution("conv 2", 21 * 11, 32, 32, 41)
    inputs = 41 * 32
    for layer in range(1, 8):
        parts += half.dense(f"recurrent {layer} input", inputs, 2 * hidden)
        parts.append(half.moving(f"norm {layer}", 12 * half.rows * 2 * hidden))
        parts += half.recurrent(f"recurrent {layer}", hidden)
        inputs = hidden
    parts += half.dense("symbols", hidden, SYMBOLS)
    return [*parts, *half.rest(41 * 32 * 2 * hidden + 6 * 2 * hidden**2 + 14 * hidden**2)]


def kind(part: Part) -> str:
    """What a part is counted as."""
    if "steps" in part.name and part.work:
        return "recurrent steps"
    if part.work:
        return "convolutions" if part.name.startswith("conv") else "products"
    return "the rest"


def main() -> None:
    """Print both steps on each GPU."""
    options = argparse.ArgumentParser(description="A model of Deep Speech steps on a GPU.")
    options.add_argument("--utterances", type=int, default=32)
    options.add_argument("--frames", type=int, default=600, help="of 10 ms, of an utterance")
    asked = options.parse_args()
    for name, of_step in (("Deep Speech 1", deep_speech_1), ("Deep Speech 2", deep_speech_2)):
        print(f"{name}, {asked.utterances} utterances of {asked.frames} frames\n")
        print("| GPU | step | of the FMA peak | where the time goes |\n|---|---|---|---|")
        for gpu in GPUS:
            parts = of_step(Model(gpu, asked.utterances, asked.frames))
            seconds = sum(part.seconds for part in parts)
            share = sum(part.work for part in parts) / seconds / gpu.peak
            spent = {k: sum(p.seconds for p in parts if kind(p) == k) for k in map(kind, parts)}
            work = {k: sum(p.work for p in parts if kind(p) == k) for k in spent}
            words = [
                f"{k} {100 * spent[k] / seconds:.0f}%"
                + (f" (at {100 * work[k] / spent[k] / gpu.peak:.0f}% of the peak)" * bool(work[k]))
                for k in sorted(spent, key=lambda k: -spent[k])
            ]
            print(
                f"| {gpu.name} | {1e3 * seconds:.1f} ms | {100 * share:.0f}% | {', '.join(words)} |"
            )
        print()


if __name__ == "__main__":
    main()
