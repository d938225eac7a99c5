"""PyTorch's side of each case; padded batches of similar lengths, as usual."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from workload import ALPHABET, CONTEXT, FEATURES, Minibatch, matrices


def set_threads(threads: int) -> None:
    """Use so many threads."""
    torch.set_num_threads(threads)


def verify() -> dict[str, Any]:
    """Say what runs."""
    blas = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    return {
        "library": f"PyTorch {torch.__version__}, {blas.group(1) if blas else 'unknown BLAS'}",
        "kernel": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def gemm(m: int, n: int, k: int) -> Callable[[], object]:
    """One product."""
    a, b = (torch.from_numpy(x) for x in matrices(m, n, k))
    return lambda: a @ b


def birnn(utterances: int, frames: int, units: int) -> Callable[[], object]:
    """A recurrent layer, forward and backward, all gradients."""
    torch.manual_seed(1)
    rnn = torch.nn.RNN(units, units, nonlinearity="relu", bidirectional=True)
    x = torch.randn(frames, utterances, units).requires_grad_()
    return lambda: rnn(x)[0].sum().backward()


def ctc(utterances: int, frames: int, labels: int) -> Callable[[], object]:
    """CTC of log-probabilities, loss and gradient."""
    random = np.random.default_rng(2)
    logits = random.standard_normal((utterances * frames, ALPHABET)).astype(np.float32)
    targets = torch.tensor(
        [random.integers(1, ALPHABET, labels).tolist() for _ in range(utterances)]
    )
    shaped = torch.from_numpy(logits.reshape(utterances, frames, ALPHABET).transpose(1, 0, 2))
    log_probs = torch.log_softmax(shaped, -1).contiguous().requires_grad_()
    lengths = torch.full((utterances,), frames)
    label_lengths = torch.full((utterances,), labels)
    return lambda: torch.nn.functional.ctc_loss(
        log_probs, targets, lengths, label_lengths, reduction="sum"
    ).backward()


class Twin(torch.nn.Module):
    """Deep Speech 1 in PyTorch."""

    def __init__(self, width: int):
        super().__init__()
        widths = [(2 * CONTEXT + 1) * FEATURES, *(width,) * 3]
        self.dense = torch.nn.ModuleList(
            torch.nn.Linear(a, b) for a, b in itertools.pairwise(widths)
        )
        self.rnn = torch.nn.RNN(width, width, nonlinearity="relu", bidirectional=True)
        self.last = torch.nn.Linear(width, width)
        self.output = torch.nn.Linear(width, ALPHABET)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Log-probabilities (T, N, V) of features (T, N, F)."""
        padded = torch.nn.functional.pad(x, (0, 0, 0, 0, CONTEXT, CONTEXT))
        x = padded.unfold(0, 2 * CONTEXT + 1, 1).permute(0, 1, 3, 2).flatten(2)
        for layer in self.dense:
            x = layer(x).clamp(0, 20)
        both, _ = self.rnn(x)
        h = both.shape[-1] // 2
        x = self.last(both[..., :h] + both[..., h:]).clamp(0, 20)
        return torch.nn.functional.log_softmax(self.output(x), -1)


def step(utterances: int, frames: tuple[int, int], labels: int, units: int) -> Callable[[], object]:
    """A training step of Deep Speech 1."""
    work = Minibatch(utterances, frames, labels)
    torch.manual_seed(1)
    model = Twin(units)
    x = torch.zeros(int(work.lengths.max()), utterances, FEATURES)
    for n, found in enumerate(work.frames):
        x[: len(found), n] = torch.from_numpy(found)
    lengths = torch.tensor(work.lengths)
    targets = torch.tensor([v for given in work.labels for v in given])
    label_lengths = torch.tensor([len(given) for given in work.labels])
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5, momentum=0.9, nesterov=True)

    def advance() -> None:
        optimizer.zero_grad()
        loss = torch.nn.functional.ctc_loss(
            model(x), targets, lengths, label_lengths, reduction="sum"
        )
        (loss / utterances).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()

    return advance


CASES = {"gemm": gemm, "birnn": birnn, "ctc": ctc, "step": step}
