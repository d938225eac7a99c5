"""Training step and its parts against PyTorch and NumPy on the CPU.

    python benchmarks/training_step.py [--threads 1,2] [--rounds 7] [--json FILE]

Needs torch==2.13.0 and threadpoolctl. The same network, minibatches (lengths like spoken digits and
like sentences) and update on both sides: context window, three dense layers with clipped rectifier,
bidirectional ReLU recurrence, dense layer, CTC, norm clipping, SGD with Nesterov momentum.
"""

from __future__ import annotations

import harness
from harness import Case

CASES = [
    Case(
        "step",
        {"utterances": 32, "frames": (30, 60), "labels": 4, "units": 256},
        "training step: digits, 32 utterances, 256 units",
        ("torch",),
        1.5,
    ),
    Case(
        "step",
        {"utterances": 16, "frames": (350, 450), "labels": 60, "units": 512},
        "training step: sentences, 16 utterances, 512 units",
        ("torch",),
        1.5,
    ),
    *(
        Case("gemm", {"m": m, "n": n, "k": k}, f"gemm {m}x{n}x{k}", ("torch", "numpy"), bar)
        for m, n, k, bar in [
            (1024, 1024, 1024, 0.97),
            (2048, 2048, 2048, 0.97),
            (16, 1024, 1024, 0.97),
            (32, 512, 512, 0.97),
        ]
    ),
    Case(
        "birnn",
        {"utterances": 16, "frames": 200, "units": 512},
        "BiRNN 16x200, 512 units, forward+backward",
        ("torch",),
        1.5,
    ),
    Case(
        "ctc",
        {"utterances": 32, "frames": 50, "labels": 4},
        "CTC 32x50, 4 labels, loss+gradient",
        ("torch",),
        10,
    ),
    Case(
        "ctc",
        {"utterances": 16, "frames": 400, "labels": 60},
        "CTC 16x400, 60 labels, loss+gradient",
        ("torch",),
        10,
    ),
]

if __name__ == "__main__":
    harness.main(__doc__ or "", CASES)
