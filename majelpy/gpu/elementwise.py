"""Launches of the elementwise kernels that take rows of utterances (kernels/gpu/elementwise.cu)."""

from __future__ import annotations

import numpy as np

from majelpy.gpu.launcher import Launcher, host, utterance_rows


def mj_context_rows(
    on: Launcher, utterances: int, offsets: int, features: int, context: int, x: int, out: int
) -> None:
    rows = host(offsets, utterances + 1, np.int64)
    arguments = (utterances, on.upload(rows), features, context, x, out)
    width = (2 * context + 1) * features
    utterance_rows(on, "mj_context_rows_kernel", rows, width, arguments)
