"""Training step and its parts against PyTorch on the CPU, measured in one run.

    python benchmarks/training_step.py [--threads 1,2] [--json FILE]

The same network, minibatches (lengths like spoken digits and like sentences) and update on both
sides: context window, three dense layers with clipped rectifier, bidirectional ReLU recurrence,
dense layer, CTC, norm clipping, SGD with Nesterov momentum. PyTorch gets padded batches of similar
lengths, as usual; rates count real frames only. Each side's figure is the median of rounds taken
in turn, since machines are shared and noisy.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from majelpy import native, ops, tree
from majelpy.array import asarray, zeros
from majelpy.nn.batch import Batch
from majelpy.nn.layer import Training
from majelpy.nn.model import Architecture, Model
from majelpy.nn.networks import deep_speech_1

LEAVES = 8
FEATURES, ALPHABET, CONTEXT = 81, 28, 5


class Workload:
    """A minibatch: lengths and label counts typical of a corpus, with a model's sizes."""

    def __init__(
        self, name: str, utterances: int, frames: tuple[int, int], labels: int, width: int
    ):
        random = np.random.default_rng(1)
        self.name = name
        self.width = width
        self.lengths = np.sort(random.integers(*frames, utterances))
        self.frames = [
            random.standard_normal((n, FEATURES)).astype(np.float32) for n in self.lengths
        ]
        self.labels = [
            random.integers(1, ALPHABET, min(labels, n // 3)).tolist() for n in self.lengths
        ]
        self.count = int(self.lengths.sum())


WORKLOADS = [
    Workload("digits, 32 utterances, 256 units", 32, (30, 60), 4, 256),
    Workload("sentences, 16 utterances, 512 units", 16, (350, 450), 60, 512),
]


class Ours:
    """majelpy's training step."""

    def __init__(self, work: Workload):
        width = work.width
        layers = deep_speech_1(CONTEXT, (width,) * 3, width, width)
        self.model = Model(Architecture(FEATURES, ALPHABET, layers))
        layout = self.model.layout
        self.parameters, self.velocities = layout.initial(1), zeros(layout.size)
        offsets = np.concatenate([[0], np.cumsum(work.lengths)]).astype(np.int64)
        per_leaf = len(work.lengths) // LEAVES
        self.batch = Batch(
            asarray(np.concatenate(work.frames)),
            offsets,
            work.labels,
            [str(n) for n in range(len(work.lengths))],
            np.arange(len(work.lengths)),
            np.arange(0, len(work.lengths) + 1, per_leaf, dtype=np.int64),
            np.array(tree.merges(LEAVES, 0, LEAVES), dtype=np.int32),
            np.zeros(len(work.lengths), np.int64),
            np.diff(offsets),
        )
        self.slots = zeros((tree.depth(LEAVES, 0, LEAVES), layout.gradient_size))
        self.scale = 1.0 / len(work.lengths)
        self.rate = asarray(np.full(1, 1e-5, np.float32))

    def step(self) -> None:
        self.model.train(self.batch, self.parameters, self.slots, self.scale, Training(1, 0))
        gradient = self.slots[0, : self.model.layout.size]
        _, factor = ops.norm_and_factor(gradient, 10.0)
        ops.nesterov(
            self.parameters, self.velocities, gradient,
            factor=factor, rate=self.rate, momentum=0.9, decay=0.0,
        )  # fmt: skip


class Twin(torch.nn.Module):
    """The same network in PyTorch."""

    def __init__(self, width: int):
        super().__init__()
        widths = [(2 * CONTEXT + 1) * FEATURES, *(width,) * 3]
        self.dense = torch.nn.ModuleList(
            torch.nn.Linear(a, b) for a, b in itertools.pairwise(widths)
        )
        self.rnn = torch.nn.RNN(width, width, nonlinearity="relu", bidirectional=True)
        self.last = torch.nn.Linear(width, width)
        self.output = torch.nn.Linear(width, ALPHABET)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (T, N, F)
        c = CONTEXT
        padded = torch.nn.functional.pad(x, (0, 0, 0, 0, c, c))
        x = padded.unfold(0, 2 * c + 1, 1).permute(0, 1, 3, 2).flatten(2)
        for layer in self.dense:
            x = layer(x).clamp(0, 20)
        both, _ = self.rnn(x)
        h = both.shape[-1] // 2
        x = self.last(both[..., :h] + both[..., h:]).clamp(0, 20)
        return torch.nn.functional.log_softmax(self.output(x), -1)


class Theirs:
    """PyTorch's training step on a padded batch."""

    def __init__(self, work: Workload):
        torch.manual_seed(1)
        self.model = Twin(work.width)
        self.x = torch.zeros(int(work.lengths.max()), len(work.lengths), 81)
        for n, frames in enumerate(work.frames):
            self.x[: len(frames), n] = torch.from_numpy(frames)
        self.lengths = torch.tensor(work.lengths)
        self.labels = torch.tensor([v for labels in work.labels for v in labels])
        self.label_lengths = torch.tensor([len(labels) for labels in work.labels])
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=1e-5, momentum=0.9, nesterov=True
        )

    def step(self) -> None:
        self.optimizer.zero_grad()
        loss = torch.nn.functional.ctc_loss(
            self.model(self.x), self.labels, self.lengths, self.label_lengths, reduction="sum"
        )
        (loss / len(self.lengths)).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
        self.optimizer.step()


def seconds(call: Callable[[], None], least: float = 0.2) -> float:
    """Time of one call, averaged over at least ``least`` seconds."""
    start, calls = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < least:
        call()
        calls += 1
    return elapsed / calls


def compare(
    ours: Callable[[], None], theirs: Callable[[], None], rounds: int
) -> tuple[float, float]:
    """Median seconds of both, measured in turn after a warm-up."""
    ours()
    theirs()
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def parts(threads: int, rounds: int) -> list[dict[str, object]]:
    """gemm, recurrent layer and CTC by themselves."""
    random = np.random.default_rng(2)
    rows = []

    def add(name: str, ours: Callable[[], object], theirs: Callable[[], object], peer: str) -> None:
        a, b = compare(lambda: void(ours()), lambda: void(theirs()), rounds)
        rows.append(
            {"what": name, "threads": threads, "ours_ms": a * 1e3, "peer_ms": b * 1e3, "peer": peer}
        )

    for m, n, k in [(1024, 1024, 1024), (2048, 2048, 2048), (16, 1024, 1024), (32, 512, 512)]:
        a = random.standard_normal((m, k)).astype(np.float32)
        b = random.standard_normal((k, n)).astype(np.float32)
        ta, tb = torch.from_numpy(a), torch.from_numpy(b)
        add(f"gemm {m}x{n}x{k}", lambda a=a, b=b: ops.gemm(a, b), lambda a=ta, b=tb: a @ b, "torch")
        if m >= 1024:
            add(
                f"gemm {m}x{n}x{k}",
                lambda a=a, b=b: ops.gemm(a, b),
                lambda a=a, b=b: a @ b,
                "numpy",
            )
    hidden, utterances, frames = 512, 16, 200
    offsets = np.arange(0, utterances * frames + 1, frames)
    x = random.standard_normal((utterances * frames, 2 * hidden)).astype(np.float32)
    w = (random.standard_normal((2, hidden, hidden)) * 0.02).astype(np.float32)
    w_in = (random.standard_normal((2 * hidden, hidden)) * 0.02).astype(np.float32)
    x_in = x[:, :hidden].copy()
    rnn = torch.nn.RNN(hidden, hidden, nonlinearity="relu", bidirectional=True)
    tx = torch.from_numpy(x_in.reshape(frames, utterances, hidden)).requires_grad_()

    def our_layer() -> None:
        h = ops.rnn_forward(ops.gemm(x_in, w_in, transpose_b=True), offsets, w).h
        d = ops.rnn_backward(x, offsets, w, h).dx
        before = ops.rnn_previous(h, offsets, 2)
        ops.gemm(d, w_in)
        ops.gemm(d, x_in, transpose_a=True)
        for direction in range(2):
            leaf = ops.Leaves(np.array([0, len(x)]), np.zeros(1, np.int32))
            columns = (direction * hidden, (direction + 1) * hidden)
            slots = np.empty((1, hidden * hidden), np.float32)
            ops.gemm_leaves(d, before, leaf, slots, 0, a_columns=columns, b_columns=columns)

    add("BiRNN 16x200, 512 units, forward+backward", our_layer,
        lambda: rnn(tx)[0].sum().backward(), "torch")  # fmt: skip
    for frames, labels, utterances in [(50, 4, 32), (400, 60, 16)]:
        logits = random.standard_normal((utterances * frames, 28)).astype(np.float32)
        lp = ops.log_softmax(logits)
        targets = [random.integers(1, ALPHABET, labels).tolist() for _ in range(utterances)]
        offsets = np.arange(0, utterances * frames + 1, frames)
        t_lp = torch.from_numpy(
            lp.numpy().reshape(utterances, frames, 28).transpose(1, 0, 2).copy()
        )
        t_lp.requires_grad_()
        t_targets = torch.tensor(targets)
        t_lengths = torch.full((utterances,), frames)
        t_labels = torch.full((utterances,), labels)
        add(
            f"CTC {utterances}x{frames}, {labels} labels, loss+gradient",
            lambda lp=lp, o=offsets, t=targets: ops.ctc_loss(lp, o, t),
            lambda x=t_lp, t=t_targets, a=t_lengths, b=t_labels: torch.nn.functional.ctc_loss(
                x, t, a, b, reduction="sum"
            ).backward(),
            "torch",
        )
    return rows


def void(value: object) -> None:
    """Drop a result."""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    for threads in (int(t) for t in options.threads.split(",")):
        native.set_threads(threads)
        torch.set_num_threads(threads)
        for work in WORKLOADS:
            a, b = compare(Ours(work).step, Theirs(work).step, options.rounds)
            rows.append({
                "what": f"training step: {work.name}", "threads": threads,
                "ours_ms": a * 1e3, "peer_ms": b * 1e3, "peer": "torch",
                "ours_frames_per_second": work.count / a,
            })  # fmt: skip
        rows += parts(threads, options.rounds)
    print(f"majelpy ({native.isa()}) against PyTorch {torch.__version__}, NumPy {np.__version__}")
    print(
        f"{'what':52s} {'threads':>7s} {'ours ms':>9s} {'peer ms':>9s} {'peer':>6s} {'ratio':>6s}"
    )
    for row in rows:
        row["ratio"] = float(row["peer_ms"]) / float(row["ours_ms"])  # type: ignore[arg-type]
        print(
            f"{row['what']:52s} {row['threads']:7d} {row['ours_ms']:9.3f} {row['peer_ms']:9.3f} "
            f"{row['peer']:>6s} {row['ratio']:5.2f}x"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
